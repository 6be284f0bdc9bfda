//! What the payload of an MQTT message means. The log keeps the bytes as they came (I7); reading
//! them happens here, wherever somebody needs values: in the historian, the console, the audit.

use bytes::Bytes;
use serde_json::Value as Json;

use crate::topic::UnsTopic;
use crate::wave::WaveBlock;
use crate::{Nanos, Quality, Record, Value};

/// Nested keys of the older `_historian` payload are joined by this.
const GROUP_SEPARATOR: &str = "$";
/// Deeper groups than these are not tags any more.
const MAX_DEPTH: usize = 16;

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// One value, or several of one moment.
    Samples(Vec<Sample>),
    Wave(WaveBlock),
    /// A payload with no values of its own; `problem` says what kept it from being read when its
    /// topic promised values.
    Message {
        payload: Bytes,
        problem: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Tag group and name within the payload (`head$pos$x`); empty for the one value of a topic.
    pub key: String,
    pub time: Nanos,
    pub quality: Quality,
    /// Never [`Value::Payload`].
    pub value: Value,
}

/// Reads a record. Never fails: what can't be read is a message.
pub fn read(record: &Record) -> Content {
    let payload = match &record.value {
        Value::Payload(payload) => payload,
        typed => return Content::Samples(vec![typed_sample(record, typed.clone())]),
    };
    let result = match UnsTopic::parse(&record.topic) {
        None => {
            return Content::Message {
                payload: payload.clone(),
                problem: None,
            };
        }
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(uns)) if uns.contract == "_wave" => WaveBlock::decode(payload)
            .map(Content::Wave)
            .map_err(|error| error.to_string()),
        Some(Ok(uns)) => samples(record, payload, &uns).map(Content::Samples),
    };
    result.unwrap_or_else(|problem| Content::Message {
        payload: payload.clone(),
        problem: Some(problem),
    })
}

fn typed_sample(record: &Record, value: Value) -> Sample {
    Sample {
        key: String::new(),
        time: record.source_time.unwrap_or(record.receive_time),
        quality: record.quality,
        value,
    }
}

/// `{"timestamp_ms": …, "value": …}`, or the older form with tag names and groups as keys.
fn samples(record: &Record, payload: &[u8], uns: &UnsTopic<'_>) -> Result<Vec<Sample>, String> {
    let json: Json =
        serde_json::from_slice(payload).map_err(|error| format!("not JSON: {error}"))?;
    let Json::Object(mut fields) = json else {
        return Err("not a JSON object".into());
    };
    let millis = match fields.shift_remove("timestamp_ms") {
        Some(time) => time
            .as_i64()
            .ok_or("`timestamp_ms` is not a whole number")?,
        None => return Err("no `timestamp_ms`".into()),
    };
    let nanos = millis.checked_mul(1_000_000);
    let time = Nanos(nanos.ok_or("`timestamp_ms` is outside the years 1678 to 2262")?);
    let mut samples = Vec::new();
    let mut push = |key: String, value: Value| {
        samples.push(Sample {
            key,
            time,
            quality: record.quality,
            value,
        });
    };
    if fields.len() == 1
        && let Some(value) = fields.get("value").filter(|value| !value.is_object())
    {
        push(
            String::new(),
            scalar(value).ok_or("`value` is neither number, bool nor string")?,
        );
    } else if uns.contract == "_historian" {
        collect_groups("", &Json::Object(fields), 0, &mut push)?;
    } else {
        return Err("expected exactly `timestamp_ms` and `value`".into());
    }
    if samples.is_empty() {
        Err("no value beside `timestamp_ms`".into())
    } else {
        Ok(samples)
    }
}

fn collect_groups(
    prefix: &str,
    value: &Json,
    depth: usize,
    push: &mut impl FnMut(String, Value),
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("tag groups nested deeper than {MAX_DEPTH}"));
    }
    if let Json::Object(fields) = value {
        for (name, value) in fields {
            let key = match prefix {
                "" => name.clone(),
                prefix => format!("{prefix}{GROUP_SEPARATOR}{name}"),
            };
            collect_groups(&key, value, depth + 1, push)?;
        }
        return Ok(());
    }
    let scalar =
        scalar(value).ok_or_else(|| format!("`{prefix}` is neither number, bool nor string"))?;
    push(prefix.to_owned(), scalar);
    Ok(())
}

