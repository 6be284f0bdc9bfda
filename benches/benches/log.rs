//! What the log promises beside its append rate: reading, fail-over, and that neither length nor
//! readers make it slow or large. All of it on one disk in one run.
//!
//! `cargo bench -p updraft-benches --bench log -- reading tailers failover footprint`
//! `cargo bench -p updraft-benches --bench log -- flat --gigabytes 20`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "log/node.rs"]
mod node;
#[path = "log/reading.rs"]
mod reading;
#[path = "log/failover.rs"]
mod failover;
#[path = "log/size.rs"]
mod size;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use raft_log::client::LogClient;
use updraft_benches::load::{Load, log_producers};
use updraft_benches::start;
use updraft_benches::table::Row;

const START: Duration = Duration::from_secs(60);
/// As in the comparison with other logs.
const PRODUCERS: usize = 16;
const IN_FLIGHT: usize = 64;

#[derive(Debug, Parser)]
struct Args {
    /// What to measure
    #[arg(value_enum, default_values = ["reading", "tailers", "failover", "footprint"])]
    what: Vec<What>,
    /// Seconds per measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often what is compared is measured in turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of payload per record
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
    /// Live readers of `tailers`
    #[arg(long, default_value_t = 50)]
    tailers: usize,
    /// Length of the log that `flat` goes up to
    #[arg(long, default_value_t = 2.0)]
    gigabytes: f64,
    /// Where the hubs keep their data
    #[arg(long)]
    directory: Option<std::path::PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// A reader that was away, against the append rate
    Reading,
    /// Live readers, and what they cost the append rate
    Tailers,
    /// From the leader's death to the next acknowledgement
    Failover,
    /// Memory of one small node at 10,000 records a second
    Footprint,
    /// Append rate, memory and start of a long log against a short one
    Flat,
}

fn main() -> ExitCode {
    start::main(async |args: Args| measure(&args).await)
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let directory = start::data_directory(args.directory.as_ref())?;
    let directory = directory.path();
    println!(
        "{} s each, records of {} bytes, {PRODUCERS} producers x {IN_FLIGHT} in flight, \
         {} processors, data in {}",
        args.seconds,
        args.record_bytes,
        std::thread::available_parallelism()?,
        directory.display(),
    );
    for (number, what) in args.what.iter().enumerate() {
        let directory = directory.join(number.to_string());
        match what {
            What::Reading => reading::cold(args, &directory).await?,
            What::Tailers => reading::tailers(args, &directory).await?,
            What::Failover => failover::measure(args, &directory).await?,
            What::Footprint => size::footprint(args, &directory).await?,
            What::Flat => size::flat(args, &directory).await?,
        }
        std::fs::remove_dir_all(&directory).context("remove the data")?;
    }
    Ok(())
}

/// The append rate now.
async fn appends(args: &Args, client: &LogClient) -> anyhow::Result<Row> {
    let load = Load {
        in_flight: IN_FLIGHT,
        record_bytes: args.record_bytes,
        time: Duration::from_secs(args.seconds),
    };
    load.run("", log_producers(client, PRODUCERS)).await
}

fn executable() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("find this executable")
}

fn hub(directory: &Path, nodes: usize) -> anyhow::Result<updraft::pyramid::Pyramid> {
    let mut pyramid = updraft::pyramid::Pyramid::new(executable()?, directory.to_owned());
    let mut spec = updraft::pyramid::HubSpec::new("bench");
    spec.nodes = nodes;
    pyramid.add(spec)?;
    Ok(pyramid)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
