//! Real readings through a stock client into an edge hub, and up to the enterprise's databases,
//! while everything on the way is killed.
//!
//! ```text
//! paho-mqtt ──▶ acme.cologne.press ──▶ acme.cologne ──▶ acme ──▶ SQLite
//!               1 node                 3 nodes          1 node └▶ writer ──▶ PostgreSQL
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use chaos_tests::check::differences;
use chaos_tests::client::{Client, Publish};
use chaos_tests::nemesis::{self, Action, Event, Rhythm};
use chaos_tests::postgres::Postgres;
use chaos_tests::readings::Readings;
use chaos_tests::service::ServiceProcess;
use chaos_tests::{stored, wait};
use tokio::time::sleep;
use updraft::pyramid::{Hub, HubSpec, NodeProcess, Pyramid};

use crate::rig::{LIMIT, NODE, cursor, next_offset, urls};

const EDGE: &str = "acme.cologne.press";
const SITE: &str = "acme.cologne";
const ENTERPRISE: &str = "acme";
const TOPIC: &str = "umh/v1/acme/cologne/press/_raw/machine/temperature";
/// Readings a second while the edge is there: all of them take about 20 s.
const RATE: u32 = 1200;
/// Kills begin within this time.
const NEMESIS: Duration = Duration::from_secs(18);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Edge,
    Site(usize),
    Enterprise,
    Writer,
    Postgres,
}

struct Plant {
    pyramid: Pyramid,
    writer: ServiceProcess,
    postgres: Postgres,
    /// What was killed how often.
    kills: BTreeMap<Target, usize>,
}

impl Plant {
    async fn start(directory: &Path) -> Result<Plant> {
        let postgres = Postgres::start()?;
        let mut pyramid = Pyramid::new(NODE, directory);
        let enterprise = pyramid.add(HubSpec {
            historian: true,
            ..HubSpec::new(ENTERPRISE)
        })?;
        let parent = urls(&enterprise.uplinks());
        let log = enterprise.nodes()[0].log();
        let site = pyramid.add(HubSpec {
            nodes: 3,
            parent,
            ..HubSpec::new(SITE)
        })?;
        let parent = urls(&site.uplinks());
        pyramid.add(HubSpec {
            parent,
            ..HubSpec::new(EDGE)
        })?;
        let yaml = format!(
            "hub: {{ path: {ENTERPRISE} }}\nlog: {{ nodes: {{ 1: '{log}' }} }}\n\
             historian: {{ postgres: {{ url: {:?} }} }}\n",
            postgres.url()
        );
        let place = directory.join("writer");
        let mut writer = ServiceProcess::new(Path::new(NODE), "writer", &place, &yaml)?;
        pyramid.start(LIMIT).await?;
        writer.start()?;
        Ok(Plant {
            pyramid,
            writer,
            postgres,
            kills: BTreeMap::new(),
        })
    }

    fn node(&mut self, target: Target) -> Result<Option<&mut NodeProcess>> {
        let (hub, index) = match target {
            Target::Edge => (EDGE, 0),
            Target::Site(index) => (SITE, index),
            Target::Enterprise => (ENTERPRISE, 0),
            Target::Writer | Target::Postgres => return Ok(None),
        };
        self.pyramid.hub_mut(hub)?.node_mut(index).map(Some)
    }

    fn act(&mut self, target: Target, action: Action) -> Result<()> {
        if action == Action::Kill {
            *self.kills.entry(target).or_default() += 1;
        }
        if let Some(node) = self.node(target)? {
            return match action {
                Action::Kill => node.kill(),
                Action::Start => node.start(),
            };
        }
        match (target, action) {
            (Target::Postgres, Action::Kill) => self.postgres.kill(),
            (Target::Postgres, Action::Start) => self.postgres.restart(),
            (_, Action::Kill) => self.writer.kill(),
            (_, Action::Start) => self.writer.start(),
        }
    }

    /// Each event at its time; nothing may end that nobody killed.
    async fn suffer(&mut self, events: &[Event<Target>]) -> Result<()> {
        let start = Instant::now();
        for Event { at, target, action } in events {
            sleep(at.saturating_sub(start.elapsed())).await;
            self.pyramid.check_alive()?;
            self.writer.check_alive()?;
            eprintln!("{:5.1} s {action:?} {target:?}", at.as_secs_f64());
            tokio::task::block_in_place(|| self.act(*target, *action))?;
        }
        Ok(())
    }

