//! Three nodes of ours beside three nodes of what else is used for this, on the same disk in one
//! run, with the same records and the same number under way.
//!
//! `benches/install-peers` installs them; what is not installed is left out.
//! `cargo bench -p updraft-benches --features peers --bench peers -- --seconds 5`
//!
//! | peer | durable when acknowledged |
//! |---|---|
//! | Updraft | on a majority: fdatasync |
//! | NATS JetStream R3, `sync_interval: always` | on a majority: fsync |
//! | NATS JetStream R3, as it comes | no: in the memory of a majority |
//! | etcd | on a majority: fdatasync |
//! | RabbitMQ quorum queue | on a majority: fsync |

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "peers/processes.rs"]
mod processes;
#[path = "peers/nats.rs"]
mod nats;
#[path = "peers/etcd.rs"]
mod etcd;
#[path = "peers/rabbitmq.rs"]
mod rabbitmq;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use futures::future::BoxFuture;
use updraft::pyramid::{HubSpec, Pyramid};
use updraft_benches::load::{Load, Producer, log_producers};
use updraft_benches::table::{self, Row};
use updraft_benches::{disk, start};

/// How long three nodes may take to find each other.
const START: Duration = Duration::from_secs(90);

#[derive(Debug, Parser)]
struct Args {
    /// Seconds per measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of payload per record
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
    /// Producers x records in flight
    #[arg(long, value_delimiter = ',', default_values = ["1x1", "16x1", "16x64"])]
    shapes: Vec<Shape>,
    /// Only peers whose name contains this; Updraft is always measured
    #[arg(long)]
    only: Option<String>,
    /// Where the nodes keep their data; the disk is measured there too
    #[arg(long)]
    directory: Option<std::path::PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    producers: usize,
    in_flight: usize,
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let wrong = || format!("{text:?} is not PRODUCERSxIN_FLIGHT, such as 16x64");
        let (producers, in_flight) = text.split_once('x').ok_or_else(wrong)?;
        Ok(Shape {
            producers: producers.parse().map_err(|_| wrong())?,
            in_flight: in_flight.parse().map_err(|_| wrong())?,
        })
    }
}

/// Something that acknowledges what is published to its three nodes.
trait Peer {
    fn name(&self) -> &str;
    fn producers(&self, count: usize) -> BoxFuture<'_, anyhow::Result<Vec<Box<dyn Producer>>>>;
}

fn main() -> ExitCode {
    start::main(async |args: Args| measure(&args).await)
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let directory = start::data_directory(args.directory.as_ref())?;
    let directory = directory.path();
    println!(
        "{} s each, records of {} bytes, three nodes each, {} processors, data in {}",
        args.seconds,
        args.record_bytes,
        std::thread::available_parallelism()?,
        directory.display(),
    );
    let time = Duration::from_secs(args.seconds);
    let mut rows = vec![
        disk::write_and_sync(directory, 4 << 10, time)?,
        disk::write_and_sync(directory, 64 << 10, time)?,
    ];
    rows.extend(of_updraft(args, directory).await?);
    for variant in [nats::Sync::Always, nats::Sync::Default] {
        let started = nats::Nats::start(directory, variant);
        rows.extend(of_peer(args, variant.name(), "nats-server", started).await?);
    }
    let started = etcd::Etcd::start(directory);
    rows.extend(of_peer(args, "etcd", "etcd", started).await?);
    let started = rabbitmq::RabbitMq::start(directory);
    rows.extend(of_peer(args, "RabbitMQ quorum queue", rabbitmq::SERVER, started).await?);
    rows.extend(of_updraft(args, &directory.join("again")).await?);
    table::print(&rows);
    Ok(())
}

/// First and last, so that a disk that got slower meanwhile is seen.
async fn of_updraft(args: &Args, directory: &Path) -> anyhow::Result<Vec<Row>> {
    let executable = std::env::current_exe().context("find this executable")?;
    let mut pyramid = Pyramid::new(executable, directory.join("updraft"));
    let mut spec = HubSpec::new("bench");
    spec.nodes = 3;
    pyramid.add(spec)?;
    pyramid.start(START).await?;
    let client = pyramid.hub("bench")?.client().clone();
    let mut rows = Vec::new();
    for shape in &args.shapes {
        let producers = log_producers(&client, shape.producers);
        rows.push(run(args, "Updraft", *shape, producers).await?);
    }
    pyramid.stop(Duration::from_secs(10)).await?;
    Ok(rows)
}

async fn of_peer(
    args: &Args,
    name: &str,
    program: &str,
    start: impl Future<Output = anyhow::Result<impl Peer>>,
) -> anyhow::Result<Vec<Row>> {
    if args
        .only
        .as_ref()
        .is_some_and(|only| !name.contains(only.as_str()))
    {
        return Ok(Vec::new());
    }
    if processes::find(program).is_none() {
        println!("{name}: left out, {program} is not installed (benches/install-peers)");
        return Ok(Vec::new());
    }
    let peer = start.await.with_context(|| format!("start {name}"))?;
    let mut rows = Vec::new();
    for shape in &args.shapes {
        let producers = peer.producers(shape.producers).await?;
        rows.push(run(args, peer.name(), *shape, producers).await?);
    }
    Ok(rows)
}

async fn run(
    args: &Args,
    name: &str,
    shape: Shape,
    producers: Vec<Box<dyn Producer>>,
) -> anyhow::Result<Row> {
    let load = Load {
        in_flight: shape.in_flight,
        record_bytes: args.record_bytes,
        time: Duration::from_secs(args.seconds),
    };
    let what = format!("{name}, {} x {}", shape.producers, shape.in_flight);
    load.run(what, producers).await
}
