//! Without a quorum nothing is acknowledged, nothing is lost, and memory stays bounded (I5).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_tests::check::differences;
use chaos_tests::client::{Client, Publish};
use chaos_tests::flood::{self, Flood};
use chaos_tests::process::{Frozen, resident_bytes};
use chaos_tests::readings::Readings;
use chaos_tests::wire::Wire;
use chaos_tests::{stored, wait};
use proto::Value;
use tokio::time::sleep;
use updraft::pyramid::{HubSpec, Pyramid};

use crate::rig::{LIMIT, NODE, cursor, urls};

const SITE: &str = "acme";
const EDGE: &str = "acme.edge";
const READINGS: usize = 2000;
const FLOOD: &str = "flood/1";
const FLOOD_BYTES: usize = 4 << 10;
/// What a client may have under way: the broker's window of 1024 publishes, and what the sockets'
/// buffers take.
const MAX_UNACKNOWLEDGED_BYTES: u64 = 32 << 20;
const MAX_RESIDENT_BYTES: u64 = 300 << 20;
/// Nothing moves any more when nothing has moved for so long.
const SETTLED: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// They keep their connections, but do nothing.
    Frozen,
    Killed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Survivor {
    Leader,
    Follower,
}

struct Plant {
    pyramid: Pyramid,
    survivor: usize,
    frozen: Vec<Frozen>,
}

/// What must not change while there is no quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    site_records: u64,
    /// The edge's forwarder.
    cursor: u64,
    acknowledged: u64,
    sent: u64,
}

impl Plant {
    async fn start(directory: &std::path::Path, survivor: Survivor) -> Result<Plant> {
        let mut pyramid = Pyramid::new(NODE, directory);
        let site = pyramid.add(HubSpec {
            nodes: 3,
            ..HubSpec::new(SITE)
        })?;
        let parent = urls(&site.uplinks());
        pyramid.add(HubSpec {
            parent,
            ..HubSpec::new(EDGE)
        })?;
        pyramid.start(LIMIT).await?;
        let leader = pyramid.hub(SITE)?.wait_leader(LIMIT).await?.index;
        Ok(Plant {
            pyramid,
            survivor: match survivor {
                Survivor::Leader => leader,
                Survivor::Follower => (leader + 1) % 3,
            },
            frozen: Vec::new(),
        })
    }

    fn broker(&self) -> Result<SocketAddr> {
        Ok(self.pyramid.hub(SITE)?.nodes()[self.survivor].mqtt())
    }

    fn take_away(&mut self, outage: Outage) -> Result<()> {
        let survivor = self.survivor;
        let nodes = self.pyramid.hub_mut(SITE)?.nodes_mut().iter_mut();
        for (index, node) in nodes.enumerate().filter(|(index, _)| *index != survivor) {
            match outage {
                Outage::Killed => node.kill()?,
                Outage::Frozen => {
                    let process = node.process_id();
                    let process = process.with_context(|| format!("node {index} runs"))?;
                    self.frozen.push(Frozen::new(process)?);
                }
            }
        }
        Ok(())
    }

    fn give_back(&mut self) -> Result<()> {
        self.frozen.clear();
        for node in self.pyramid.hub_mut(SITE)?.nodes_mut() {
            if node.process_id().is_none() {
                node.start()?;
            }
        }
        Ok(())
    }

    async fn standing(&self, flood: &Flood) -> Result<Standing> {
        let survivor = &self.pyramid.hub(SITE)?.nodes()[self.survivor];
        let edge = self.pyramid.hub(EDGE)?.client();
        let cursor = cursor(edge, "forwarder/normal").await;
        Ok(Standing {
            site_records: survivor
                .status()
                .await
                .context("ask the survivor")?
                .next_offset,
            cursor: cursor.map_err(anyhow::Error::msg)?,
            acknowledged: flood.acknowledged(),
            sent: flood.sent(),
        })
    }

    fn resident_bytes(&self) -> Result<u64> {
        let edge = &self.pyramid.hub(EDGE)?.nodes()[0];
        let survivor = &self.pyramid.hub(SITE)?.nodes()[self.survivor];
        let of = |id: Option<u32>| resident_bytes(id.context("the process runs")?);
        Ok(of(edge.process_id())?.max(of(survivor.process_id())?))
    }

    /// Waits until the site has acknowledged this many of the edge's readings.
    async fn wait_forwarded(&self, readings: u64) -> Result<()> {
        let edge = self.pyramid.hub(EDGE)?.client();
        wait::until("readings arrive at the site", LIMIT, async || {
            let cursor = cursor(edge, "forwarder/normal").await?;
            let state = format!("{cursor} of {readings}");
            (cursor >= readings).then_some(()).ok_or(state)
        })
        .await
    }

