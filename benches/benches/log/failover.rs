//! How long nothing is acknowledged when the leader dies or falls silent.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use proto::{Nanos, Record};
use raft_log::client::{LogClient, ProducerOptions};
use tokio::task::JoinSet;

use crate::{Args, START, hub};

const PRODUCERS: usize = 4;
/// Before and after the fault.
const CALM: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL: its connections are reset.
    Death,
    /// SIGSTOP: they stay open and nothing comes.
    Silence,
}

pub(crate) async fn measure(args: &Args, directory: &Path) -> anyhow::Result<()> {
    let mut pyramid = hub(directory, 3)?;
    pyramid.start(START).await?;
    let spec = pyramid.hub("bench")?.spec().clone();
    println!(
        "failover: heartbeat {:?}, election timeout {:?} and up to twice that",
        spec.heartbeat, spec.election_timeout
    );
    for fault in [Fault::Death, Fault::Silence] {
        let mut gaps = Vec::new();
        for _ in 0..args.rounds {
            gaps.push(gap(&mut pyramid, fault).await?);
        }
        gaps.sort_unstable();
        println!("failover: {fault:?}, nothing acknowledged for {gaps:.0?}");
    }
    pyramid.stop(Duration::from_secs(10)).await
}

/// The longest time between two acknowledgements around a fault.
async fn gap(pyramid: &mut updraft::pyramid::Pyramid, fault: Fault) -> anyhow::Result<Duration> {
    let hub = pyramid.hub_mut("bench")?;
    hub.wait_ready(START).await?;
    let times = Arc::new(Mutex::new(Vec::new()));
    let mut producers = JoinSet::new();
    for number in 0..PRODUCERS {
        producers.spawn(produce(hub.client().clone(), number, times.clone()));
    }
    tokio::time::sleep(CALM).await;
    let leader = hub.wait_leader(START).await?.index;
    let node = hub.node_mut(leader)?;
    let began = Instant::now();
    match fault {
        Fault::Death => node.kill()?,
        Fault::Silence => signal(node.process_id(), "STOP")?,
    }
    tokio::time::sleep(SILENCE).await;
    match fault {
        Fault::Death => node.start()?,
        Fault::Silence => signal(node.process_id(), "CONT")?,
    }
    producers.shutdown().await;
    let times: Vec<Instant> =
        std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    let after = times
        .partition_point(|time| *time < began)
        .saturating_sub(1);
    let gaps = times[after..].windows(2).map(|pair| pair[1] - pair[0]);
    ensure!(
        times.last().is_some_and(|last| *last > began),
        "nothing was acknowledged any more"
    );
    gaps.max().context("nothing was acknowledged")
}

async fn produce(
    client: LogClient,
    number: usize,
    times: Arc<Mutex<Vec<Instant>>>,
) -> anyhow::Result<()> {
    let producer = client.producer(ProducerOptions::default());
    let topic = format!("umh/v1/bench/_raw/producer-{number}");
    loop {
        let record = Record::message(topic.as_str(), "x", Nanos::now());
        producer.append(record, None).await?.await?;
        times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Instant::now());
    }
}

fn signal(process: Option<u32>, name: &str) -> anyhow::Result<()> {
    let process = process.context("the leader does not run")?;
    let status = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status()?;
    ensure!(status.success(), "kill -{name} {process}");
    Ok(())
}
