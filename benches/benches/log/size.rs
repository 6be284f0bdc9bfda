//! A small node's memory, and a long log against a short one.

use std::path::Path;
use std::time::Duration;

use proto::{Nanos, Record};
use raft_log::client::ProducerOptions;
use tokio::time::{MissedTickBehavior, interval};

use crate::node::LogNode;
use crate::{Args, appends};

/// Records a second of a small node.
const RATE: u32 = 10_000;
const TICKS_PER_SECOND: u32 = 100;

/// Memory of a node that is a log alone, on its own, under a steady load.
pub(crate) async fn footprint(args: &Args, directory: &Path) -> anyhow::Result<()> {
    let mut node = LogNode::create(directory, "  memory: 8 MiB\n  segment_bytes: 16 MiB\n")?;
    node.start().await?;
    let producer = node.client().producer(ProducerOptions::default());
    let mut ticks = interval(Duration::from_secs(1) / TICKS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut pending = Vec::new();
    let seconds = u32::try_from(4 * args.seconds)?;
    for _ in 0..seconds * TICKS_PER_SECOND {
        ticks.tick().await;
        for number in 0..RATE / TICKS_PER_SECOND {
            let topic = format!("umh/v1/bench/_raw/tag-{number}");
            let record = Record::message(topic, vec![b'x'; args.record_bytes], Nanos::now());
            pending.push(producer.append(record, None).await?);
        }
        for pending in pending.drain(..) {
            pending.await?;
        }
    }
    let (now, peak) = node.memory()?;
    println!("footprint: {now} MiB resident, {peak} MiB at most, {RATE} records/s for {seconds} s");
    Ok(())
}

/// Appends up to a long log; rate, memory and start at 200 MB and at its end.
pub(crate) async fn flat(args: &Args, directory: &Path) -> anyhow::Result<()> {
    let mut node = LogNode::create(directory, "")?;
    node.start().await?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a length given by hand"
    )]
    let long = (args.gigabytes * 1e9) as u64;
    for length in [200_000_000, long] {
        while node.disk_bytes()? < length {
            appends(args, node.client()).await?;
        }
        let row = appends(args, node.client()).await?;
        let (now, peak) = node.memory()?;
        let bytes = node.disk_bytes()?;
        node.kill()?;
        let start = node.start().await?;
        println!(
            "flat: {:.1} GB of log: {:.0} records/s, {now} MiB resident, {peak} MiB at most, \
             started in {start:.1?}",
            bytes as f64 / 1e9,
            row.per_second
        );
    }
    Ok(())
}
