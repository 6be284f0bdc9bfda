//! The newest record of each topic: what a screen shows first, and what a tag is worth now.
//!
//! A value of more than [`LARGE`] bytes is kept by its offset alone. All together take [`BUDGET`];
//! beyond it the topics that were silent for longest are forgotten.

use proto::{Nanos, Quality, Record, TopicFilter, Value};
use serde::{Deserialize, Serialize, Serializer};

use super::hash::{Content, Sum, Table};
use super::page::{Most, Page, page};

/// A larger value is read from the log.
const LARGE: usize = 1 << 10;
/// What all rows may take, as [`LastValue::size`] counts it.
const BUDGET: u64 = 64 << 20;
/// What one page may take.
const PAGE_BYTES: usize = 4 << 20;
/// About what a row takes beside its topic and a text or payload.
const ROW_BYTES: u64 = 128;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Table<String, LastValue>")]
pub struct LastValues {
    topics: Table<String, LastValue>,
    /// Follows from `topics`.
    bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LastValue {
    offset: u64,
    source_time: Option<Nanos>,
    receive_time: Nanos,
    quality: u32,
    value: Kept,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kept {
    Null,
    Bool(bool),
    I64(i64),
    U64(u64),
    /// IEEE 754 bits: equal when the bytes are.
    F64(u64),
    Text(String),
    Payload(serde_bytes::ByteBuf),
    /// So many bytes, at the record's offset.
    Large(u64),
}

/// A topic's newest record, as it is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    pub offset: u64,
    /// Without its headers.
    pub record: Record,
    /// Bytes of a value that is too large to be kept; the record's is [`Value::Null`] then.
    pub large: Option<u64>,
}

impl Content for LastValue {
    fn content(&self) -> impl Serialize {
        self
    }
}

impl LastValue {
    fn new(offset: u64, record: &Record) -> LastValue {
        LastValue {
            offset,
            source_time: record.source_time,
            receive_time: record.receive_time,
            quality: record.quality.0,
            value: Kept::new(&record.value),
        }
    }

    fn size(&self, topic: &str) -> u64 {
        let own = match &self.value {
            Kept::Text(text) => text.len(),
            Kept::Payload(bytes) => bytes.len(),
            _ => 0,
        };
        ROW_BYTES + topic.len() as u64 + own as u64
    }

    fn answer(&self, topic: &str) -> Last {
        let (value, large) = self.value.answer();
        let record = Record {
            topic: topic.to_owned(),
            source_time: self.source_time,
            receive_time: self.receive_time,
            value,
            quality: Quality(self.quality),
            flags: Default::default(),
            headers: Vec::new(),
        };
        Last {
            offset: self.offset,
            record,
            large,
        }
    }
}

impl Kept {
    fn new(value: &Value) -> Kept {
        match value {
            value if value.size_bytes() > LARGE => Kept::Large(value.size_bytes() as u64),
            Value::Null => Kept::Null,
            Value::Bool(value) => Kept::Bool(*value),
            Value::I64(number) => Kept::I64(*number),
            Value::U64(number) => Kept::U64(*number),
            Value::F64(number) => Kept::F64(number.to_bits()),
            Value::Text(text) => Kept::Text(text.clone()),
            Value::Payload(bytes) => Kept::Payload(serde_bytes::ByteBuf::from(bytes.to_vec())),
        }
    }

    fn answer(&self) -> (Value, Option<u64>) {
        let value = match self {
            Kept::Null => Value::Null,
            Kept::Bool(value) => Value::Bool(*value),
            Kept::I64(number) => Value::I64(*number),
            Kept::U64(number) => Value::U64(*number),
            Kept::F64(bits) => Value::F64(f64::from_bits(*bits)),
            Kept::Text(text) => Value::Text(text.clone()),
            Kept::Payload(bytes) => Value::Payload(bytes.to_vec().into()),
            Kept::Large(bytes) => return (Value::Null, Some(*bytes)),
        };
        (value, None)
    }
}

impl From<Table<String, LastValue>> for LastValues {
    fn from(topics: Table<String, LastValue>) -> LastValues {
        let sizes = topics.iter().map(|(topic, last)| last.size(topic));
        let bytes = sizes.sum();
        LastValues { topics, bytes }
    }
}

impl Serialize for LastValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.topics.serialize(serializer)
    }
}

impl LastValues {
    pub(super) fn sum(&self) -> Sum {
        self.topics.sum()
    }

    pub(super) fn settle(&mut self) {
        self.topics.settle();
    }

