//! One line per measurement.

use std::time::Duration;

use comfy_table::{Table, presets};

#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Row {
    /// From how long each of the operations took that were done within `time`.
    pub fn of(what: impl Into<String>, mut samples: Vec<Duration>, time: Duration) -> Row {
        samples.sort_unstable();
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let per_second = samples.len() as f64 / time.as_secs_f64();
        Row {
            what: what.into(),
            per_second,
            p50: percentile(&samples, 0.5),
            p99: percentile(&samples, 0.99),
        }
    }
}

/// Rates are also given as a multiple of the first row's, because machines differ.
pub fn print(rows: &[Row]) {
    let first = rows.first().map_or(1.0, |row| row.per_second);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["", "acknowledged/s", "x first row", "p50 ms", "p99 ms"]);
    for row in rows {
        table.add_row([
            row.what.clone(),
            format!("{:.0}", row.per_second),
            format!("{:.2}", row.per_second / first),
            format!("{:.2}", row.p50.as_secs_f64() * 1e3),
            format!("{:.2}", row.p99.as_secs_f64() * 1e3),
        ]);
    }
    println!("{table}");
}

/// The value below which a share of the sorted samples lies.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index within the slice"
    )]
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
