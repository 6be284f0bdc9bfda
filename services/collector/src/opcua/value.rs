//! From an OPC UA DataValue to a sample.
//!
//! ```text
//! Boolean, integers, Float, Double, String   the same value
//! DateTime, Guid, NodeId, LocalizedText, …   its text
//! ByteString                                 base64
//! array                                      the text of a JSON array; of matrices, flat
//! structure                                  base64 of its binary encoding
//! ```
//!
//! What is not the same value names its type in the header `$type`, with the dimensions of an
//! array. The status is kept whole; a bad status with a value keeps the value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use opcua::types::{
    Array, BinaryEncodable, ByteString, Context, DataValue, DateTime, UAString, Variant,
};
use proto::{Nanos, Quality, Value};
use serde_json::Value as Json;

use crate::sample::{self, SERVER_TIME, SOURCE_TIME, Sample, TYPE};

/// The sample that `data` is, received `now`; `context` knows how to encode a structure again.
pub(crate) fn sample(tag: usize, data: &DataValue, now: Nanos, context: &Context<'_>) -> Sample {
    let mut headers = Vec::new();
    let given = data.source_timestamp.filter(|time| !time.is_null());
    let source_time = given.and_then(nanos);
    if let (Some(time), None) = (given, source_time) {
        headers.push((SOURCE_TIME.to_owned(), time.to_rfc3339()));
    }
    let server_time = data.server_timestamp.and_then(nanos);
    if let Some(time) = server_time.filter(|time| Some(*time) != source_time) {
        headers.push((SERVER_TIME.to_owned(), time.0.to_string()));
    }
    let variant = data.value.as_ref().unwrap_or(&Variant::Empty);
    let value = value(variant, context);
    if !is_same(variant) {
        headers.push((TYPE.to_owned(), kind(variant)));
    }
    Sample {
        tag,
        value,
        quality: quality(data),
        source_time,
        receive_time: now,
        headers,
    }
}

/// A status that is absent is good (Part 6 §5.2.2.17).
pub(crate) fn quality(data: &DataValue) -> Quality {
    Quality(data.status.map_or(0, |status| status.bits()))
}

/// The server has dropped values before this one: its queue was full.
pub(crate) fn is_overflow(data: &DataValue) -> bool {
    /// InfoType DataValue and the bit Overflow (Part 4 §7.39.1).
    const OVERFLOW: u32 = 0x480;
    quality(data).0 & OVERFLOW == OVERFLOW
}

/// As OPC UA calls it: `Double`, `Double[3]`, `Byte[2,4]`.
pub(crate) fn kind(variant: &Variant) -> String {
    match variant {
        Variant::Empty => "Null".into(),
        Variant::Array(array) => {
            let flat = u32::try_from(array.values.len()).unwrap_or(u32::MAX);
            let dimensions = array.dimensions.clone().unwrap_or_else(|| vec![flat]);
            let dimensions: Vec<_> = dimensions.iter().map(ToString::to_string).collect();
            format!("{}[{}]", array.value_type, dimensions.join(","))
        }
        scalar => scalar
            .scalar_type_id()
            .map_or("Null".into(), |kind| kind.to_string()),
    }
}

/// Nanoseconds since 1970, where they can say it: from 1677 to 2262.
fn nanos(time: DateTime) -> Option<Nanos> {
    time.as_chrono().timestamp_nanos_opt().map(Nanos)
}

/// Whether the value says what its type was, as far as anybody will ask.
fn is_same(variant: &Variant) -> bool {
    matches!(
        variant,
        Variant::Empty
            | Variant::Boolean(_)
            | Variant::SByte(_)
            | Variant::Byte(_)
            | Variant::Int16(_)
            | Variant::UInt16(_)
            | Variant::Int32(_)
            | Variant::UInt32(_)
            | Variant::Int64(_)
            | Variant::UInt64(_)
            | Variant::Float(_)
            | Variant::Double(_)
            | Variant::String(_)
    )
}

fn value(variant: &Variant, context: &Context<'_>) -> Value {
    match variant {
        Variant::Empty => Value::Null,
        Variant::Boolean(value) => Value::Bool(*value),
        Variant::SByte(value) => Value::I64((*value).into()),
        Variant::Int16(value) => Value::I64((*value).into()),
        Variant::Int32(value) => Value::I64((*value).into()),
        Variant::Int64(value) => Value::I64(*value),
        Variant::Byte(value) => Value::U64((*value).into()),
        Variant::UInt16(value) => Value::U64((*value).into()),
        Variant::UInt32(value) => Value::U64((*value).into()),
        Variant::UInt64(value) => Value::U64(*value),
        Variant::Float(value) => Value::F64((*value).into()),
        Variant::Double(value) => Value::F64(*value),
        Variant::String(text) => string(text),
        Variant::XmlElement(text) => Value::Text(text.to_string()),
        Variant::LocalizedText(text) => string(&text.text),
        Variant::QualifiedName(name) => string(&name.name),
        Variant::DateTime(time) => Value::Text(time.to_rfc3339()),
        Variant::Guid(guid) => Value::Text(guid.to_string()),
        Variant::StatusCode(code) => Value::Text(code.to_string()),
        Variant::ByteString(bytes) => byte_string(bytes),
        Variant::NodeId(node) => Value::Text(node.to_string()),
        Variant::ExpandedNodeId(node) => Value::Text(node.to_string()),
        Variant::Variant(inner) => value(inner, context),
        Variant::Array(array) => Value::Text(array_text(array, context)),
        Variant::ExtensionObject(_) | Variant::DataValue(_) | Variant::DiagnosticInfo(_) => {
            Value::Text(BASE64.encode(variant.encode_to_vec(context)))
        }
    }
}