    /// `first_offset` is that of the first of the records.
    pub(super) fn update(&mut self, records: &[Record], first_offset: u64) {
        for (offset, record) in (first_offset..).zip(records) {
            let mut last = LastValue::new(offset, record);
            self.bytes += last.size(&record.topic);
            let replaced = self.topics.change(&record.topic, |row| {
                std::mem::swap(row, &mut last);
                last.size(&record.topic)
            });
            match replaced {
                Some(size) => self.bytes -= size,
                None => drop(self.topics.insert(record.topic.clone(), last)),
            }
        }
        if self.bytes > BUDGET {
            self.forget_oldest(BUDGET / 8 * 7);
        }
    }

    /// Down to `target`, which leaves room for many more before this is needed again: it looks at
    /// every row.
    fn forget_oldest(&mut self, target: u64) {
        let rows = self.topics.iter();
        let mut offsets: Vec<(u64, u64)> = rows
            .map(|(topic, last)| (last.offset, last.size(topic)))
            .collect();
        offsets.sort_unstable();
        let mut first_kept = 0;
        for (offset, size) in offsets {
            if self.bytes <= target {
                break;
            }
            self.bytes -= size;
            first_kept = offset + 1;
        }
        self.topics.retain(|_, last| last.offset >= first_kept);
    }

    /// The values of topics that match one of the filters (all without one), `limit` at most: those
    /// after the topic `after`.
    pub fn page(&self, filters: &[TopicFilter], after: Option<&str>, limit: usize) -> Page<Last> {
        let wanted = |topic: &str, _: &LastValue| {
            filters.is_empty() || filters.iter().any(|filter| filter.matches(topic))
        };
        let size = |topic: &str, last: &LastValue| usize::try_from(last.size(topic));
        let size = |topic: &str, last: &LastValue| size(topic, last).unwrap_or(usize::MAX);
        let most = Most {
            rows: limit,
            bytes: PAGE_BYTES,
        };
        let found = page(&self.topics, after, most, wanted, size);
        let answers = found.rows.into_iter();
        Page {
            rows: answers.map(|(topic, last)| last.answer(topic)).collect(),
            more_after: found.more_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str, value: Value) -> Record {
        Record {
            value,
            ..Record::message(topic, "", Nanos(5))
        }
    }

    fn all(last: &LastValues) -> Vec<(u64, Value, Option<u64>)> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = last.page(&[], after.as_deref(), usize::MAX);
            let rows = page.rows.into_iter();
            all.extend(rows.map(|last| (last.offset, last.record.value, last.large)));
            after = page.more_after;
            if after.is_none() {
                return all;
            }
        }
    }

    #[test]
    fn the_newest_of_each_topic_and_the_large_by_their_offset() {
        let mut last = LastValues::default();
        let text = |len: usize| Value::Text("x".repeat(len));
        let records = [
            record("a", Value::I64(1)),
            record("b", text(LARGE)),
            record("a", Value::F64(f64::from_bits(0.5f64.to_bits()))),
            record("c", text(LARGE + 1)),
        ];
        last.update(&records, 10);
        let expected = [
            (12, Value::F64(0.5), None),
            (11, text(LARGE), None),
            (13, Value::Null, Some(LARGE as u64 + 1)),
        ];
        assert_eq!(all(&last), expected);
        let filters = ["b".parse().unwrap(), "c/#".parse().unwrap()];
        assert_eq!(last.page(&filters, None, 10).rows.len(), 2);
        let first = last.page(&[], None, 1);
        assert_eq!(first.more_after.as_deref(), Some("a"));
        assert_eq!(last.page(&[], Some("a"), 10).rows.len(), 2);
    }

    #[test]
    fn the_topics_silent_for_longest_are_forgotten() {
        let mut last = LastValues::default();
        let topics = BUDGET / (ROW_BYTES + 1000 + 6) + 1;
        for number in 0..topics {
            let value = Value::Payload(vec![0; 1000].into());
            last.update(&[record(&format!("{number:06}"), value)], number);
            if number % 10_000 == 0 {
                assert_eq!(LastValues::from(last.topics.clone()).bytes, last.bytes);
            }
        }
        let offsets: Vec<u64> = all(&last).into_iter().map(|(offset, ..)| offset).collect();
        assert!(last.bytes <= BUDGET);
        assert_eq!(offsets.last(), Some(&(topics - 1)));
        let first = offsets[0];
        assert!(first > 0 && first < topics / 4, "{first} of {topics}");
        assert_eq!(offsets, (first..topics).collect::<Vec<_>>());
    }
}
