//! The newest values of all tags, as many as fit, in the order of the log. Pure.
//!
//! Each value knows the one before it of the same tag, so that reading one tag's values touches no
//! other's, however many there are.

use std::collections::VecDeque;
use std::sync::Arc;

use historian::{Brief, Number, WaveHead};
use proto::{Nanos, Offset, Quality, Sequence};

use super::names::TagId;

/// What an entry takes beside its text, about.
const ENTRY_BYTES: usize = size_of::<Recent>() + 16;

/// A value as it came out of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recent {
    pub(crate) offset: Offset,
    pub(crate) time: Nanos,
    pub(crate) sequence: Sequence,
    pub(crate) quality: Quality,
    pub(crate) value: RecentValue,
    /// Number of the entry before it of the same tag, if there ever was one.
    before: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RecentValue {
    Float(f64),
    /// What is more than a float.
    Number(Box<Number>),
    Bool(bool),
    Null,
    /// A text, or what can't be shown as a value, cut.
    Text(Arc<str>),
    Wave(Arc<WaveHead>),
    Other,
}

impl RecentValue {
    pub(crate) fn of(brief: &Brief) -> RecentValue {
        match brief {
            Brief::Number(Number {
                value: Some(value),
                exact: None,
                original: None,
            }) => RecentValue::Float(*value),
            Brief::Number(number) => RecentValue::Number(Box::new(number.clone())),
            Brief::Bool(value) => RecentValue::Bool(*value),
            Brief::Null => RecentValue::Null,
            Brief::Text(text) => RecentValue::Text(text.as_str().into()),
            Brief::Wave(head) => RecentValue::Wave(Arc::new(head.clone())),
            Brief::Message { .. } | Brief::Dead(_) => RecentValue::Other,
        }
    }

    /// As a chart draws it; `None` for what is no number.
    pub(crate) fn number(&self) -> Option<Number> {
        let float = |value: Option<f64>| Number {
            value,
            exact: None,
            original: None,
        };
        match self {
            RecentValue::Float(value) => Some(float(Some(*value))),
            RecentValue::Number(number) => Some((**number).clone()),
            RecentValue::Bool(value) => Some(float(Some(f64::from(u8::from(*value))))),
            RecentValue::Null => Some(float(None)),
            RecentValue::Text(_) | RecentValue::Wave(_) | RecentValue::Other => None,
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            RecentValue::Text(text) => text.len(),
            RecentValue::Wave(head) => size_of::<WaveHead>() + head.unit.len(),
            RecentValue::Number(_) => size_of::<Number>() + 24,
            _ => 0,
        }
    }
}

/// A bounded ring of values.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<Recent>,
    /// Number of the first entry.
    first: u64,
    bytes: usize,
    max_bytes: usize,
    /// Everything from here on is in it.
    from: Offset,
    /// By tag: the number of its newest entry.
    newest: Vec<Option<u64>>,
}

impl Ring {
    /// Empty, with all that comes from `from` on.
    pub(crate) fn new(from: Offset, max_bytes: usize) -> Ring {
        Ring {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            max_bytes,
            from,
            newest: Vec::new(),
        }
    }

    /// The offset from which on every value is in it.
    pub(crate) fn from(&self) -> Offset {
        self.from
    }

    pub(crate) fn push(
        &mut self,
        tag: TagId,
        place: (Offset, Nanos, Sequence),
        quality: Quality,
        value: RecentValue,
    ) {
        if self.newest.len() <= tag.index() {
            self.newest.resize(tag.index() + 1, None);
        }
        let number = self.first + self.entries.len() as u64;
        let before = self.newest[tag.index()].replace(number);
        self.bytes += ENTRY_BYTES + value.size_bytes();
        let (offset, time, sequence) = place;
        self.entries.push_back(Recent {
            offset,
            time,
            sequence,
            quality,
            value,
            before,
        });
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.entries.pop_front()
        {
            self.first += 1;
            self.bytes -= ENTRY_BYTES + oldest.value.size_bytes();
            self.from = Offset(oldest.offset.0 + 1);
        }
    }

    /// A tag's values, the newest first.
    pub(crate) fn of(&self, tag: TagId) -> impl Iterator<Item = &Recent> {
        let newest = self.newest.get(tag.index()).copied().flatten();
        std::iter::successors(self.entry(newest), |entry| self.entry(entry.before))
    }

    fn entry(&self, number: Option<u64>) -> Option<&Recent> {
        let at = number?.checked_sub(self.first)?;
        self.entries.get(usize::try_from(at).ok()?)
    }
}

/// Values of one tag as the ring gives them, the oldest first.
#[cfg(test)]
pub(crate) fn ring_of(
    values: impl Iterator<Item = ((Offset, Nanos, Sequence), RecentValue)>,
) -> Vec<Recent> {
    let mut ring = Ring::new(Offset(0), usize::MAX);
    for (place, value) in values {
        ring.push(TagId(0), place, Quality::GOOD, value);
    }
    let mut entries: Vec<Recent> = ring.of(TagId(0)).cloned().collect();
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests;