fn string(text: &UAString) -> Value {
    text.value().clone().map_or(Value::Null, Value::Text)
}

fn byte_string(bytes: &ByteString) -> Value {
    let bytes = bytes.value.as_ref();
    bytes.map_or(Value::Null, |bytes| Value::Text(BASE64.encode(bytes)))
}

fn array_text(array: &Array, context: &Context<'_>) -> String {
    let element = |variant: &Variant| sample::json(&value(variant, context));
    Json::from_iter(array.values.iter().map(element)).to_string()
}

#[cfg(test)]
mod tests {
    use opcua::types::{
        ContextOwned, Guid, LocalizedText, NodeId, StatusCode, VariantScalarTypeId,
    };

    use super::*;

    fn read(data: &DataValue) -> Sample {
        let owned = ContextOwned::default();
        sample(7, data, Nanos(42), &owned.context())
    }

    fn of(variant: Variant) -> (Value, Option<String>) {
        let sample = read(&DataValue::value_only(variant));
        let kind = sample.headers.into_iter().find(|(name, _)| name == TYPE);
        (sample.value, kind.map(|(_, kind)| kind))
    }

    fn doubles(values: &[f64]) -> Vec<Variant> {
        values.iter().copied().map(Variant::Double).collect()
    }

    #[test]
    fn values_of_all_kinds() {
        let text = |text: &str| Value::Text(text.into());
        let matrix = Array::new_multi(
            VariantScalarTypeId::Double,
            doubles(&[1.0, 2.5, f64::NAN, -1e300]),
            vec![2_u32, 2],
        );
        let bools = Array::new(VariantScalarTypeId::Boolean, vec![Variant::Boolean(true)]);
        let guid: Guid = "72962b91-fa75-4ae6-8d28-b404dc7daf63".parse().unwrap();
        for (variant, value, kind) in [
            (Variant::Empty, Value::Null, None),
            (Variant::Boolean(true), Value::Bool(true), None),
            (Variant::SByte(-1), Value::I64(-1), None),
            (Variant::Byte(255), Value::U64(255), None),
            (Variant::Int64(i64::MIN), Value::I64(i64::MIN), None),
            (Variant::UInt64(u64::MAX), Value::U64(u64::MAX), None),
            (Variant::Float(0.1), Value::F64(f64::from(0.1_f32)), None),
            (Variant::Double(0.1), Value::F64(0.1), None),
            (Variant::String("a".into()), text("a"), None),
            (Variant::String(UAString::null()), Value::Null, None),
            (
                Variant::from(LocalizedText::new("de", "Öl")),
                text("Öl"),
                Some("LocalizedText"),
            ),
            (
                Variant::Guid(Box::new(guid)),
                text("72962b91-fa75-4ae6-8d28-b404dc7daf63"),
                Some("Guid"),
            ),
            (
                Variant::ByteString(ByteString::from(vec![0, 255])),
                text("AP8="),
                Some("ByteString"),
            ),
            (
                Variant::from(NodeId::new(2, "x")),
                text("ns=2;s=x"),
                Some("NodeId"),
            ),
            (
                Variant::Array(Box::new(matrix.unwrap())),
                text(r#"[1.0,2.5,"NaN",-1e+300]"#),
                Some("Double[2,2]"),
            ),
            (
                Variant::Array(Box::new(bools.unwrap())),
                text("[true]"),
                Some("Boolean[1]"),
            ),
        ] {
            let expected = (value, kind.map(str::to_owned));
            assert_eq!(of(variant.clone()), expected, "{variant:?}");
        }
    }

    #[test]
    fn times_and_status_are_kept_whole() {
        let time = DateTime::ymd_hms_nano(2024, 2, 29, 12, 0, 0, 123_456_700);
        let mut data = DataValue::value_only(Variant::Int16(5));
        data.status = Some(StatusCode::from(0x4080_0480));
        data.source_timestamp = Some(time);
        data.server_timestamp = Some(time);
        let sample = read(&data);
        assert_eq!(sample.source_time, Some(Nanos(1_709_208_000_123_456_700)));
        assert_eq!(sample.quality, Quality(0x4080_0480));
        assert!(sample.headers.is_empty() && is_overflow(&data));
        assert_eq!((sample.tag, sample.receive_time), (7, Nanos(42)));

        data.server_timestamp = Some(DateTime::ymd_hms_nano(2024, 2, 29, 12, 0, 1, 0));
        data.status = Some(StatusCode::from(0x80));
        let expected = [(SERVER_TIME.to_owned(), "1709208001000000000".to_owned())];
        assert_eq!(read(&data).headers, expected);
        assert!(
            !is_overflow(&data),
            "without the info type the bit means something else"
        );
    }

    #[test]
    fn a_time_that_nanoseconds_can_not_say_is_kept_as_text() {
        let mut data = DataValue::value_only(Variant::Int16(5));
        data.source_timestamp = Some(DateTime::ymd_hms(2500, 1, 1, 0, 0, 0));
        let sample = read(&data);
        assert_eq!(sample.source_time, None);
        let (name, time) = &sample.headers[0];
        assert!(
            name == SOURCE_TIME && time.starts_with("2500-01-01T00:00:00"),
            "{time}"
        );
    }

    #[test]
    fn nothing_but_a_bad_status() {
        let data = DataValue {
            status: Some(StatusCode::BadNoCommunication),
            ..DataValue::default()
        };
        let sample = read(&data);
        assert_eq!(sample.value, Value::Null);
        assert_eq!(sample.quality, Quality(0x8031_0000));
    }
}
