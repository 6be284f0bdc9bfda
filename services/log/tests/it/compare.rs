//! Nodes compare their states: one that differs stops, and where nobody can know who is right all
//! of them do. Runs with the feature `sabotage`, which alters the state of a node on purpose.

use std::time::Duration;

use proto::Offset;
use raft_log::client::Producer;
use tokio::task::JoinHandle;

use crate::rig::{Hub, record};

/// Far more than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Appends all the time, so that there are samples to compare; answers with what was refused.
fn load(producer: Producer) -> JoinHandle<()> {
    tokio::spawn(async move {
        for number in 0.. {
            let Ok(pending) = producer.append(record("a/b", number), None).await else {
                return;
            };
            // Whether it is taken is for the test to see.
            let _ = pending.await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

async fn append(hub: &Hub) -> Offset {
    let pending = hub.producer().append(record("a/b", "x"), None).await;
    let appended = tokio::time::timeout(PATIENCE, pending.unwrap()).await;
    appended.expect("it is taken").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_node_whose_state_differs_stops_and_the_others_go_on() {
    let mut hub = Hub::start("acme.site", 3).await;
    let load = load(hub.producer());
    let leader = hub.leader().await;
    raft_log::sabotage::switch_on(&format!("alter-state-{leader}"));
    let error = tokio::time::timeout(PATIENCE, hub.ended(leader)).await;
    let error = error.expect("it stops").unwrap_err().to_string();
    assert!(
        error.contains("differs from that of the majority"),
        "{error}"
    );
    assert!(
        error.contains(&format!("cluster replace {leader}")),
        "{error}"
    );

    append(&hub).await;
    let again = hub.try_start_node(leader).await.unwrap_err();
    let again = format!("{again:?}");
    assert!(
        again.contains("differs from that of the majority"),
        "{again}"
    );
    for id in (1..=3).filter(|id| *id != leader) {
        let status = hub.client_of_node(id).status().await.unwrap();
        assert_eq!(status.not_serving, "", "node {id}");
    }
    append(&hub).await;
    load.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn control_nodes_that_all_differ_all_stop_serving() {
    let mut hub = Hub::start("acme.site", 3).await;
    append(&hub).await;
    for id in 1..=3 {
        hub.readiness(id).wait().await;
    }
    let load = load(hub.producer());
    let leader = hub.leader().await;
    // Two of three, each in its own way.
    for id in [leader, leader % 3 + 1] {
        raft_log::sabotage::switch_on(&format!("alter-state-{id}"));
    }
    for id in 1..=3 {
        let client = hub.client_of_node(id);
        let stopped = async {
            while client.status().await.unwrap().not_serving.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let stopped = tokio::time::timeout(PATIENCE, stopped).await;
        stopped.unwrap_or_else(|_| panic!("node {id} serves"));
        let not_ready = hub.until_not_ready(id).await;
        assert!(not_ready.contains("none has a majority"), "{not_ready}");
        let refused = client.cursors().await.unwrap_err().to_string();
        assert!(refused.contains("none has a majority"), "{refused}");
        let tail = hub.tail_ends(id).await;
        assert!(tail.contains("none has a majority"), "{tail}");
    }
    load.abort();
    let pending = hub.producer().append(record("a/b", "x"), None).await;
    let appended = tokio::time::timeout(Duration::from_secs(2), pending.unwrap()).await;
    assert!(appended.is_err(), "nothing is taken: {appended:?}");
    hub.stop_node(leader).await;
    let again = format!("{:?}", hub.try_start_node(leader).await.unwrap_err());
    assert!(again.contains("none has a majority"), "{again}");
}
