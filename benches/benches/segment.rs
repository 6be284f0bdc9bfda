//! The log files by themselves, beside the disk they lie on, in one run: what pre-written segments
//! are worth, and how much of the disk's rate the writer reaches.
//!
//! `cargo bench -p updraft-benches --bench segment -- --seconds 3`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use raft_log::segment::{Frame, Options, Segments};

#[derive(Debug, Parser)]
struct Args {
    /// Seconds per measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Where to write
    #[arg(long, default_value = ".")]
    directory: std::path::PathBuf,
    #[arg(long, hide = true)]
    bench: bool,
}

const FILE_BYTES: u64 = 64 << 20;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let directory = tempfile::tempdir_in(&args.directory).context("make a directory")?;
    let time = Duration::from_secs(args.seconds);
    println!("write + fdatasync per second    growing   pre-written   ratio");
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        let growing = raw(directory.path(), bytes, time, false)?;
        let written = raw(directory.path(), bytes, time, true)?;
        let kibibytes = bytes >> 10;
        println!(
            "{kibibytes:>7} KiB                {growing:>10.0} {written:>13.0} {:>7.2}",
            written / growing
        );
    }
    println!("\nsegment files, frames of 64 KiB  per second   of the disk, growing, pre-written");
    let frame_bytes = 64 << 10;
    for in_flight in [1, 16] {
        let bytes = in_flight * frame_bytes;
        let frames = segments(directory.path(), frame_bytes, in_flight, time)?;
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let writes = frames / in_flight as f64;
        let growing = raw(directory.path(), bytes, time, false)?;
        let written = raw(directory.path(), bytes, time, true)?;
        println!(
            "{:>7} KiB in flight      {frames:>16.0} {:>21.2} {:>12.2}",
            bytes >> 10,
            writes / growing,
            writes / written
        );
    }
    Ok(())
}

/// Blocks one after the other, each with its fdatasync, into files of a segment's size.
fn raw(directory: &Path, bytes: usize, time: Duration, written: bool) -> anyhow::Result<f64> {
    let path = directory.join("raw");
    let block = vec![7; bytes];
    let (mut count, mut spent) = (0.0, Duration::ZERO);
    while spent < time {
        let file = File::create(&path)?;
        if written {
            let zeros = vec![0; 1 << 20];
            for at in (0..FILE_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
        }
        file.sync_all()?;
        let began = Instant::now();
        let mut at = 0;
        while at + bytes as u64 <= FILE_BYTES && spent + began.elapsed() < time {
            file.write_all_at(&block, at)?;
            file.sync_data()?;
            at += bytes as u64;
            count += 1.0;
        }
        spent += began.elapsed();
    }
    std::fs::remove_file(path)?;
    Ok(count / spent.as_secs_f64())
}

/// Frames per second with so many in flight; what is behind is purged, so files are used again.
fn segments(
    directory: &Path,
    bytes: usize,
    in_flight: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let directory = directory.join(format!("log-{in_flight}"));
    let (log, _) = Segments::open(Options::new(directory, 1, 2))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let body = Bytes::from(vec![7; bytes]);
    let (sender, answers) = channel();
    let (mut index, mut answered) = (0, 0_u64);
    let began = Instant::now();
    while began.elapsed() < time {
        while index < answered + in_flight as u64 {
            let frame = Frame {
                index,
                term: 1,
                leader: 1,
                kind: 0,
                body: body.clone(),
            };
            let sender = sender.clone();
            let done = move |result| drop(sender.send(result));
            runtime.block_on(log.append(vec![frame], done))?;
            index += 1;
        }
        answers.recv()??;
        answered += 1 + drain(&answers)?;
        purge_behind(&log)?;
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let rate = answered as f64 / began.elapsed().as_secs_f64();
    log.close();
    Ok(rate)
}

type Answers = std::sync::mpsc::Receiver<Result<(), raft_log::segment::Error>>;

fn drain(answers: &Answers) -> anyhow::Result<u64> {
    let mut count = 0;
    while let Ok(answer) = answers.try_recv() {
        answer?;
        count += 1;
    }
    Ok(count)
}

/// Keeps three segments.
fn purge_behind(log: &Segments) -> anyhow::Result<()> {
    if log.size().0 <= 3 {
        return Ok(());
    }
    let first = log.bounds().first;
    let Some(end) = log.segment_end(first) else {
        return Ok(());
    };
    let frames = log.read(end..end + 1, 0)?;
    if let Some(frame) = frames.first() {
        log.purge(frame.position(), |_| ())?;
    }
    Ok(())
}
