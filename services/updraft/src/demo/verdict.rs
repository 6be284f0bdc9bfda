//! The final audit: what the machines know, against what every layer and historian holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use proto::payload::{self, Content};
use proto::rpc::{Delivery, StatusResponse};
use proto::{Batch, HubPath, Lane, Nanos, Origin, Record, Value};
use tokio::time::{Instant, sleep};

use super::ledger::{Account, Ledger};
use super::oracle::{Found, Oracle, Tally};
use super::plant::{ENTERPRISE, SITE};
use super::stored;
use crate::audit::compare::compare;
use crate::audit::layer::Layer;
use crate::audit::walk::Walk;
use crate::pyramid::{NodeObserver, Observer};

/// For a leader, and for a node to reach it.
const ASK_LIMIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// What was found in one place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) tally: Tally,
    pub(super) described: Vec<String>,
}

/// What the enterprise holds of the spindle, and what it took to bring it there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vibration {
    pub(super) samples: u64,
    pub(super) bytes_on_wire: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) acknowledged: u64,
    /// From the bottom to the top.
    pub(super) layers: Vec<Place>,
    pub(super) site_historian: Place,
    pub(super) historian: Place,
    pub(super) vibration: Vibration,
    /// What is wrong besides: broken chains, layers or nodes that differ, lost sessions.
    pub(super) further: Vec<String>,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.further.is_empty() && self.places().all(|place| place.tally.is_clean())
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.layers
            .iter()
            .chain([&self.site_historian, &self.historian])
    }
}

/// `hubs` from the bottom to the top; of their nodes, those in `absent` are not asked.
pub(super) async fn judge(
    hubs: &[Observer],
    ledger: &Arc<Ledger>,
    absent: &[String],
) -> anyhow::Result<Verdict> {
    let mut layers = Vec::new();
    let mut chains = Vec::new();
    let mut further = Vec::new();
    let mut vibration = Vibration::default();
    for hub in hubs {
        further.extend(differing_nodes(hub, absent).await);
        let read = read_log(hub, ledger)
            .await
            .with_context(|| format!("audit the log of {}", hub.path()))?;
        layers.push(read.place);
        chains.push(read.layer);
        // The last one is the enterprise.
        vibration = read.vibration;
    }
    further.extend(
        chains
            .iter()
            .flat_map(|layer| &layer.differences)
            .map(ToString::to_string),
    );
    let compared = compare(&chains)
        .into_iter()
        .filter_map(|comparison| comparison.difference);
    further.extend(compared.map(|difference| difference.to_string()));
    Ok(Verdict {
        acknowledged: ledger.acknowledged(),
        layers,
        site_historian: read_historian(hubs, SITE, ledger).await?,
        historian: read_historian(hubs, ENTERPRISE, ledger).await?,
        vibration,
        further,
    })
}

struct ReadLog {
    place: Place,
    layer: Layer,
    vibration: Vibration,
}

async fn read_log(hub: &Observer, ledger: &Ledger) -> anyhow::Result<ReadLog> {
    let path: HubPath = hub.path().parse()?;
    let mut oracle = Oracle::new(ledger, &path);
    let mut layer = Layer::new(path);
    let mut vibration = Vibration::default();
    let status = hub.client().status().await?;
    let mut walk = Walk::new(hub.client(), 0, status.next_offset);
    while let Some(deliveries) = walk.next().await? {
        for delivery in &deliveries {
            layer.take(delivery);
            take(delivery, &mut oracle, &mut vibration)?;
        }
    }
    layer.finish(&status.origins);
    let (tally, described) = oracle.finish();
    let place = Place {
        name: hub.path().to_owned(),
        tally,
        described,
    };
    Ok(ReadLog {
        place,
        layer,
        vibration,
    })
}

