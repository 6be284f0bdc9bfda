//! Bad input gets a clear error or is contained; its neighbours go on (I9).

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use chaos_tests::check::differences;
use chaos_tests::client::{Client, Publish};
use chaos_tests::readings::Readings;
use chaos_tests::wire::{self, Wire};
use chaos_tests::{stored, wait};
use tokio::process::Command;
use tokio::time::timeout;
use updraft::pyramid::{HubSpec, Pyramid, free_ports};

use crate::rig::{LIMIT, NODE, cursor, next_offset};

const TOPIC: &str = "umh/v1/acme/_raw/machine/temperature";
const READINGS: usize = 1500;

/// Exit code and the last line of a node that can't run with this file.
async fn run(directory: &Path, yaml: &str) -> Result<(Option<i32>, String)> {
    std::fs::write(directory.join("hub.yaml"), yaml)?;
    let mut command = Command::new(NODE);
    command
        .args(["run", "-c", "hub.yaml"])
        .current_dir(directory)
        .kill_on_drop(true);
    let output = timeout(LIMIT, command.output()).await;
    let output = output.context("it runs, though it should not")??;
    let errors = String::from_utf8(output.stderr)?;
    let last = errors.lines().last().unwrap_or_default();
    Ok((output.status.code(), last.to_owned()))
}

/// A stock client that must not notice anything.
fn neighbour(broker: SocketAddr, readings: &Readings) -> Result<Client> {
    Client::start(&Publish {
        broker,
        client_id: "neighbour",
        topic: TOPIC,
        rate: 300,
        file: &readings.file,
    })
}

/// Its readings are all acknowledged, over its one connection.
async fn went_on(client: Client) -> Result<()> {
    let told = client.finish(READINGS, LIMIT).await?;
    ensure!(
        told.connections == 1,
        "disconnected: {} connections",
        told.connections
    );
    Ok(())
}

async fn begun(client: &Client) -> Result<()> {
    wait::until("the neighbour publishes", LIMIT, async || {
        (client.acknowledged() > 50)
            .then_some(())
            .ok_or("nothing yet".into())
    })
    .await
}

/// One node with an SQLite historian, running.
async fn hub(directory: &Path) -> Result<(Pyramid, SocketAddr)> {
    let mut pyramid = Pyramid::new(NODE, directory);
    let hub = pyramid.add(HubSpec {
        historian: true,
        ..HubSpec::new("acme")
    })?;
    let broker = hub.nodes()[0].mqtt();
    pyramid.start(LIMIT).await?;
    Ok((pyramid, broker))
}

#[tokio::test]
async fn an_unknown_key_is_named_with_its_place_and_nothing_starts() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_ports(1)?[0];
    let yaml = format!(
        "hub: {{ path: acme }}\ndata_dir: data\nlog: {{}}\nbroker:\n  listn: '127.0.0.1:{port}'\n"
    );
    let (code, line) = run(directory.path(), &yaml).await?;
    assert_eq!(code, Some(2), "{line}");
    assert!(line.starts_with("hub.yaml:5:3: "), "{line}");
    assert!(
        line.contains("listn") && line.contains("\"listen\""),
        "{line}"
    );
    assert!(
        !directory.path().join("data").exists(),
        "something was started"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_and_its_owner_goes_on() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (mut pyramid, taken) = hub(directory.path()).await?;
    let mut owner = Wire::connect(taken, "owner").await?;
    owner.publish(1, b"a", b"before").await?;
    let log = free_ports(1)?[0];
    let yaml = format!(
        "hub: {{ path: acme }}\ndata_dir: second\nlog: {{ listen: '127.0.0.1:{log}' }}\n\
         broker: {{ listen: '{taken}' }}\n"
    );
    let (code, line) = run(directory.path(), &yaml).await?;
    assert_eq!(code, Some(1), "{line}");
    let expected = format!("broker.listen: can't listen on {taken}: Address already in use");
    assert!(
        line.starts_with("updraft: ") && line.contains(&expected),
        "{line}"
    );
    owner.publish(2, b"a", b"after").await?;
    pyramid.check_alive()
}

