//! The columns of a batch. Like stands beside like, so that the compressor sees it: topics once,
//! times as differences, payloads in one piece.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::BatchError;
use crate::record::Flags;
use crate::{Nanos, Quality, Record, Value};

/// Field order is the wire order (postcard: varints, zigzag for signed, length before sequences).
#[derive(Default, Serialize, Deserialize)]
struct Columns {
    /// Each topic once, in order of first use.
    topics: Vec<String>,
    /// Per record: index into `topics`.
    topic: Vec<u32>,
    /// Per record: difference to the receive time of the record before (to 0 for the first).
    receive_time: Vec<i64>,
    /// Per record: source time minus receive time.
    source_time: Vec<Option<i64>>,
    /// Per record: one of the `KIND_` numbers.
    kind: Vec<u8>,
    i64s: Vec<i64>,
    u64s: Vec<u64>,
    /// IEEE 754 bits, 8 bytes little endian each.
    #[serde(with = "serde_bytes")]
    f64s: Vec<u8>,
    /// Lengths of texts and payloads.
    lengths: Vec<u32>,
    /// Texts and payloads, one after the other.
    #[serde(with = "serde_bytes")]
    blob: Vec<u8>,
    quality: Vec<u32>,
    flags: Vec<u8>,
    /// Record number, name, value.
    headers: Vec<(u32, String, String)>,
}

const KIND_NULL: u8 = 0;
const KIND_FALSE: u8 = 1;
const KIND_TRUE: u8 = 2;
const KIND_I64: u8 = 3;
const KIND_U64: u8 = 4;
const KIND_F64: u8 = 5;
const KIND_TEXT: u8 = 6;
const KIND_PAYLOAD: u8 = 7;

pub(super) fn encode(records: &[Record]) -> Result<Vec<u8>, BatchError> {
    if records.is_empty() {
        return Err(BatchError::Empty);
    }
    let bytes = records.iter().map(Record::size_bytes).sum();
    let too_large = || BatchError::TooLarge {
        records: records.len(),
        bytes,
    };
    let mut columns = Columns::default();
    let mut topic_ids: HashMap<&str, u32> = HashMap::new();
    let mut previous_time = 0;
    for (number, record) in records.iter().enumerate() {
        let number = u32::try_from(number).map_err(|_| too_large())?;
        let next_id = u32::try_from(columns.topics.len()).map_err(|_| too_large())?;
        let id = *topic_ids.entry(&record.topic).or_insert_with(|| {
            columns.topics.push(record.topic.clone());
            next_id
        });
        columns.topic.push(id);
        let Nanos(time) = record.receive_time;
        columns.receive_time.push(time.wrapping_sub(previous_time));
        previous_time = time;
        columns.source_time.push(
            record
                .source_time
                .map(|Nanos(source)| source.wrapping_sub(time)),
        );
        columns.push_value(&record.value).ok_or_else(too_large)?;
        columns.quality.push(record.quality.0);
        columns.flags.push(record.flags.0);
        let headers = record
            .headers
            .iter()
            .map(|(k, v)| (number, k.clone(), v.clone()));
        columns.headers.extend(headers);
    }
    postcard::to_stdvec(&columns).map_err(|_| too_large())
}

pub(super) fn decode(body: &[u8]) -> Result<Vec<Record>, BatchError> {
    let (columns, rest): (Columns, _) =
        postcard::take_from_bytes(body).map_err(|_| BatchError::Malformed("columns"))?;
    if !rest.is_empty() {
        return Err(BatchError::Malformed("bytes after the columns"));
    }
    columns
        .records()
        .ok_or(BatchError::Malformed("columns disagree"))
}