fn take(
    delivery: &Delivery,
    oracle: &mut Oracle<'_>,
    vibration: &mut Vibration,
) -> anyhow::Result<()> {
    let Some(envelope) = &delivery.envelope else {
        return Ok(());
    };
    let doing = || format!("decode the batch at offset {}", delivery.offset);
    let records = Batch::decode(&envelope.batch).with_context(doing)?;
    if envelope.lane == u32::from(Lane::Bulk.number()) {
        vibration.bytes_on_wire += envelope.batch.len() as u64;
    }
    for record in &records {
        let (time, samples) = says(record);
        vibration.samples += samples;
        match &record.value {
            Value::Payload(bytes) => oracle.take(&record.topic, time, &Found::Payload(bytes)),
            _ => oracle.take(
                &record.topic,
                time,
                &Found::Other("a value that is no payload"),
            ),
        }
    }
    Ok(())
}

/// The time that a payload carries, and how many samples of a wave.
fn says(record: &Record) -> (Nanos, u64) {
    match payload::read(record) {
        Content::Wave(block) => (block.start, block.count() as u64),
        Content::Samples(samples) => (samples.first().map_or(Nanos(0), |sample| sample.time), 0),
        Content::Message { .. } => (Nanos(0), 0),
    }
}

async fn read_historian(
    hubs: &[Observer],
    path: &str,
    ledger: &Arc<Ledger>,
) -> anyhow::Result<Place> {
    let file = hubs
        .iter()
        .find(|hub| hub.path() == path)
        .and_then(|hub| hub.historian().map(Path::to_owned))
        .with_context(|| format!("find the historian of {path}"))?;
    let (hub, ledger): (HubPath, _) = (path.parse()?, Arc::clone(ledger));
    let reading = tokio::task::spawn_blocking(move || {
        let mut oracle = Oracle::new(&ledger, &hub);
        stored::read(&file, &mut oracle)?;
        anyhow::Ok(oracle.finish())
    });
    let (tally, described) = reading
        .await?
        .with_context(|| format!("audit the historian of {path}"))?;
    Ok(Place {
        name: format!("{path} SQLite"),
        tally,
        described,
    })
}

/// Every node of a hub must say the same of every origin, the ones that were killed too.
async fn differing_nodes(hub: &Observer, absent: &[String]) -> Vec<String> {
    let mut differing = Vec::new();
    let Ok(leader) = hub.wait_leader(ASK_LIMIT).await else {
        return vec![format!("{} has no leader", hub.path())];
    };
    let present = |node: &&NodeObserver| !absent.iter().any(|name| name == node.name());
    for node in hub.nodes().iter().filter(present) {
        let reached = reached(node, leader.status.next_offset).await;
        match reached {
            Some(status) if origins(&status.origins) == origins(&leader.status.origins) => {}
            Some(_) => differing.push(format!(
                "{} holds something else than its leader",
                node.name()
            )),
            None => differing.push(format!("{} is behind its leader", node.name())),
        }
    }
    differing
}

/// What a node says once it has applied all below an offset; `None` when it does not get there.
async fn reached(node: &NodeObserver, offset: u64) -> Option<StatusResponse> {
    let deadline = Instant::now() + ASK_LIMIT;
    while Instant::now() < deadline {
        match node.status().await {
            Some(status) if status.next_offset >= offset => return Some(status),
            _ => sleep(POLL).await,
        }
    }
    None
}

/// Sorted: nodes may have learned of them in another order.
fn origins(states: &[proto::rpc::OriginState]) -> Vec<(Option<Origin>, u64, Vec<u8>)> {
    let mut states: Vec<_> = states
        .iter()
        .map(|state| {
            let origin = state
                .origin
                .as_ref()
                .and_then(|origin| Origin::try_from(origin).ok());
            (origin, state.next_sequence, state.chain.to_vec())
        })
        .collect();
    states.sort();
    states
}

/// Brokers that had forgotten a machine's session, in words.
pub(super) fn lost_sessions(accounts: &[Arc<Account>]) -> Vec<String> {
    let lost = accounts.iter().filter_map(|account| {
        let times = account.sessions_lost.load(Ordering::Relaxed);
        let (machine, hub) = (&account.machine, &account.hub);
        (times > 0).then(|| format!("{hub} forgot the session of {machine} {times} time(s)"))
    });
    lost.collect()
}
