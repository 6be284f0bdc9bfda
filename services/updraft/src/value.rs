//! Values and payloads as a person reads them.

use proto::Value;

/// Longer payloads are cut for display.
const SHOWN_BYTES: usize = 32;

/// Text as it is; bytes that are none in hexadecimal, the long ones cut.
pub(crate) fn printable(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => text.to_owned(),
        _ if payload.len() <= SHOWN_BYTES => format!("0x{}", hex::encode(payload)),
        _ => format!(
            "0x{}… ({} bytes)",
            hex::encode(&payload[..SHOWN_BYTES]),
            payload.len()
        ),
    }
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::Text(value) => value.clone(),
        Value::Payload(bytes) => printable(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        assert_eq!(printable("21 °C".as_bytes()), "21 °C");
        assert_eq!(printable(&[0, 255]), "0x00ff");
        assert!(printable(&[0; 100]).ends_with("… (100 bytes)"));
    }
}
