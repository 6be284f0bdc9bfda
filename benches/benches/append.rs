//! Appending through the client, to hubs of one and of three nodes (processes of their own), beside
//! what the disk does by itself: write and fdatasync of an appended block, in the same run.
//!
//! `cargo bench -p updraft-benches --bench append -- --seconds 5`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use updraft::pyramid::{HubSpec, Pyramid};
use updraft_benches::load::{Load, log_producers};
use updraft_benches::table::Row;
use updraft_benches::{disk, start, table};

#[derive(Debug, Parser)]
struct Args {
    /// Seconds per measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of payload per record
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
    /// Producers of the parallel measurement
    #[arg(long, default_value_t = 16)]
    producers: usize,
    /// Records that each of them has under way
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Where the hubs keep their data; the disk is measured there too
    #[arg(long)]
    directory: Option<std::path::PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    start::main(async |args: Args| measure(&args).await)
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let directory = start::data_directory(args.directory.as_ref())?;
    println!(
        "{} s each, records of {} bytes, {} producers x {} in flight, {} processors, data in {}",
        args.seconds,
        args.record_bytes,
        args.producers,
        args.in_flight,
        std::thread::available_parallelism()?,
        directory.path().display(),
    );
    let time = Duration::from_secs(args.seconds);
    let mut rows = vec![
        disk::write_and_sync(directory.path(), 4 << 10, time)?,
        disk::write_and_sync(directory.path(), 64 << 10, time)?,
    ];
    for nodes in [1, 3] {
        rows.extend(hub(args, nodes, directory.path(), time).await?);
    }
    table::print(&rows);
    Ok(())
}

async fn hub(
    args: &Args,
    nodes: usize,
    directory: &Path,
    time: Duration,
) -> anyhow::Result<Vec<Row>> {
    let executable = std::env::current_exe().context("find this executable")?;
    let mut pyramid = Pyramid::new(executable, directory.join(format!("{nodes}-nodes")));
    let mut spec = HubSpec::new("bench");
    spec.nodes = nodes;
    pyramid.add(spec)?;
    pyramid.start(Duration::from_secs(30)).await?;
    let client = pyramid.hub("bench")?.client().clone();
    let mut rows = Vec::new();
    for (producers, in_flight) in [
        (1, 1),
        (1, args.in_flight),
        (args.producers, args.in_flight),
    ] {
        let load = Load {
            in_flight,
            record_bytes: args.record_bytes,
            time,
        };
        let what = format!("{nodes} node(s), {producers} x {in_flight}");
        rows.push(load.run(what, log_producers(&client, producers)).await?);
    }
    pyramid.stop(Duration::from_secs(10)).await?;
    Ok(rows)
}
