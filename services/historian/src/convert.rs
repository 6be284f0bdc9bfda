//! From a delivered envelope to rows. Pure: the same envelope gives the same rows everywhere.

use std::sync::Arc;

use bytes::Bytes;
use proto::envelope::Invalid;
use proto::payload::{self, Content, Sample};
use proto::wave::WaveBlock;
use proto::{Batch, Nanos, Offset, Origin, Record, Sequence, Value, rpc};

use crate::{Body, DeadLetter, NewRow, Number, Row};

/// The rows of an envelope: none when it carries no data (withheld, dropped), one dead letter for
/// all of it when its batch does not decode.
///
/// Fails only when the envelope says not whose it is, which a log never delivers.
pub fn rows(delivery: &rpc::Delivery) -> Result<Vec<NewRow>, Invalid> {
    let missing = || Invalid::new("delivery.envelope", "missing");
    let envelope = delivery.envelope.as_ref().ok_or_else(missing)?;
    let origin = envelope.origin.as_ref().ok_or_else(missing)?;
    let origin = Arc::new(Origin::try_from(origin)?);
    if !envelope.carries_data() {
        return Ok(Vec::new());
    }
    match decode(envelope) {
        Ok(records) => Ok(rows_of_records(
            delivery.offset,
            envelope,
            &origin,
            &records,
        )),
        Err(reason) => Ok(vec![undecodable(delivery, envelope, origin, reason)]),
    }
}

fn decode(envelope: &rpc::Envelope) -> Result<Vec<Record>, String> {
    let records = Batch::decode(&envelope.batch).map_err(|error| error.to_string())?;
    if u32::try_from(records.len()) == Ok(envelope.count) {
        Ok(records)
    } else {
        Err(format!(
            "the batch holds {} records, its envelope {}",
            records.len(),
            envelope.count
        ))
    }
}

fn undecodable(
    delivery: &rpc::Delivery,
    envelope: &rpc::Envelope,
    origin: Arc<Origin>,
    reason: String,
) -> NewRow {
    let dead = DeadLetter {
        offset: Offset(delivery.offset),
        count: envelope.count,
        sqlstate: None,
        reason,
        payload: envelope.batch.clone(),
    };
    NewRow {
        origin,
        offset: Offset(delivery.offset),
        original: None,
        row: Row {
            sequence: Sequence(envelope.first_sequence),
            sub: 0,
            time: Nanos(delivery.leader_time),
            topic: "".into(),
            key: "".into(),
            body: Body::Dead(dead),
        },
    }
}

fn rows_of_records(
    offset: u64,
    envelope: &rpc::Envelope,
    origin: &Arc<Origin>,
    records: &[Record],
) -> Vec<NewRow> {
    let mut rows = Vec::with_capacity(records.len());
    // Records of one topic often follow each other and share its name then.
    let mut topic: Arc<str> = "".into();
    let no_key: Arc<str> = "".into();
    for (index, record) in (0..).zip(records) {
        if *topic != *record.topic {
            topic = record.topic.as_str().into();
        }
        let samples = bodies(record).into_iter().enumerate();
        rows.extend(samples.map(|(sub, (key, time, body))| NewRow {
            origin: Arc::clone(origin),
            offset: Offset(offset + index),
            original: payload(record),
            row: Row {
                sequence: Sequence(envelope.first_sequence + index),
                sub: u32::try_from(sub).unwrap_or(u32::MAX),
                time,
                topic: Arc::clone(&topic),
                key: if key.is_empty() {
                    Arc::clone(&no_key)
                } else {
                    key.into()
                },
                body,
            },
        }));
    }
    rows
}

fn payload(record: &Record) -> Option<Bytes> {
    match &record.value {
        Value::Payload(payload) => Some(payload.clone()),
        _ => None,
    }
}

fn bodies(record: &Record) -> Vec<(String, Nanos, Body)> {
    let received = record.source_time.unwrap_or(record.receive_time);
    match payload::read(record) {
        Content::Samples(samples) => samples.into_iter().map(sample).collect(),
        Content::Wave(block) => vec![wave(record, block)],
        Content::Message { payload, problem } => {
            vec![(String::new(), received, Body::Message { payload, problem })]
        }
    }
}

fn sample(sample: Sample) -> (String, Nanos, Body) {
    let quality = sample.quality;
    let body = match sample.value {
        Value::Bool(value) => Body::Bool { quality, value },
        Value::Text(value) => Body::Text { quality, value },
        value => match Number::of(&value) {
            Some(number) => Body::Number { quality, number },
            None => Body::Null { quality },
        },
    };
    (sample.key, sample.time, body)
}

/// A wave whose scale says nothing is kept as the message it came in.
fn wave(record: &Record, block: WaveBlock) -> (String, Nanos, Body) {
    let plain = |float: f64| float.is_finite() && float.to_bits() != (-0.0_f64).to_bits();
    let time = block.start;
    let body = if plain(block.scale) && plain(block.offset) {
        Body::Wave {
            quality: record.quality,
            block,
        }
    } else {
        Body::Message {
            payload: payload(record).unwrap_or_default(),
            problem: Some("waveform scale or offset is not a finite number".into()),
        }
    };
    (String::new(), time, body)
}

#[cfg(test)]
mod tests;