/// I6: a hub is a hub without its parent.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_its_parent_acknowledges_and_forwards_all_of_it_later() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let readings = Readings::generated(directory.path(), READINGS)?;
    // The parent's files are there, its process is not.
    let mut parents = Pyramid::new(NODE, directory.path());
    let parent = parents.add(HubSpec::new("acme"))?;
    let mut edges = Pyramid::new(NODE, directory.path());
    let edge = edges.add(HubSpec {
        parent: vec![format!("http://{}", parent.uplinks()[0])],
        ..HubSpec::new("acme.edge")
    })?;
    let broker = edge.nodes()[0].mqtt();
    edges.start(LIMIT).await?;
    went_on(neighbour(broker, &readings)?).await?;
    let edge = edges.hub("acme.edge")?;
    assert_eq!(next_offset(edge.client()).await, READINGS as u64);
    assert_eq!(cursor(edge.client(), "forwarder/normal").await, Ok(0));
    let told = std::fs::read_to_string(edge.nodes()[0].log_file())?;
    assert!(
        told.contains("the parent can't be reached: http://127.0.0.1:"),
        "{told}"
    );

    parents.start(LIMIT).await?;
    let parent = parents.hub("acme")?.client();
    wait::until("the parent has everything", LIMIT, async || {
        let count = next_offset(parent).await;
        (count >= READINGS as u64)
            .then_some(())
            .ok_or(count.to_string())
    })
    .await?;
    let records = stored::in_log(parent).await?;
    let found: Result<Vec<_>> = records.iter().map(stored::reading).collect();
    let differences = differences(&readings.all, &found?);
    assert!(differences.is_none(), "{differences}");
    edges.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_packet_ends_its_own_connection_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let readings = Readings::generated(directory.path(), READINGS)?;
    let (mut pyramid, broker) = hub(directory.path()).await?;
    let neighbour = neighbour(broker, &readings)?;
    begun(&neighbour).await?;
    let wildcard = wire::publish(1, b"umh/v1/acme/_raw/+", b"1");
    let null = wire::publish(1, b"umh/v1/acme/_raw/\0", b"1");
    let no_utf8 = wire::publish(1, b"umh/v1/acme/_raw/\xFF", b"1");
    for bytes in [
        // A packet type that there is not, a length that never ends, a topic longer than its
        // packet, QoS 3, a second CONNECT.
        &[0xF0, 0][..],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        &[0x30, 3, 0, 9, b't'],
        &[0x36, 6, 0, 1, b't', 0, 1, b'x'],
        b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01x",
        &wildcard,
        &null,
        &no_utf8,
    ] {
        let mut bad = Wire::connect(broker, "bad").await?;
        bad.raw(bytes).await?;
        let answer = bad.read().await?;
        assert!(answer.is_none(), "{bytes:?} was answered with {answer:?}");
    }
    went_on(neighbour).await?;
    let records = next_offset(pyramid.hub("acme")?.client()).await;
    assert_eq!(
        records, READINGS as u64,
        "a record of a packet that was refused"
    );
    pyramid.check_alive()
}

/// Payloads and topics that promise a value and hold none are kept as they came, with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_value_is_kept_as_a_message() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let readings = Readings::generated(directory.path(), READINGS)?;
    let (mut pyramid, broker) = hub(directory.path()).await?;
    let neighbour = neighbour(broker, &readings)?;
    begun(&neighbour).await?;
    let value = br#"{"timestamp_ms": 1, "value": 2}"#;
    let bad: [(&str, &[u8], &str); 5] = [
        (TOPIC, b"21.5 \xFF\0", "not JSON"),
        (TOPIC, br#"{"value": 1}"#, "no `timestamp_ms`"),
        (
            TOPIC,
            br#"{"timestamp_ms": 1, "value": [1]}"#,
            "neither number",
        ),
        ("umh/v1/acme/_raw/m\u{f6}tor", value, "character 'ö'"),
        ("umh/v1/acme/_raw//t", value, "empty level"),
    ];
    let mut client = Wire::connect(broker, "bad").await?;
    for (packet_id, (topic, payload, _)) in (1..).zip(bad) {
        client.publish(packet_id, topic.as_bytes(), payload).await?;
    }
    client.publish(9, b"no/namespace", b"free text").await?;
    went_on(neighbour).await?;

    let hub = pyramid.hub("acme")?;
    let all = (READINGS + bad.len() + 1) as u64;
    wait::until("the historian has everything", LIMIT, async || {
        let written = cursor(hub.client(), "writer/sqlite-1").await?;
        (written >= all)
            .then_some(())
            .ok_or(format!("{written} of {all}"))
    })
    .await?;
    let historian = hub.historian().context("the hub has a historian")?;
    let found = messages(&historian)?;
    for ((topic, payload, reason), (found_topic, found_payload, problem)) in bad.iter().zip(&found)
    {
        assert_eq!((*topic, *payload), (&found_topic[..], &found_payload[..]));
        let problem = problem.as_deref().unwrap_or_default();
        assert!(
            problem.contains(reason),
            "{problem:?} instead of {reason:?}"
        );
    }
    let free = ("no/namespace".to_owned(), b"free text".to_vec(), None);
    assert_eq!(found[bad.len()..], [free]);
    let values = stored::values_in_sqlite(&historian)?;
    let differences = differences(&readings.all, &values);
    assert!(differences.is_none(), "{differences}");
    let told = std::fs::read_to_string(hub.nodes()[0].log_file())?;
    assert!(told.contains("carried as a raw message"), "no warning");
    pyramid.check_alive()
}

/// Topic, payload and problem.
type Message = (String, Vec<u8>, Option<String>);

/// All messages in order.
fn messages(historian: &Path) -> Result<Vec<Message>> {
    let database = stored::open_sqlite(historian)?;
    let mut select = database.prepare(
        "SELECT topic, payload, problem FROM message JOIN tag USING (tag_id) ORDER BY src, seq",
    )?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect::<rusqlite::Result<_>>()
        .context("read the messages")
}
