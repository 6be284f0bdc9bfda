//! One scenario for each guard that the controls break: with the guard it finds nothing wrong.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use chaos_tests::check::{Differences, differences};
use chaos_tests::client::{Client, Publish};
use chaos_tests::readings::Readings;
use chaos_tests::service::ServiceProcess;
use chaos_tests::{stored, wait};
use raft_log::client::LogClient;
use tokio::time::sleep;
use updraft::pyramid::{HubSpec, Link, Pyramid, Relay, free_ports};

use crate::rig::{LIMIT, NODE, next_offset, urls};

const TOPIC: &str = "umh/v1/acme/_raw/machine/temperature";
/// A parent that gets nothing for so long will get nothing more.
const PATIENCE: Duration = Duration::from_secs(15);

/// I1: a node that is killed over and over holds everything it has acknowledged.
pub(crate) async fn a_node_is_killed(executable: &Path) -> Result<Differences> {
    let directory = tempfile::tempdir()?;
    let readings = Readings::generated(directory.path(), 4000)?;
    let mut pyramid = Pyramid::new(executable, directory.path());
    pyramid.add(HubSpec::new("acme"))?;
    pyramid.start(LIMIT).await?;
    let node = pyramid.hub_mut("acme")?.node_mut(0)?;
    let client = Client::start(&publish(node.mqtt(), &readings, 1000))?;
    for kill in 1..=4 {
        let enough = 800 * kill;
        acknowledged(&client, enough).await?;
        node.kill()?;
        node.start()?;
    }
    client.finish(readings.all.len(), LIMIT).await?;
    compare(&readings, pyramid.hub("acme")?.client()).await
}

/// I4: appends whose answers are lost, because their leader is killed or the connection to it is
/// cut, are committed once.
pub(crate) async fn answers_are_lost(executable: &Path) -> Result<Differences> {
    let directory = tempfile::tempdir()?;
    let readings = Readings::generated(directory.path(), 12_000)?;
    let mut pyramid = Pyramid::new(executable, directory.path());
    pyramid.add(HubSpec {
        nodes: 3,
        ..HubSpec::new("acme")
    })?;
    pyramid.start(LIMIT).await?;
    let hub = pyramid.hub_mut("acme")?;
    let logs: Vec<_> = hub.nodes().iter().map(|node| node.log()).collect();
    let relay = Relay::start(&logs).await?;
    let broker = free_ports(1)?[0];
    let mut service = broker_behind(&relay, broker, executable, &directory.path().join("broker"))?;
    service.start()?;
    let broker = ([127, 0, 0, 1], broker).into();
    let client = Client::start(&publish(broker, &readings, 3000))?;
    for round in 1..=8 {
        acknowledged(&client, 1200 * round).await?;
        if round % 2 == 0 {
            let leader = hub.wait_leader(LIMIT).await?.index;
            let leader = hub.node_mut(leader)?;
            leader.kill()?;
            leader.start()?;
        } else {
            relay.set(Link::Refused);
            sleep(Duration::from_millis(50)).await;
            relay.set(Link::Up);
        }
    }
    client.finish(readings.all.len(), LIMIT).await?;
    service.check_alive()?;
    compare(&readings, pyramid.hub("acme")?.client()).await
}

/// I2: what was on its way to the parent when the link broke is sent again.
pub(crate) async fn the_uplink_is_cut(executable: &Path) -> Result<Differences> {
    let directory = tempfile::tempdir()?;
    let readings = Readings::generated(directory.path(), 4000)?;
    let mut pyramid = Pyramid::new(executable, directory.path());
    let relay = Relay::start(&pyramid.add(HubSpec::new("acme"))?.uplinks()).await?;
    pyramid.add(HubSpec {
        parent: urls(relay.addresses()),
        ..HubSpec::new("acme.edge")
    })?;
    pyramid.start(LIMIT).await?;
    let edge = pyramid.hub("acme.edge")?.nodes()[0].mqtt();
    let parent = pyramid.hub("acme")?.client();
    let client = Client::start(&publish(edge, &readings, 800))?;
    for cut in 1..=3 {
        let enough = 800 * cut;
        acknowledged(&client, enough).await?;
        relay.set(Link::Silent);
        // Long enough for a cursor that does not wait to be committed.
        acknowledged(&client, enough + 500).await?;
        relay.set(Link::Refused);
        sleep(Duration::from_millis(100)).await;
        relay.set(Link::Up);
    }
    let count = readings.all.len();
    client.finish(count, LIMIT).await?;
    wait::while_growing(count as u64, PATIENCE, || next_offset(parent)).await;
    compare(&readings, parent).await
}

fn publish(broker: std::net::SocketAddr, readings: &Readings, rate: u32) -> Publish<'_> {
    Publish {
        broker,
        client_id: "machine-1",
        topic: TOPIC,
        rate,
        file: &readings.file,
    }
}

/// A broker of the hub `acme` that reaches the nodes of its log through the relay.
fn broker_behind(
    relay: &Relay,
    port: u16,
    executable: &Path,
    directory: &Path,
) -> Result<ServiceProcess> {
    let nodes = (1..)
        .zip(relay.addresses())
        .map(|(id, address)| format!("{id}: '{address}'"));
    let nodes: Vec<String> = nodes.collect();
    let yaml = format!(
        "hub: {{ path: acme }}\nlog: {{ nodes: {{ {} }} }}\nbroker: {{ listen: '127.0.0.1:{port}' }}\n",
        nodes.join(", ")
    );
    ServiceProcess::new(executable, "broker", directory, &yaml)
}

async fn acknowledged(client: &Client, count: usize) -> Result<()> {
    wait::until(
        "the client gets acknowledgements",
        LIMIT,
        async || match client.acknowledged() {
            enough if enough >= count => Ok(()),
            some => Err(format!("{some} of {count}")),
        },
    )
    .await
}

/// The hub's log with what was sent, all of which is acknowledged.
async fn compare(readings: &Readings, client: &LogClient) -> Result<Differences> {
    let records = stored::in_log(client).await?;
    let found: Result<Vec<_>> = records.iter().map(stored::reading).collect();
    Ok(differences(&readings.all, &found?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_holds_what_it_acknowledged() -> Result<()> {
    let found = a_node_is_killed(Path::new(NODE)).await?;
    assert!(found.is_none(), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_without_its_answer_is_committed_once() -> Result<()> {
    let found = answers_are_lost(Path::new(NODE)).await?;
    assert!(found.is_none(), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_when_the_link_broke_is_sent_again() -> Result<()> {
    let found = the_uplink_is_cut(Path::new(NODE)).await?;
    assert!(found.is_none(), "{found}");
    Ok(())
}