impl Columns {
    /// `None` when a length does not fit.
    fn push_value(&mut self, value: &Value) -> Option<()> {
        let kind = match value {
            Value::Null => KIND_NULL,
            Value::Bool(false) => KIND_FALSE,
            Value::Bool(true) => KIND_TRUE,
            Value::I64(number) => {
                self.i64s.push(*number);
                KIND_I64
            }
            Value::U64(number) => {
                self.u64s.push(*number);
                KIND_U64
            }
            Value::F64(number) => {
                self.f64s.extend_from_slice(&number.to_bits().to_le_bytes());
                KIND_F64
            }
            Value::Text(text) => {
                self.push_bytes(text.as_bytes())?;
                KIND_TEXT
            }
            Value::Payload(bytes) => {
                self.push_bytes(bytes)?;
                KIND_PAYLOAD
            }
        };
        self.kind.push(kind);
        Some(())
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.lengths.push(u32::try_from(bytes.len()).ok()?);
        self.blob.extend_from_slice(bytes);
        Some(())
    }

    /// `None` when the columns do not fit together.
    fn records(self) -> Option<Vec<Record>> {
        let count = self.topic.len();
        let per_record = [
            self.receive_time.len(),
            self.source_time.len(),
            self.kind.len(),
            self.quality.len(),
            self.flags.len(),
        ];
        if per_record.iter().any(|len| *len != count) {
            return None;
        }
        let mut values = Values::new(&self);
        let mut records = Vec::with_capacity(count);
        let mut time: i64 = 0;
        for number in 0..count {
            time = time.wrapping_add(self.receive_time[number]);
            records.push(Record {
                topic: self.topics.get(self.topic[number] as usize)?.clone(),
                source_time: self.source_time[number].map(|d| Nanos(time.wrapping_add(d))),
                receive_time: Nanos(time),
                value: values.next(self.kind[number])?,
                quality: Quality(self.quality[number]),
                flags: Flags(self.flags[number]),
                headers: Vec::new(),
            });
        }
        values.is_used_up().then_some(())?;
        for (number, name, value) in self.headers {
            records
                .get_mut(number as usize)?
                .headers
                .push((name, value));
        }
        Some(records)
    }
}

/// Takes the values out of their columns in the order of the records.
struct Values<'a> {
    i64s: std::slice::Iter<'a, i64>,
    u64s: std::slice::Iter<'a, u64>,
    f64s: std::slice::ChunksExact<'a, u8>,
    lengths: std::slice::Iter<'a, u32>,
    /// Shared by all payloads of the batch.
    blob: Bytes,
}

impl<'a> Values<'a> {
    fn new(columns: &'a Columns) -> Values<'a> {
        Values {
            i64s: columns.i64s.iter(),
            u64s: columns.u64s.iter(),
            f64s: columns.f64s.chunks_exact(8),
            lengths: columns.lengths.iter(),
            blob: Bytes::copy_from_slice(&columns.blob),
        }
    }

    fn next(&mut self, kind: u8) -> Option<Value> {
        Some(match kind {
            KIND_NULL => Value::Null,
            KIND_FALSE => Value::Bool(false),
            KIND_TRUE => Value::Bool(true),
            KIND_I64 => Value::I64(*self.i64s.next()?),
            KIND_U64 => Value::U64(*self.u64s.next()?),
            KIND_F64 => {
                let bits = u64::from_le_bytes(self.f64s.next()?.try_into().ok()?);
                Value::F64(f64::from_bits(bits))
            }
            KIND_TEXT => Value::Text(String::from_utf8(self.bytes()?.to_vec()).ok()?),
            KIND_PAYLOAD => Value::Payload(self.bytes()?),
            _ => return None,
        })
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = *self.lengths.next()? as usize;
        (length <= self.blob.len()).then(|| self.blob.split_to(length))
    }

    fn is_used_up(&self) -> bool {
        self.i64s.len() == 0
            && self.u64s.len() == 0
            && self.f64s.len() == 0
            && self.f64s.remainder().is_empty()
            && self.lengths.len() == 0
            && self.blob.is_empty()
    }
}
