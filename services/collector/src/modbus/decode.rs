//! From registers and bits to values.

use proto::Value;

use super::address::{Address, Kind, Linear, Order};
use crate::sample;

/// What a read gave: `len()` of them for an address, from its first on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words<'a> {
    Bits(&'a [bool]),
    Registers(&'a [u16]),
}

/// The value at `address`; an array is the text of its JSON.
pub(crate) fn decode(address: &Address, words: Words<'_>) -> Value {
    match (words, address.array) {
        (Words::Registers(registers), _) if address.kind == Kind::String => {
            Value::Text(text(registers, address.order))
        }
        (_, Some(_)) => {
            let values: Vec<_> = values(address, words)
                .map(|value| sample::json(&value))
                .collect();
            Value::Text(serde_json::Value::from(values).to_string())
        }
        (_, None) => values(address, words).next().unwrap_or(Value::Null),
    }
}

fn values<'a>(address: &'a Address, words: Words<'a>) -> Box<dyn Iterator<Item = Value> + 'a> {
    match words {
        Words::Bits(bits) => Box::new(bits.iter().map(|bit| Value::Bool(*bit))),
        Words::Registers(registers) => {
            let values = registers.chunks_exact(usize::from(address.kind.width()));
            Box::new(values.map(|registers| {
                let value = number(address.kind, bits(registers, address.order));
                scaled(value, address.linear)
            }))
        }
    }
}

/// The bytes of one value, as one number.
fn bits(registers: &[u16], order: Order) -> u64 {
    let append = |bits: u64, register: &u16| {
        let register = if order.swaps_bytes() {
            register.swap_bytes()
        } else {
            *register
        };
        bits << 16 | u64::from(register)
    };
    if order.swaps_registers() {
        registers.iter().rev().fold(0, append)
    } else {
        registers.iter().fold(0, append)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the bits above the width of the type are 0"
)]
fn number(kind: Kind, bits: u64) -> Value {
    match kind {
        Kind::Bool => Value::Bool(bits != 0),
        Kind::Int16 => Value::I64((bits as u16).cast_signed().into()),
        Kind::Int32 => Value::I64((bits as u32).cast_signed().into()),
        Kind::Int64 => Value::I64(bits.cast_signed()),
        Kind::Uint16 | Kind::Uint32 | Kind::Uint64 | Kind::String => Value::U64(bits),
        Kind::Float32 => Value::F64(f32::from_bits(bits as u32).into()),
        Kind::Float64 => Value::F64(f64::from_bits(bits)),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "who asks for a scale asks for a floating-point number"
)]
fn scaled(value: Value, linear: Option<Linear>) -> Value {
    let Some(Linear { scale, shift }) = linear else {
        return value;
    };
    let number = match value {
        Value::I64(number) => number as f64,
        Value::U64(number) => number as f64,
        Value::F64(number) => number,
        other => return other,
    };
    Value::F64(number * scale + shift)
}

/// Two characters in each register, up to the first NUL.
fn text(registers: &[u16], order: Order) -> String {
    let register = |register: &u16| {
        if order.swaps_bytes() {
            register.to_le_bytes()
        } else {
            register.to_be_bytes()
        }
    };
    let bytes: Vec<u8> = registers.iter().flat_map(register).collect();
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registers(address: &str, registers: &[u16]) -> Value {
        let address = Address::parse(address).unwrap();
        assert_eq!(usize::from(address.len()), registers.len(), "{address}");
        decode(&address, Words::Registers(registers))
    }

    #[test]
    fn one_value_of_each_type() {
        // 1.5 is 3FC00000 as a float and 3FF8000000000000 as a double.
        let table: [(&str, &[u16], Value); 12] = [
            ("holding.0.INT16", &[0xFFFE], Value::I64(-2)),
            ("holding.0.UINT16", &[0xFFFE], Value::U64(65_534)),
            ("holding.0.INT16:order=BADC", &[0x0100], Value::I64(1)),
            ("holding.0.INT32", &[0xFFFF, 0xFFFE], Value::I64(-2)),
            ("holding.0.UINT32:order=CDAB", &[2, 1], Value::U64(65_538)),
            (
                "holding.0.UINT32:order=BADC",
                &[0x0100, 0x0200],
                Value::U64(65_538),
            ),
            (
                "holding.0.UINT32:order=DCBA",
                &[0x0200, 0x0100],
                Value::U64(65_538),
            ),
            (
                "holding.0.UINT64:order=CDAB",
                &[4, 3, 2, 1],
                Value::U64(0x0001_0002_0003_0004),
            ),
            (
                "holding.0.INT64",
                &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF],
                Value::I64(-1),
            ),
            ("holding.0.FLOAT32", &[0x3FC0, 0], Value::F64(1.5)),
            ("holding.0.FLOAT64", &[0x3FF8, 0, 0, 0], Value::F64(1.5)),
            (
                "holding.0.INT16:scale=0.5:offset=-40",
                &[3],
                Value::F64(-38.5),
            ),
        ];
        for (address, words, value) in table {
            assert_eq!(registers(address, words), value, "{address}");
        }
        assert!(matches!(
            registers("holding.0.FLOAT32", &[0x7FC0, 0]),
            Value::F64(value) if value.is_nan()
        ));
    }

    #[test]
    fn arrays_and_texts() {
        let array = registers("holding.0.INT16:array=3:scale=0.5", &[1, 2, 0xFFFF]);
        assert_eq!(array, Value::Text("[0.5,1.0,-0.5]".into()));
        let text = registers("holding.0.STRING:array=3", &[0x4142, 0x4320, 0]);
        assert_eq!(text, Value::Text("ABC".into()));
        let swapped = registers("holding.0.STRING:array=2:order=BADC", &[0x4241, 0x4443]);
        assert_eq!(swapped, Value::Text("ABCD".into()));
        let coils = Address::parse("coil.0.BOOL:array=2").unwrap();
        let bits = Words::Bits(&[true, false]);
        assert_eq!(decode(&coils, bits), Value::Text("[true,false]".into()));
        let coil = Address::parse("coil.0.BOOL").unwrap();
        assert_eq!(decode(&coil, Words::Bits(&[true])), Value::Bool(true));
    }

    proptest! {
        /// Whatever order a device has, the value is the one that was put in.
        #[test]
        fn every_order_gives_the_same_number(value: u64) {
            let abcd: Vec<u16> = (0..4).rev().map(|n| (value >> (16 * n) & 0xFFFF) as u16).collect();
            let swapped = |registers: &[u16]| -> Vec<u16> {
                registers.iter().map(|register| register.swap_bytes()).collect()
            };
            let reversed: Vec<u16> = abcd.iter().rev().copied().collect();
            for (order, words) in [
                ("ABCD", abcd.clone()),
                ("CDAB", reversed.clone()),
                ("BADC", swapped(&abcd)),
                ("DCBA", swapped(&reversed)),
            ] {
                let address = format!("holding.0.UINT64:order={order}");
                prop_assert_eq!(registers(&address, &words), Value::U64(value));
            }
        }
    }
}
