//! The record: one value or message, as it was born.

use bytes::Bytes;

use crate::Nanos;

/// One value or message. Immutable from its birth to the top of the pyramid (I7).
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// MQTT topic name, at most 65,535 bytes of UTF-8.
    pub topic: String,
    /// When the source says the value was taken; a raw MQTT payload may carry its own.
    pub source_time: Option<Nanos>,
    /// When the hub of birth received it.
    pub receive_time: Nanos,
    pub value: Value,
    pub quality: Quality,
    pub flags: Flags,
    /// Names and values in their order; names of our own start with `$`.
    pub headers: Vec<(String, String)>,
}

/// Content type of an MQTT 5 message (MQTT-3.3.2.3.9).
pub const CONTENT_TYPE: &str = "$content-type";

impl Record {
    /// A message as a client published it.
    pub fn message(topic: impl Into<String>, payload: impl Into<Bytes>, now: Nanos) -> Record {
        Record {
            topic: topic.into(),
            source_time: None,
            receive_time: now,
            value: Value::Payload(payload.into()),
            quality: Quality::GOOD,
            flags: Flags::default(),
            headers: Vec::new(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// An estimate of what it takes in an uncompressed batch.
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
        self.topic.len() + self.value.size_bytes() + headers + 32
    }
}

/// A typed value, or a payload that is carried as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(String),
    /// Bytes of an MQTT message; [`crate::payload`] reads them.
    Payload(Bytes),
}

impl Value {
    pub fn size_bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Payload(bytes) => bytes.len(),
            _ => 8,
        }
    }
}

/// OPC UA status code (Part 4 §7.39); 0 is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality(pub u32);

impl Quality {
    pub const GOOD: Quality = Quality(0);

    pub fn is_good(self) -> bool {
        self.0 >> 30 == 0
    }
}

/// How a message was published.
///
/// ```text
/// bit 0      RETAIN (MQTT-3.3.1.3)
/// bits 1-2   QoS it was published with
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    pub fn new(retain: bool, qos: u8) -> Flags {
        Flags(u8::from(retain) | (qos & 0b11) << 1)
    }

    pub fn retain(self) -> bool {
        self.0 & 1 != 0
    }

    pub fn qos(self) -> u8 {
        self.0 >> 1 & 0b11
    }
}
