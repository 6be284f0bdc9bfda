//! MQTT messages and records, one into the other.
//!
//! What version 5 says beside the payload travels in a record's headers: user properties under
//! their own names, the rest under names that start with `$`. A user property whose name starts
//! with `$` gets another one in front.

use std::sync::OnceLock;

use bytes::Bytes;
use proto::record::{CONTENT_TYPE, Flags};
use proto::{Nanos, Offset, Quality, Record, Value};
use rumqttd::protocol::PublishProperties;

use crate::packet::Publish;

pub const RESPONSE_TOPIC: &str = "$response-topic";
/// Lower-case hex, for it may be any bytes.
pub const CORRELATION_DATA: &str = "$correlation-data";
/// "1" when the publisher says that the payload is UTF-8.
pub const PAYLOAD_FORMAT: &str = "$payload-format";
/// Seconds from the record's receive time.
pub const MESSAGE_EXPIRY: &str = "$message-expiry";
/// User property of values that are not good: the OPC UA status code, such as `0x80000000`.
pub const QUALITY: &str = "quality";

/// A name or value in a property carries a length of two bytes.
const MAX_FIELD_BYTES: usize = u16::MAX as usize;

/// The record of a message, as it goes into the log.
pub fn record(publish: Publish, now: Nanos) -> Record {
    let mut record = Record::message(publish.topic, publish.payload, now);
    record.flags = Flags::new(publish.retain, publish.qos);
    record.headers = publish.properties.map(headers).unwrap_or_default();
    record
}

fn headers(properties: PublishProperties) -> Vec<(String, String)> {
    let own = [
        (CONTENT_TYPE, properties.content_type),
        (RESPONSE_TOPIC, properties.response_topic),
        (
            CORRELATION_DATA,
            properties.correlation_data.map(hex::encode),
        ),
        (
            PAYLOAD_FORMAT,
            properties
                .payload_format_indicator
                .map(|format| format.to_string()),
        ),
        (
            MESSAGE_EXPIRY,
            properties
                .message_expiry_interval
                .map(|seconds| seconds.to_string()),
        ),
    ];
    let own = own
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let user = properties.user_properties.into_iter().map(|(name, value)| {
        let name = if name.starts_with('$') {
            format!("${name}")
        } else {
            name
        };
        (name, value)
    });
    own.chain(user).collect()
}

fn properties(record: &Record) -> PublishProperties {
    let mut properties = PublishProperties::default();
    for (name, value) in &record.headers {
        if name.len() > MAX_FIELD_BYTES || value.len() > MAX_FIELD_BYTES {
            continue;
        }
        match name.as_str() {
            CONTENT_TYPE => properties.content_type = Some(value.clone()),
            RESPONSE_TOPIC => properties.response_topic = Some(value.clone()),
            CORRELATION_DATA => {
                properties.correlation_data = hex::decode(value).ok().map(Bytes::from);
            }
            PAYLOAD_FORMAT => properties.payload_format_indicator = value.parse().ok(),
            MESSAGE_EXPIRY => {}
            name => {
                let user = match name.strip_prefix('$') {
                    None => name,
                    Some(escaped) if escaped.starts_with('$') => escaped,
                    // Of our own, and not for MQTT.
                    Some(_) => continue,
                };
                properties
                    .user_properties
                    .push((user.to_owned(), value.clone()));
            }
        }
    }
    if record.quality != Quality::GOOD {
        let quality = format!("{:#010x}", record.quality.0);
        properties
            .user_properties
            .push((QUALITY.to_owned(), quality));
    }
    properties
}

/// A committed record on its way to subscribers, shared by all of them.
#[derive(Debug)]
pub struct Message {
    pub offset: Offset,
    pub record: Record,
    rendered: OnceLock<Rendered>,
}

/// A record as MQTT carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub topic: Bytes,
    pub payload: Bytes,
    /// Without what depends on the subscriber: subscription identifiers, what is left of the
    /// expiry.
    pub properties: PublishProperties,
    pub expiry_seconds: Option<u32>,
}

impl Message {
    pub fn new(offset: Offset, record: Record) -> Message {
        Message {
            offset,
            record,
            rendered: OnceLock::new(),
        }
    }

    /// Made when the first subscriber asks for it.
    pub fn rendered(&self) -> &Rendered {
        self.rendered.get_or_init(|| render(&self.record))
    }

    /// The most a subscriber can get. A collector's value, which no client published, is
    /// delivered as safely as the subscriber wants.
    pub fn max_qos(&self) -> u8 {
        match self.record.value {
            Value::Payload(_) => self.record.flags.qos().min(1),
            _ => 1,
        }
    }
}

pub fn render(record: &Record) -> Rendered {
    Rendered {
        topic: Bytes::copy_from_slice(record.topic.as_bytes()),
        payload: payload(record),
        properties: properties(record),
        expiry_seconds: record
            .header(MESSAGE_EXPIRY)
            .and_then(|seconds| seconds.parse().ok()),
    }
}