    /// Waits until nothing moves, and sees that it stays so for `time`. Returns where it stands and
    /// the most memory that the survivor or the edge has held.
    async fn hold(&self, flood: &Flood, time: Duration) -> Result<(Standing, u64)> {
        let mut standing = self.standing(flood).await?;
        let mut since = Instant::now();
        let begin = since;
        while since.elapsed() < SETTLED {
            sleep(Duration::from_millis(100)).await;
            let now = self.standing(flood).await?;
            if now != standing {
                (standing, since) = (now, Instant::now());
            }
            ensure!(
                begin.elapsed() < LIMIT,
                "something still moves: {standing:?}"
            );
        }
        let mut resident = 0;
        while since.elapsed() < SETTLED + time {
            sleep(Duration::from_millis(200)).await;
            let now = self.standing(flood).await?;
            ensure!(now == standing, "{now:?} after {standing:?}");
            resident = resident.max(self.resident_bytes()?);
        }
        Ok((standing, resident))
    }

    /// The site has acknowledged nothing; the edge, which has its own quorum, has gone on and keeps
    /// all of it.
    async fn check(&self, standing: &Standing, client: &Client) -> Result<()> {
        let under_way = standing.sent * FLOOD_BYTES as u64;
        ensure!(standing.acknowledged == 0, "acknowledged without a quorum");
        ensure!(under_way <= MAX_UNACKNOWLEDGED_BYTES, "no back-pressure");
        ensure!(
            standing.cursor <= standing.site_records,
            "the cursor is ahead"
        );
        let acknowledged = client.acknowledged();
        ensure!(
            acknowledged as u64 > standing.cursor,
            "the edge has stopped"
        );
        let kept = stored::in_log(self.pyramid.hub(EDGE)?.client())
            .await?
            .len();
        ensure!(
            kept >= acknowledged,
            "the edge keeps {kept} of {acknowledged}"
        );
        Ok(())
    }

    /// The site's log holds the readings and the messages of the flood, each once and in order.
    async fn check_stored(&self, readings: &Readings, flooded: u64) -> Result<()> {
        let records = stored::in_log(self.pyramid.hub(SITE)?.client()).await?;
        let (held, others): (Vec<_>, Vec<_>) =
            records.iter().partition(|record| record.topic == FLOOD);
        let numbers = held.iter().map(|record| match &record.value {
            Value::Payload(payload) => flood::number(payload),
            _ => None,
        });
        let all = numbers.eq((0..flooded).map(Some));
        ensure!(all, "of {flooded} held messages {} are there", held.len());
        let found: Result<Vec<_>> = others.into_iter().map(stored::reading).collect();
        let differences = differences(&readings.all, &found?);
        ensure!(differences.is_none(), "{differences}");
        Ok(())
    }
}

async fn quorum_is_held_back(outage: Outage, survivor: Survivor, time: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let readings = Readings::generated(directory.path(), READINGS)?;
    let mut plant = Plant::start(directory.path(), survivor).await?;
    let client = Client::start(&Publish {
        broker: plant.pyramid.hub(EDGE)?.nodes()[0].mqtt(),
        client_id: "machine-1",
        topic: "umh/v1/acme/edge/_raw/temperature",
        rate: 200,
        file: &readings.file,
    })?;
    plant.wait_forwarded(100).await?;
    let wire = Wire::connect(plant.broker()?, "flood").await?;
    plant.take_away(outage)?;
    let flood = Flood::start(wire, FLOOD, FLOOD_BYTES);
    let (standing, resident) = plant.hold(&flood, time).await?;
    eprintln!(
        "{outage:?}, {survivor:?} left: {standing:?}, {} MiB of memory",
        resident >> 20
    );
    ensure!(resident < MAX_RESIDENT_BYTES, "{resident} bytes of memory");
    plant.check(&standing, &client).await?;

    flood.stop();
    plant.give_back()?;
    wait::until("every held message is acknowledged", LIMIT, async || {
        let counts = format!("{} of {}", flood.acknowledged(), flood.sent());
        flood.is_done().then_some(()).ok_or(counts)
    })
    .await?;
    ensure!(flood.is_connected(), "the client was disconnected");
    client.finish(READINGS, LIMIT).await?;
    plant.wait_forwarded(READINGS as u64).await?;
    plant.check_stored(&readings, flood.sent()).await?;
    plant.pyramid.check_alive()
}

/// Longer than any time-out on the way: 10 s for an answer, and for a lease.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_two_of_three_nodes_are_frozen() -> Result<()> {
    quorum_is_held_back(Outage::Frozen, Survivor::Leader, Duration::from_secs(12)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_two_of_three_nodes_are_dead() -> Result<()> {
    quorum_is_held_back(Outage::Killed, Survivor::Follower, Duration::from_secs(4)).await
}
