//! How a number is stored so that the very same one comes back.

use std::fmt;

use proto::Value;

/// A number as the columns `value`, `value_int` and `original` hold it.
///
/// ```text
/// number                value         value_int   original
/// 1.5                   1.5           -           -
/// 7                     7.0           -           -
/// 2^53 + 1              nearest       exact       -
/// 2^64 - 1              nearest       -           "18446744073709551615"
/// -0.0                  -0.0          -           "-0"
/// NaN, ±infinity        -             -           "NaN", "NaN:<bits>", "Infinity", "-Infinity"
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    pub value: Option<f64>,
    pub exact: Option<i64>,
    pub original: Option<String>,
}

impl Number {
    /// `None` when it is no number.
    pub fn of(value: &Value) -> Option<Number> {
        match *value {
            Value::I64(number) => Some(Number::of_i64(number)),
            Value::U64(number) => Some(Number::of_u64(number)),
            Value::F64(number) => Some(Number::of_f64(number)),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Payload(_) => None,
        }
    }

    fn of_i64(number: i64) -> Number {
        let exact = (!fits_a_float(number)).then_some(number);
        Number {
            value: Some(number as f64),
            exact,
            original: None,
        }
    }

    fn of_u64(number: u64) -> Number {
        match i64::try_from(number) {
            Ok(number) => Number::of_i64(number),
            Err(_) => Number {
                value: Some(number as f64),
                exact: None,
                original: Some(number.to_string()),
            },
        }
    }

    fn of_f64(number: f64) -> Number {
        let original = if number.is_nan() {
            Some(match number.to_bits() {
                CANONICAL_NAN => "NaN".to_owned(),
                bits => format!("NaN:{bits:016x}"),
            })
        } else if number.is_infinite() {
            Some(
                if number > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                }
                .to_owned(),
            )
        } else if number.to_bits() == (-0.0_f64).to_bits() {
            // SQLite drops the sign of a zero.
            Some("-0".to_owned())
        } else {
            None
        };
        Number {
            value: number.is_finite().then_some(number),
            exact: None,
            original,
        }
    }

    /// The number as it was, integers that a float holds exactly as [`Value::F64`]; `None` when
    /// the columns hold what this program never writes.
    pub fn read(&self) -> Option<Value> {
        match (&self.original, self.exact, self.value) {
            (Some(text), _, _) => read_original(text),
            (None, Some(exact), _) => Some(Value::I64(exact)),
            (None, None, Some(value)) => Some(Value::F64(value)),
            (None, None, None) => None,
        }
    }
}

/// Whether all its binary digits, but for zeros at the end, fit into the 53 of an f64.
fn fits_a_float(number: i64) -> bool {
    let magnitude = number.unsigned_abs();
    let used = u64::BITS - magnitude.leading_zeros();
    used.saturating_sub(magnitude.trailing_zeros()) <= f64::MANTISSA_DIGITS
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number {
                original: Some(text),
                ..
            } => f.write_str(text),
            Number {
                exact: Some(exact), ..
            } => exact.fmt(f),
            Number {
                value: Some(value), ..
            } => value.fmt(f),
            _ => f.write_str("null"),
        }
    }
}

const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

fn read_original(text: &str) -> Option<Value> {
    Some(match text {
        "NaN" => Value::F64(f64::from_bits(CANONICAL_NAN)),
        "Infinity" => Value::F64(f64::INFINITY),
        "-Infinity" => Value::F64(f64::NEG_INFINITY),
        "-0" => Value::F64(-0.0),
        text => match text.strip_prefix("NaN:") {
            Some(bits) => Value::F64(f64::from_bits(u64::from_str_radix(bits, 16).ok()?)),
            None => Value::U64(text.parse().ok()?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_comes_back() {
        let odd_nan = f64::from_bits(0xfff0_0000_0000_0001);
        let floats = [
            0.0,
            -0.0,
            1.5,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::NAN,
            odd_nan,
        ];
        for float in floats.into_iter().chain([f64::INFINITY, f64::NEG_INFINITY]) {
            let number = Number::of(&Value::F64(float)).unwrap();
            assert!(number.value.is_none_or(f64::is_finite));
            match number.read() {
                Some(Value::F64(read)) => assert_eq!(read.to_bits(), float.to_bits()),
                other => panic!("{float}: {other:?}"),
            }
        }
        let two_53 = 1_i64 << 53;
        for (integer, exact) in [
            (0, false),
            (-7, false),
            (two_53, false),
            (two_53 + 1, true),
            (-two_53 - 1, true),
            (i64::MIN, false),
            (i64::MAX, true),
        ] {
            let number = Number::of(&Value::I64(integer)).unwrap();
            assert_eq!(number.exact.is_some(), exact, "{integer}");
            let read = match number.read() {
                Some(Value::I64(read)) => read.to_string(),
                Some(Value::F64(read)) => format!("{read:.0}"),
                other => panic!("{integer}: {other:?}"),
            };
            assert_eq!(read, integer.to_string());
        }
        for (integer, value) in [(7, Value::F64(7.0)), (u64::MAX, Value::U64(u64::MAX))] {
            assert_eq!(
                Number::of(&Value::U64(integer)).unwrap().read(),
                Some(value)
            );
        }
    }
}