impl Rendered {
    /// What is left of the message's life; it is not sent when it is over \[MQTT-3.3.2-5\].
    pub fn left(&self, received: Nanos, now: Nanos) -> Left {
        let Some(expiry) = self.expiry_seconds else {
            return Left::Unlimited;
        };
        let age = now.0.saturating_sub(received.0).max(0) / 1_000_000_000;
        match u32::try_from(age)
            .ok()
            .and_then(|age| expiry.checked_sub(age))
        {
            Some(seconds) if seconds > 0 => Left::Seconds(seconds),
            _ => Left::Expired,
        }
    }
}

/// What is left of a message's expiry interval \[MQTT-3.3.2-6\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Unlimited,
    Seconds(u32),
    Expired,
}

/// Typed values of collectors become `{"timestamp_ms": …, "value": …}`.
fn payload(record: &Record) -> Bytes {
    let value = match &record.value {
        Value::Payload(payload) => return payload.clone(),
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::Text(value) => value.as_str().into(),
    };
    let time = record.source_time.unwrap_or(record.receive_time);
    let millis = time.0.div_euclid(1_000_000);
    Bytes::from(format!("{{\"timestamp_ms\":{millis},\"value\":{value}}}"))
}

#[cfg(test)]
mod tests {
    use proto::Quality;

    use super::*;

    fn publish(properties: PublishProperties) -> Publish {
        Publish {
            qos: 1,
            retain: true,
            topic: "a/b".into(),
            payload: "x".into(),
            properties: Some(properties),
            ..Publish::default()
        }
    }

    #[test]
    fn properties_survive_the_way_through_a_record() {
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            response_topic: Some("reply/to".into()),
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            user_properties: vec![
                ("b".into(), "2".into()),
                ("$own".into(), "3".into()),
                ("$$".into(), "4".into()),
                ("b".into(), "5".into()),
            ],
            content_type: Some("text/plain".into()),
            ..PublishProperties::default()
        };
        let record = record(publish(properties.clone()), Nanos(7));
        assert_eq!(record.flags, Flags::new(true, 1));
        assert_eq!(record.header(CONTENT_TYPE), Some("text/plain"));
        assert_eq!(record.header(CORRELATION_DATA), Some("00ff"));
        assert_eq!(record.header("b"), Some("2"));
        assert_eq!(record.header("$$own"), Some("3"));
        assert_eq!(render(&record).properties, properties);
    }

    #[test]
    fn expiry_counts_down_and_ends() {
        const SECOND: i64 = 1_000_000_000;
        let properties = PublishProperties {
            message_expiry_interval: Some(10),
            ..PublishProperties::default()
        };
        let rendered = render(&record(publish(properties), Nanos(0)));
        for (now, left) in [
            (-5, Left::Seconds(10)),
            (0, Left::Seconds(10)),
            (3, Left::Seconds(7)),
            (10, Left::Expired),
            (9_999_999, Left::Expired),
        ] {
            assert_eq!(rendered.left(Nanos(0), Nanos(now * SECOND)), left, "{now}");
        }
        let rendered = render(&record(publish(PublishProperties::default()), Nanos(0)));
        assert_eq!(rendered.left(Nanos(0), Nanos(i64::MAX)), Left::Unlimited);
    }

    #[test]
    fn values_of_collectors() {
        for (value, json) in [
            (Value::Null, "null"),
            (Value::Bool(true), "true"),
            (Value::I64(-3), "-3"),
            (Value::U64(u64::MAX), "18446744073709551615"),
            (Value::F64(0.1), "0.1"),
            (Value::F64(f64::NAN), "null"),
            (Value::Text("a\"b".into()), r#""a\"b""#),
        ] {
            let mut record = Record::message("t", "", Nanos(2_500_000));
            record.value = value;
            let expected = format!("{{\"timestamp_ms\":2,\"value\":{json}}}");
            assert_eq!(render(&record).payload, expected);
            record.source_time = Some(Nanos(-1));
            assert!(
                render(&record)
                    .payload
                    .starts_with(b"{\"timestamp_ms\":-1,")
            );
        }
    }

    #[test]
    fn quality_is_a_user_property_unless_good() {
        let mut record = Record::message("t", "", Nanos(0));
        assert!(render(&record).properties.user_properties.is_empty());
        record.quality = Quality(0x8000_0000);
        let expected = vec![("quality".to_owned(), "0x80000000".to_owned())];
        assert_eq!(render(&record).properties.user_properties, expected);
        // Good, but clamped and after an overflow: who looks at it closely wants to know.
        record.quality = Quality(0x0030_0480);
        let expected = vec![("quality".to_owned(), "0x00300480".to_owned())];
        assert_eq!(render(&record).properties.user_properties, expected);
    }
}
