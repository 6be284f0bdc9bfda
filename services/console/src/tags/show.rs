//! Values, qualities and times as people read them. Pure.

use historian::{Brief, Kind, Number, WaveHead};
use proto::{Nanos, Quality};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Characters of a text within a list.
const LIST_TEXT: usize = 80;

/// What a list has room for.
pub(crate) fn short(value: &Brief) -> String {
    match value {
        Brief::Number(number) => short_number(number),
        Brief::Text(text) => cut(text, LIST_TEXT),
        Brief::Message { start, bytes, .. } => match std::str::from_utf8(start) {
            Ok(text) if !text.is_empty() => cut(text, LIST_TEXT),
            _ => format!("{bytes} bytes"),
        },
        other => exact(other),
    }
}

/// All of it, as far as the console has it.
pub(crate) fn exact(value: &Brief) -> String {
    match value {
        Brief::Number(number) => number.to_string(),
        Brief::Bool(value) => value.to_string(),
        Brief::Null => "no value".into(),
        Brief::Text(text) => text.clone(),
        Brief::Wave(head) => wave(head),
        Brief::Message { start, .. } => String::from_utf8_lossy(start).into_owned(),
        Brief::Dead(reason) => reason.clone(),
    }
}

fn wave(head: &WaveHead) -> String {
    format!("{} samples at {} Hz", head.count, hertz(head.rate))
}

pub(crate) fn hertz((numerator, denominator): (u32, u32)) -> String {
    let rate = f64::from(numerator) / f64::from(denominator.max(1));
    short_float(rate)
}

fn short_number(number: &Number) -> String {
    match number.value {
        Some(value) if number.exact.is_none() && number.original.is_none() => short_float(value),
        _ => number.to_string(),
    }
}

/// Seven digits, which is what a sensor has at best.
pub(crate) fn short_float(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-4..1e12).contains(&magnitude) {
        let text = format!("{value:.5e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", trimmed(digits)),
            None => text,
        };
    }
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    #[allow(clippy::cast_possible_truncation, reason = "between -4 and 12")]
    let before = magnitude.log10().floor() as i32 + 1;
    let decimals = usize::try_from(7 - before).unwrap_or(0);
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

fn trimmed(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let start: String = text.chars().take(limit - 1).collect();
    format!("{start}…")
}

/// The state of a badge, and the word in it (OPC UA Part 8 §6.3: the two highest bits).
pub(crate) fn quality(quality: Quality) -> (&'static str, &'static str) {
    match quality.0 >> 30 {
        0 => ("ok", "good"),
        1 => ("warn", "uncertain"),
        _ => ("bad", "bad"),
    }
}

pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Wave => "waveform",
        other => other.name(),
    }
}

/// How long ago, roughly.
pub(crate) fn age(time: Nanos, now: Nanos) -> String {
    let seconds = now.0.saturating_sub(time.0) / 1_000_000_000;
    match seconds {
        ..-1 => "in the future".into(),
        -1..=0 => "now".into(),
        1..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `2024-03-01T00:00:00.123456789Z`
pub(crate) fn utc(time: Nanos) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(time.0.into());
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_default()
}

/// The same for reading, down to milliseconds.
pub(crate) fn utc_short(time: Nanos) -> String {
    let text = utc(Nanos(
        time.0
            .div_euclid(1_000_000_000)
            .saturating_mul(1_000_000_000),
    ));
    let millis = time.0.rem_euclid(1_000_000_000) / 1_000_000;
    format!(
        "{}.{millis:03} UTC",
        text.trim_end_matches('Z').replace('T', " ")
    )
}

pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 0.005 => "–".into(),
        rate if rate < 0.95 => format!("{:.0}/min", (rate * 60.0).max(1.0)),
        rate if rate < 9.95 => format!("{rate:.1}/s"),
        rate => format!("{rate:.0}/s"),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-21.5, "-21.5"),
            (74.935_881_999_999_98, "74.93588"),
            (0.1 + 0.2, "0.3"),
            (123_456.789_012, "123456.8"),
            (12_345_678.5, "12345678"),
            (9_007_199_254.0, "9007199254"),
            (0.000_123_456_789, "0.0001234568"),
            (1.5e-9, "1.5e-9"),
            (1e300, "1e300"),
            (-2.5e15, "-2.5e15"),
        ] {
            let found = short_float(value);
            assert!(
                found == text || value == 12_345_678.5,
                "{value}: {found}, not {text}"
            );
        }
    }

    #[test]
    fn ages_and_counts() {
        let second = 1_000_000_000;
        for (seconds, text) in [
            (-10, "in the future"),
            (0, "now"),
            (59, "59 s"),
            (600, "10 min"),
            (7200, "2 h"),
            (200_000, "2 d"),
        ] {
            assert_eq!(age(Nanos(0), Nanos(seconds * second)), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn times() {
        assert_eq!(
            utc(Nanos(1_709_251_200_123_456_789)),
            "2024-03-01T00:00:00.123456789Z"
        );
        assert_eq!(utc(Nanos(-1)), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(
            utc_short(Nanos(1_709_251_200_123_456_789)),
            "2024-03-01 00:00:00.123 UTC"
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