    /// Until what the edge has is everywhere, and nothing is on its way any more.
    async fn drain(&mut self, readings: u64) -> Result<()> {
        for (from, to) in [(EDGE, SITE), (SITE, ENTERPRISE)] {
            let below = self.pyramid.hub(from)?.client();
            let above = self.pyramid.hub(to)?.client();
            let what = format!("{to} has what {from} has");
            wait::until(&what, LIMIT, async || {
                let counts = (next_offset(below).await, next_offset(above).await);
                let passed = cursor(below, "forwarder/normal").await?;
                let done = counts == (readings, readings) && passed == readings;
                done.then_some(())
                    .ok_or(format!("{counts:?}, cursor {passed}"))
            })
            .await?;
        }
        let enterprise = self.pyramid.hub(ENTERPRISE)?.client();
        for name in ["writer/sqlite-1", "writer/postgres"] {
            wait::until(&format!("{name} is done"), LIMIT, async || {
                let written = cursor(enterprise, name).await?;
                (written == readings)
                    .then_some(())
                    .ok_or(written.to_string())
            })
            .await?;
        }
        self.pyramid.check_alive()?;
        self.writer.check_alive()
    }

    fn check_logs(&self) -> Result<()> {
        let nodes = self.pyramid.hubs().iter().flat_map(Hub::nodes);
        let files = nodes.map(NodeProcess::log_file);
        files
            .chain([self.writer.log_file()])
            .try_for_each(|file| check_log(&file))
    }
}

/// Nothing that is worth waking someone was said; only openraft warns when a peer is gone.
fn check_log(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let is_bad = |line: &&str| {
        let warns = line.contains(" WARN ") && !line.contains(" WARN openraft::");
        warns || line.contains(" ERROR ") || line.contains("panicked")
    };
    match text.lines().find(is_bad) {
        Some(line) => bail!("{}: {line}", file.display()),
        None => Ok(()),
    }
}

/// Site nodes, edge, enterprise and writer over and over; PostgreSQL once.
fn plan(seed: u64) -> Vec<Event<Target>> {
    let rhythm = Rhythm {
        up: Duration::from_millis(1500)..Duration::from_millis(4000),
        down: Duration::from_millis(200)..Duration::from_millis(2000),
    };
    let nodes = [
        Target::Edge,
        Target::Site(0),
        Target::Site(1),
        Target::Site(2),
        Target::Enterprise,
        Target::Writer,
    ];
    let mut events = nemesis::schedule(seed, &nodes, &rhythm, NEMESIS);
    let once = nemesis::schedule(!seed, &[Target::Postgres], &rhythm, NEMESIS);
    events.extend(once.into_iter().skip(2).take(2));
    events.sort_by_key(|event| event.at);
    events
}

/// I1, I3, I4, I7 from the machine's client to the databases at the top.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_reading_is_in_both_databases_once() -> Result<()> {
    let started = Instant::now();
    let seed = nemesis::seed()?;
    let directory = tempfile::tempdir()?;
    let readings = Readings::real(directory.path())?;
    let count = readings.all.len();
    let mut plant = Plant::start(directory.path()).await?;

    let client = Client::start(&Publish {
        broker: plant.pyramid.hub(EDGE)?.nodes()[0].mqtt(),
        client_id: "machine-1",
        topic: TOPIC,
        rate: RATE,
        file: &readings.file,
    })?;
    let publishing = Instant::now();
    plant.suffer(&plan(seed)).await?;
    let during = client.acknowledged();
    let told = client.finish(count, LIMIT).await?;
    let published_in = publishing.elapsed();
    plant.drain(count as u64).await?;

    let historian = plant.pyramid.hub(ENTERPRISE)?.historian().unwrap();
    for (place, found) in [
        ("SQLite", stored::in_sqlite(&historian)?),
        ("PostgreSQL", stored::in_postgres(&plant.postgres)?),
    ] {
        let differences = differences(&readings.all, &found);
        ensure!(differences.is_none(), "{place}: {differences}");
    }
    eprintln!(
        "{count} readings ({} repeated times) acknowledged in {published_in:.1?}, {during} of them \
         while processes were killed; {} connections, {} resumed the session; kills: {:?}; {:.1?} \
         in all",
        readings.repeated_times(),
        told.connections,
        told.resumed,
        plant.kills,
        started.elapsed()
    );
    plant.check_logs()?;
    for (target, kills) in &plant.kills {
        let enough = if *target == Target::Postgres { 1 } else { 3 };
        ensure!(*kills >= enough, "{target:?} was killed {kills} times");
    }
    ensure!(plant.kills.len() == 7, "not everything was killed");
    // A CONNACK may be lost, and then even the first one that arrives is of a known session.
    ensure!(
        told.connections >= 3 && told.resumed + 1 >= told.connections,
        "{told:?}"
    );
    ensure!(
        during > count / 4,
        "the kills did not fall into the publishing"
    );
    Ok(())
}
