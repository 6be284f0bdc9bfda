//! Retained messages: the newest one of each topic that has one (MQTT-3.3.1.3).

use proto::{Batch, Record, TopicFilter, Value};
use serde::{Deserialize, Serialize};

use super::hash::{Content, Sum, Table};
use super::page::{Most, Page, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Retained {
    messages: Table<String, Message>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Message {
    offset: u64,
    /// Encoded as a batch of one.
    batch: serde_bytes::ByteBuf,
}

impl Content for Message {
    fn content(&self) -> impl Serialize {
        self
    }
}

impl Retained {
    pub(super) fn sum(&self) -> Sum {
        self.messages.sum()
    }

    pub(super) fn settle(&mut self) {
        self.messages.settle();
    }

    /// Takes over what a batch retains; `first_offset` is that of its first record.
    pub(super) fn update(&mut self, records: &[Record], first_offset: u64) {
        let numbered = (first_offset..).zip(records);
        for (offset, record) in numbered.filter(|(_, record)| record.flags.retain()) {
            let is_empty = matches!(&record.value, Value::Payload(bytes) if bytes.is_empty());
            if is_empty {
                // MQTT-3.3.1-6
                self.messages.remove(&record.topic);
            } else if let Ok(batch) = Batch::encode(std::slice::from_ref(record)) {
                let batch = serde_bytes::ByteBuf::from(batch.bytes.to_vec());
                let message = Message { offset, batch };
                self.messages.insert(record.topic.clone(), message);
            }
        }
    }

    /// Messages whose topic matches one of the filters, in the order of their topics: those after
    /// `after`, about `max_bytes` of them. One that came at or after the offset `before` is left
    /// out: who reads the log from there on gets it anyway.
    pub fn page(
        &self,
        filters: &[TopicFilter],
        after: Option<&str>,
        before: u64,
        max_bytes: usize,
    ) -> Page<Record> {
        let wanted = |topic: &str, message: &Message| {
            message.offset < before && filters.iter().any(|filter| filter.matches(topic))
        };
        let size = |_: &str, message: &Message| message.batch.len();
        let most = Most {
            rows: usize::MAX,
            bytes: max_bytes,
        };
        let found = page(&self.messages, after, most, wanted, size);
        let decoded = found.rows.into_iter();
        let decoded = decoded.filter_map(|(_, message)| Batch::decode(&message.batch).ok());
        Page {
            rows: decoded.flatten().collect(),
            more_after: found.more_after,
        }
    }
}