fn scalar(value: &Json) -> Option<Value> {
    Some(match value {
        Json::Bool(bool) => Value::Bool(*bool),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::I64(number),
            (_, Some(number), _) => Value::U64(number),
            (_, _, Some(number)) => Value::F64(number),
            _ => return None,
        },
        Json::Null | Json::Array(_) | Json::Object(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_payload(topic: &str, payload: &str) -> Content {
        read(&Record::message(topic, payload.to_owned(), Nanos(42)))
    }

    fn values(topic: &str, payload: &str) -> Vec<(String, i64, Value)> {
        match read_payload(topic, payload) {
            Content::Samples(samples) => samples
                .into_iter()
                .map(|s| (s.key, s.time.0, s.value))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_value_per_topic() {
        let millis = 1_386_018_900_000;
        for (text, value) in [
            ("73.96732207", Value::F64(73.967_322_07)),
            ("74.93588199999998", Value::F64(74.935_881_999_999_98)),
            ("9007199254740993", Value::I64(9_007_199_254_740_993)),
            ("18446744073709551615", Value::U64(u64::MAX)),
            ("-1", Value::I64(-1)),
            ("true", Value::Bool(true)),
            (r#""run""#, Value::Text("run".into())),
        ] {
            let payload = format!(r#"{{"timestamp_ms": {millis}, "value": {text}}}"#);
            let expected = vec![(String::new(), millis * 1_000_000, value)];
            assert_eq!(values("umh/v1/acme/_raw/t", &payload), expected, "{text}");
        }
    }

    #[test]
    fn groups_of_the_older_form() {
        let payload = r#"{"timestamp_ms": 1, "head": {"pos": {"x": 1, "y": 2.5}}, "on": true}"#;
        let expected = vec![
            ("head$pos$x".to_owned(), 1_000_000, Value::I64(1)),
            ("head$pos$y".to_owned(), 1_000_000, Value::F64(2.5)),
            ("on".to_owned(), 1_000_000, Value::Bool(true)),
        ];
        assert_eq!(values("umh/v1/acme/_historian/t", payload), expected);
    }

    #[test]
    fn what_can_not_be_read_is_kept_as_a_message() {
        let topic = "umh/v1/acme/_raw/t";
        for (topic, payload, problem) in [
            (topic, "21.5 °C", Some("not JSON: ")),
            (topic, "[1]", Some("not a JSON object")),
            (topic, r#"{"value": 1}"#, Some("no `timestamp_ms`")),
            (
                topic,
                r#"{"timestamp_ms": 1.5, "value": 1}"#,
                Some("`timestamp_ms` is not a whole"),
            ),
            (
                topic,
                r#"{"timestamp_ms": 9223372036854775807, "value": 1}"#,
                Some("`timestamp_ms` is outside"),
            ),
            (topic, r#"{"timestamp_ms": 1}"#, Some("expected exactly")),
            (
                topic,
                r#"{"timestamp_ms": 1, "value": null}"#,
                Some("`value` is neither"),
            ),
            (
                topic,
                r#"{"timestamp_ms": 1, "value": 1, "x": 2}"#,
                Some("expected exactly"),
            ),
            (
                "umh/v1/acme/_historian/t",
                r#"{"timestamp_ms": 1}"#,
                Some("no value"),
            ),
            (
                "umh/v1/acme/_raw/ö",
                r#"{"timestamp_ms": 1, "value": 1}"#,
                Some("character 'ö'"),
            ),
            ("umh/v1/acme/_wave/s", "x", Some("waveform is shorter")),
            ("other/topic", "x", None),
        ] {
            match (read_payload(topic, payload), problem) {
                (
                    Content::Message {
                        payload: kept,
                        problem: None,
                    },
                    None,
                ) => assert_eq!(kept, payload),
                (
                    Content::Message {
                        payload: kept,
                        problem: Some(found),
                    },
                    Some(expected),
                ) => {
                    assert_eq!(kept, payload);
                    assert!(found.starts_with(expected), "{payload}: {found}");
                }
                other => panic!("{payload}: {other:?}"),
            }
        }
    }

    #[test]
    fn typed_values_of_collectors() {
        let mut record = Record::message("umh/v1/acme/_raw/t", "", Nanos(42));
        record.value = Value::F64(1.5);
        record.source_time = Some(Nanos(40));
        let sample = Sample {
            key: String::new(),
            time: Nanos(40),
            quality: Quality::GOOD,
            value: Value::F64(1.5),
        };
        assert_eq!(read(&record), Content::Samples(vec![sample]));
    }
}
