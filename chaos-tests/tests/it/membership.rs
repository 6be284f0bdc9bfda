//! Three real nodes under load: each way to lose a leader, and a node that lost its disk. Every
//! acknowledged append is read once, in order, on every node (I1, I3, I4). How long the hub stood
//! still is printed.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_tests::process::Frozen;
use chaos_tests::{stored, wait};
use proto::{Nanos, Record, Value};
use raft_log::client::{LogClient, Producer, ProducerOptions};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use updraft::pyramid::{HubSpec, NodeProcess, Pyramid};

use crate::rig::{LIMIT, NODE};

const HUB: &str = "acme";
/// The election timeout of a hub whose file says nothing of it.
const DEFAULT: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(2);
/// Acknowledgements go on when so many have come since.
const SOME: u64 = 50;

/// Appends numbers one after the other, and keeps the time between acknowledgements.
struct Load {
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
    appending: JoinHandle<Result<()>>,
    listening: JoinHandle<Result<()>>,
}

struct Told {
    acknowledged: u64,
    last: Instant,
    longest: Duration,
}

impl Load {
    fn start(client: &LogClient) -> Load {
        let producer = client.producer(ProducerOptions {
            name: "load".into(),
            ..Default::default()
        });
        let told = Arc::new(Mutex::new(Told {
            acknowledged: 0,
            last: Instant::now(),
            longest: Duration::ZERO,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let (under_way, pending) = mpsc::channel(1024);
        let appending = tokio::spawn(append(producer, under_way, stop.clone()));
        let listening = tokio::spawn(listen(pending, told.clone()));
        Load {
            told,
            stop,
            appending,
            listening,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.told.lock().unwrap().acknowledged
    }

    /// What happens from now on is measured.
    fn mark(&self) {
        self.told.lock().unwrap().longest = Duration::ZERO;
    }

    /// The longest time without an acknowledgement since the mark, once they come again.
    async fn pause_of(&self, what: &str) -> Result<()> {
        let before = self.acknowledged();
        wait::until("acknowledgements go on", LIMIT, async || {
            let now = self.acknowledged();
            (now >= before + SOME).then_some(()).ok_or(now.to_string())
        })
        .await?;
        let longest = self.told.lock().unwrap().longest;
        eprintln!("{what}: the longest time without an acknowledgement is {longest:?}");
        Ok(())
    }

    async fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.appending.await??;
        self.listening.await??;
        let told = self.told.lock().unwrap();
        Ok(told.acknowledged)
    }
}

type Acknowledgement = raft_log::client::Pending;

async fn append(
    producer: Producer,
    under_way: mpsc::Sender<Acknowledgement>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let mut number = 0_u64;
    let mut pace = tokio::time::interval(PACE);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let record = Record::message("a/b", number.to_string(), Nanos::now());
        under_way.send(producer.append(record, None).await?).await?;
        number += 1;
    }
    Ok(())
}

async fn listen(
    mut pending: mpsc::Receiver<Acknowledgement>,
    told: Arc<Mutex<Told>>,
) -> Result<()> {
    while let Some(acknowledgement) = pending.recv().await {
        let offset = acknowledgement.await?;
        let mut told = told.lock().unwrap();
        ensure!(offset.0 == told.acknowledged, "{offset:?} is out of order");
        let now = Instant::now();
        told.longest = told.longest.max(now - told.last);
        told.last = now;
        told.acknowledged += 1;
    }
    Ok(())
}

struct Plant {
    pyramid: Pyramid,
    load: Load,
}

impl Plant {
    async fn start(directory: &std::path::Path, election_timeout: Duration) -> Result<Plant> {
        let mut pyramid = Pyramid::new(NODE, directory);
        pyramid.add(HubSpec {
            nodes: 3,
            heartbeat: Duration::from_millis(250),
            election_timeout,
            ..HubSpec::new(HUB)
        })?;
        pyramid.start(LIMIT).await?;
        let load = Load::start(pyramid.hub(HUB)?.client());
        let plant = Plant { pyramid, load };
        plant.load.pause_of("at the start").await?;
        Ok(plant)
    }

    fn node(&mut self, index: usize) -> Result<&mut NodeProcess> {
        self.pyramid.hub_mut(HUB)?.node_mut(index)
    }

    async fn leader(&self) -> Result<usize> {
        Ok(self.pyramid.hub(HUB)?.wait_leader(LIMIT).await?.index)
    }

    async fn term(&self) -> Result<u64> {
        let leader = self.pyramid.hub(HUB)?.wait_leader(LIMIT).await?;
        Ok(leader.status.term)
    }

    /// All three vote, and have what the leader has.
    async fn whole(&self) -> Result<()> {
        let client = self.pyramid.hub(HUB)?.client();
        wait::until("all three nodes have everything", LIMIT, async || {
            let hub = client.members().await.map_err(|error| error.to_string())?;
            let whole = hub.members.iter().all(|member| {
                let held = member.matched_index.unwrap_or_default();
                member.voter && held + 20 > hub.last_index
            });
            let done = hub.leads && hub.members.len() == 3 && whole;
            done.then_some(()).ok_or(format!("{:?}", hub.members))
        })
        .await
    }

    /// The command that a person gives.
    async fn command(&mut self, args: &[&str]) -> Result<String> {
        let file = self.node(0)?.config();
        let output = Command::new(NODE)
            .args(args)
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .output()
            .await
            .context("run updraft")?;
        let said = String::from_utf8(output.stdout)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?}: {said}{errors}");
        Ok(said)
    }

    async fn verify(self) -> Result<()> {
        self.whole().await?;
        let Plant { mut pyramid, load } = self;
        let acknowledged = load.end().await?;
        for node in pyramid.hub(HUB)?.nodes() {
            wait::until("a node has applied everything", LIMIT, async || {
                let offset = node.status().await.map_or(0, |status| status.next_offset);
                (offset >= acknowledged)
                    .then_some(())
                    .ok_or(format!("{offset} of {acknowledged}"))
            })
            .await?;
            let records = stored::in_log(node.client()).await?;
            let numbers = records.iter().map(|record| match &record.value {
                Value::Payload(payload) => String::from_utf8_lossy(payload).parse::<u64>().ok(),
                _ => None,
            });
            let all = numbers.eq((0..acknowledged).map(Some));
            ensure!(
                all,
                "{}: {} records of {acknowledged}",
                node.name(),
                records.len()
            );
        }
        pyramid.check_alive()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_goes_on_however_its_leader_goes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut plant = Plant::start(directory.path(), DEFAULT).await?;
    for round in 1..=3 {
        let leader = plant.leader().await?;
        plant.load.mark();
        plant.node(leader)?.kill()?;
        plant
            .load
            .pause_of(&format!("SIGKILL of the leader, {round}"))
            .await?;
        plant.node(leader)?.start()?;
        plant.whole().await?;
    }
    for round in 1..=3 {
        let leader = plant.leader().await?;
        plant.load.mark();
        plant.node(leader)?.stop(LIMIT).await?;
        plant
            .load
            .pause_of(&format!("SIGTERM of the leader, {round}"))
            .await?;
        plant.node(leader)?.start()?;
        plant.whole().await?;
    }
    let leader = plant.leader().await?;
    plant.load.mark();
    let process = plant.node(leader)?.process_id();
    let frozen = Frozen::new(process.context("the leader runs")?)?;
    plant.load.pause_of("the leader stands still").await?;
    drop(frozen);
    plant.whole().await?;
    plant.verify().await
}

/// The one that comes back asks first (pre-vote), and those who hear their leader say no.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_cut_off_does_not_disturb_the_leader() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut plant = Plant::start(directory.path(), DEFAULT).await?;
    let leader = plant.leader().await?;
    let term = plant.term().await?;
    let follower = (leader + 1) % 3;
    let process = plant.node(follower)?.process_id();
    let frozen = Frozen::new(process.context("the follower runs")?)?;
    let client = plant.pyramid.hub(HUB)?.client().clone();
    let id = u64::try_from(follower)? + 1;
    wait::until("the follower is silent for long", LIMIT, async || {
        let hub = client.members().await.map_err(|error| error.to_string())?;
        let member = hub.members.iter().find(|member| member.node_id == id);
        let silent = member.and_then(|member| member.silent_ms);
        let long = silent.is_none_or(|ms| ms > 5000);
        long.then_some(()).ok_or(format!("{silent:?}"))
    })
    .await?;
    drop(frozen);
    plant.whole().await?;
    ensure!(plant.term().await? == term, "there was an election");
    plant.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_comes_back_with_one_command() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut plant = Plant::start(directory.path(), DEFAULT).await?;
    let lost = plant.leader().await?;
    let id = (lost + 1).to_string();
    let node = plant.node(lost)?;
    node.kill()?;
    std::fs::remove_dir_all(node.directory().join("data"))?;
    node.start()?;
    let said = plant
        .command(&["cluster", "replace", &id, "--json"])
        .await?;
    let steps: Vec<String> = said
        .lines()
        .map(|line| {
            let step: serde_json::Value = serde_json::from_str(line).unwrap();
            step["step"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let place = |step: &str| steps.iter().position(|taken| taken == step);
    ensure!(
        place("removed").is_some() && place("removed") < place("promoting"),
        "{steps:?}"
    );
    ensure!(steps.last().is_some_and(|step| step == "done"), "{steps:?}");
    plant.whole().await?;
    // With it the hub bears the loss of each of its nodes.
    for index in 0..3 {
        plant.load.mark();
        plant.node(index)?.kill()?;
        plant
            .load
            .pause_of(&format!("SIGKILL of node {}", index + 1))
            .await?;
        plant.node(index)?.start()?;
        plant.whole().await?;
    }
    eprintln!("{}", plant.command(&["cluster", "status"]).await?);
    plant.verify().await
}

/// With an election timeout of an hour: what they do not see at once, they never see.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_leaders_process_is_seen_at_once() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut plant = Plant::start(directory.path(), Duration::from_secs(3600)).await?;
    for round in 1..=3 {
        let leader = plant.leader().await?;
        plant.load.mark();
        plant.node(leader)?.kill()?;
        plant
            .load
            .pause_of(&format!("SIGKILL without a timeout, {round}"))
            .await?;
        plant.node(leader)?.start()?;
        plant.whole().await?;
    }
    plant.verify().await
}
