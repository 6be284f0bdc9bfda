//! The disk by itself.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Row, percentile};

/// One block after the other at the end of a file, each with its fdatasync.
pub(crate) fn write_and_sync(
    directory: &Path,
    block_bytes: usize,
    time: Duration,
) -> anyhow::Result<Row> {
    let path = directory.join("raw");
    let mut file = File::create(&path)?;
    let block = vec![7; block_bytes];
    let mut samples = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        samples.push(began.elapsed());
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    samples.sort_unstable();
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let per_second = samples.len() as f64 / seconds;
    Ok(Row {
        what: format!("disk: write {} KiB + fdatasync", block_bytes >> 10),
        per_second,
        p50: percentile(&samples, 0.5),
        p99: percentile(&samples, 0.99),
    })
}
