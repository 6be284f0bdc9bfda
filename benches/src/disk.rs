//! The disk by itself.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::table::Row;

/// One block after the other at the end of a file, each with its fdatasync.
pub fn write_and_sync(directory: &Path, block_bytes: usize, time: Duration) -> anyhow::Result<Row> {
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
    let took = start.elapsed();
    std::fs::remove_file(path)?;
    let what = format!("disk: write {} KiB + fdatasync", block_bytes >> 10);
    Ok(Row::of(what, samples, took))
}
