//! What a list shows of a tag: one value without its bulk.

use std::sync::Arc;

use bytes::Bytes;
use proto::wave::{SampleType, WaveBlock};
use proto::{Nanos, Quality, Sequence};

use crate::{Body, Kind, Number, Tag};

/// Characters of a text that a list keeps.
pub const MAX_TEXT: usize = 200;

/// A value as a list shows it; whatever may be long is cut.
#[derive(Clone, Debug, PartialEq)]
pub enum Brief {
    Number(Number),
    Bool(bool),
    Null,
    Text(String),
    Wave(WaveHead),
    Message {
        start: Bytes,
        /// Of the whole payload.
        bytes: u64,
        problem: Option<String>,
    },
    /// What a database or the codec refused, and why.
    Dead(String),
}

impl Brief {
    /// The kind of tag that it makes, if it says so.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Brief::Number(_) => Some(Kind::Number),
            Brief::Bool(_) => Some(Kind::Bool),
            Brief::Text(_) => Some(Kind::Text),
            Brief::Wave(_) => Some(Kind::Wave),
            Brief::Message { .. } => Some(Kind::Message),
            Brief::Null | Brief::Dead(_) => None,
        }
    }

    pub fn of(body: &Body) -> Brief {
        match body {
            Body::Number { number, .. } => Brief::Number(number.clone()),
            Body::Bool { value, .. } => Brief::Bool(*value),
            Body::Null { .. } => Brief::Null,
            Body::Text { value, .. } => Brief::Text(cut(value)),
            Body::Wave { block, .. } => Brief::Wave(WaveHead::of(block)),
            Body::Message { payload, problem } => Brief::Message {
                start: Bytes::copy_from_slice(&payload[..payload.len().min(MAX_TEXT)]),
                bytes: payload.len() as u64,
                problem: problem.as_deref().map(cut),
            },
            Body::Dead(dead) => Brief::Dead(cut(&dead.reason)),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// A wave block without its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct WaveHead {
    /// Of its first sample.
    pub start: Nanos,
    pub first_sample: u64,
    pub count: u64,
    /// Samples per second, as a fraction.
    pub rate: (u32, u32),
    pub scale: f64,
    pub offset: f64,
    pub unit: String,
    pub sample_type: SampleType,
}

impl WaveHead {
    pub fn of(block: &WaveBlock) -> WaveHead {
        WaveHead {
            start: block.start,
            first_sample: block.first_sample,
            count: block.count() as u64,
            rate: block.rate,
            scale: block.scale,
            offset: block.offset,
            unit: block.unit.clone(),
            sample_type: block.sample_type,
        }
    }

    pub(crate) fn with(self, samples: Bytes) -> WaveBlock {
        WaveBlock {
            first_sample: self.first_sample,
            start: self.start,
            rate: self.rate,
            scale: self.scale,
            offset: self.offset,
            unit: self.unit,
            sample_type: self.sample_type,
            samples,
        }
    }

    /// When the sample after its last one is due.
    pub fn end(&self) -> Nanos {
        let (samples, per_second) = self.rate;
        let nanos = i128::from(self.count) * 1_000_000_000 * i128::from(per_second)
            / i128::from(samples.max(1));
        let end = i128::from(self.start.0) + nanos;
        Nanos(i64::try_from(end).unwrap_or(i64::MAX))
    }
}

/// A value of a tag, when it was, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub time: Nanos,
    pub sequence: Sequence,
    /// Path of the hub of birth.
    pub hub: Arc<str>,
    pub quality: Quality,
    pub value: Brief,
}

/// The newest reading of a tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    pub tag: Tag,
    pub reading: Option<Reading>,
}
