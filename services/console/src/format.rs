//! Numbers, times and sizes as people read them.

use std::time::Duration;

/// With a narrow no-break space between the thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `2 000 records`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{}\u{a0}{one}{plural}", count(number))
}

/// Of records per second.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is shown as a whole number, and one out of range at the limit"
)]
pub(crate) fn rate(per_second: f64) -> String {
    let number = match per_second {
        r if r < 0.05 => "0".to_owned(),
        r if r < 9.95 => format!("{r:.1}"),
        r => count(r.round() as u64),
    };
    format!("{number}/s")
}

/// The two largest units at most: `3 s`, `4 min 5 s`, `2 d 3 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = [
        (days, "d"),
        (hours, "h"),
        (minutes, "min"),
        (seconds % 60, "s"),
    ];
    let mut shown = parts.iter().skip_while(|(number, _)| *number == 0);
    let text = |(number, unit): &(u64, &str)| format!("{number}\u{a0}{unit}");
    match (shown.next(), shown.next()) {
        (None, _) => "0\u{a0}s".to_owned(),
        (Some(first), Some(second)) if second.0 > 0 => format!("{} {}", text(first), text(second)),
        (Some(first), _) => text(first),
    }
}

#[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && number < 99.95);
    format!("{number:.digits$}\u{a0}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[test]
    fn numbers() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(plain(&count(number)), text);
        }
        assert_eq!(plain(&counted(1, "record")), "1 record");
        assert_eq!(plain(&counted(2000, "record")), "2 000 records");
        for (per_second, text) in [
            (0.0, "0/s"),
            (0.04, "0/s"),
            (0.3, "0.3/s"),
            (9.94, "9.9/s"),
            (9.96, "10/s"),
            (1234.5, "1 235/s"),
        ] {
            assert_eq!(plain(&rate(per_second)), text);
        }
    }

    #[test]
    fn times_and_sizes() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (245, "4 min 5 s"),
            (3600, "1 h"),
            (3605, "1 h"),
            (183_600, "2 d 3 h"),
        ] {
            assert_eq!(plain(&duration(Duration::from_secs(seconds))), text);
        }
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (64 << 20, "64.0 MiB"),
            (250 << 20, "250 MiB"),
            (1 << 50, "1024 TiB"),
        ] {
            assert_eq!(plain(&bytes(size)), text);
        }
    }
}
