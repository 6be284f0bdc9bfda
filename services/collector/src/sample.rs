//! One value of one tag, as its machine gave it.

use proto::record::Flags;
use proto::{Nanos, Quality, Record, Value};
use serde_json::Value as Json;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Which of the collector's tags.
    pub tag: usize,
    pub value: Value,
    pub quality: Quality,
    /// When the machine says the value was taken.
    pub source_time: Option<Nanos>,
    /// When we received it.
    pub receive_time: Nanos,
    /// What a record has no field for; names of our own start with `$`.
    pub headers: Vec<(String, String)>,
}

/// What the value was on the machine, where the record's value can't tell: `Double[3]`.
pub(crate) const TYPE: &str = "$type";
/// When the server had the value, in nanoseconds since the epoch, where that is not the source
/// time.
pub(crate) const SERVER_TIME: &str = "$server-time";
/// A source time outside the years 1677 to 2262, which nanoseconds can't say.
pub(crate) const SOURCE_TIME: &str = "$source-time";

/// OPC UA status codes (Part 6 §A.2) that we give ourselves.
pub(crate) mod quality {
    use proto::Quality;

    /// Nothing was heard of the machine.
    pub(crate) const NO_COMMUNICATION: Quality = Quality(0x8031_0000);
    /// The machine refuses this address.
    pub(crate) const CONFIGURATION: Quality = Quality(0x8089_0000);
    /// The machine says that it can't.
    pub(crate) const DEVICE_FAILURE: Quality = Quality(0x808B_0000);
    /// The OPC UA server does not know the namespace of the node.
    pub(crate) const NODE_UNKNOWN: Quality = Quality(0x8034_0000);
}

impl Sample {
    /// A tag without a value, and why.
    pub(crate) fn bad(tag: usize, quality: Quality, now: Nanos) -> Sample {
        Sample {
            tag,
            value: Value::Null,
            quality,
            source_time: None,
            receive_time: now,
            headers: Vec::new(),
        }
    }

    /// Roughly what it takes in memory.
    pub(crate) fn size_bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers.map(|(name, text)| name.len() + text.len()).sum();
        size_of::<Sample>() + self.value.size_bytes() + headers
    }

    pub(crate) fn into_record(self, topic: &str) -> Record {
        Record {
            topic: topic.to_owned(),
            source_time: self.source_time,
            receive_time: self.receive_time,
            value: self.value,
            quality: self.quality,
            flags: Flags::default(),
            headers: self.headers,
        }
    }
}

/// The JSON text of one value. JSON has no NaN and no infinities: they are texts.
pub(crate) fn json(value: &Value) -> Json {
    match value {
        Value::Null | Value::Payload(_) => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::F64(value) if value.is_finite() => (*value).into(),
        Value::F64(value) => value.to_string().into(),
        Value::Text(value) => value.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_values() {
        for (value, text) in [
            (Value::Bool(true), "true"),
            (Value::I64(i64::MIN), "-9223372036854775808"),
            (Value::U64(u64::MAX), "18446744073709551615"),
            (Value::F64(0.1), "0.1"),
            (Value::F64(f64::NAN), r#""NaN""#),
            (Value::F64(f64::NEG_INFINITY), r#""-inf""#),
            (Value::Text("a\"b".into()), r#""a\"b""#),
            (Value::Null, "null"),
        ] {
            assert_eq!(json(&value).to_string(), text);
        }
    }
}
