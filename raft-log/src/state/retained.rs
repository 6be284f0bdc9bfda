//! Retained messages: the newest one of each topic that has one (MQTT-3.3.1.3).

use std::collections::BTreeMap;

use proto::{Batch, Record, TopicFilter, Value};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Retained {
    /// By topic, each encoded as a batch of one.
    messages: BTreeMap<String, serde_bytes::ByteBuf>,
}

impl Retained {
    /// Takes over what a batch retains. A batch of a version that this program does not know
    /// retains nothing.
    pub(super) fn update(&mut self, batch: &[u8]) {
        let Ok(records) = Batch::decode(batch) else {
            return;
        };
        for record in records.into_iter().filter(|record| record.flags.retain()) {
            let is_empty = matches!(&record.value, Value::Payload(bytes) if bytes.is_empty());
            if is_empty {
                // MQTT-3.3.1-6
                self.messages.remove(&record.topic);
            } else if let Ok(batch) = Batch::encode(std::slice::from_ref(&record)) {
                let bytes = serde_bytes::ByteBuf::from(batch.bytes.to_vec());
                self.messages.insert(record.topic, bytes);
            }
        }
    }

    /// Messages whose topic matches one of the filters, in the order of their topics.
    pub fn matching(&self, filters: &[TopicFilter]) -> Vec<Record> {
        self.messages
            .iter()
            .filter(|(topic, _)| filters.iter().any(|filter| filter.matches(topic)))
            .filter_map(|(_, batch)| Batch::decode(batch).ok())
            .flatten()
            .collect()
    }
}
