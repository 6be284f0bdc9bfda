//! What `/readyz` says of a node: whoever restarts a hub node by node relies on it.

use std::time::Duration;

use kit::ready::Readiness;

use crate::rig::{Hub, record};

async fn append(hub: &Hub, count: u32) {
    let producer = hub.producer();
    let mut pending = Vec::new();
    for number in 0..count {
        // Long enough that the entries can't all travel in one message.
        let text = format!("{number}: {}", "x".repeat(20_000));
        pending.push(producer.append(record("a/b", text), None).await.unwrap());
    }
    for pending in pending {
        pending.await.unwrap();
    }
}

async fn until_not_ready(readiness: &Readiness) -> String {
    loop {
        let report = readiness.report();
        if let Some(reason) = &report.parts[0].reason {
            return reason.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_ready_when_it_has_what_was_committed_while_it_was_away() {
    let mut hub = Hub::start("acme.site", 3).await;
    let leader = hub.leader().await;
    let away = leader % 3 + 1;
    hub.stop_node(away).await;
    append(&hub, 3000).await;
    let committed = hub.client_of_node(leader).status().await.unwrap();

    hub.start_node(away).await;
    hub.readiness(away).wait().await;
    let status = hub.client_of_node(away).status().await.unwrap();
    assert!(
        status.applied_index >= committed.applied_index,
        "ready at entry {} of {}",
        status.applied_index,
        committed.applied_index
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_majority_no_node_is_ready() {
    let mut hub = Hub::start("acme.site", 3).await;
    for id in 1..=3 {
        hub.readiness(id).wait().await;
    }
    let leader = hub.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for id in &others {
        hub.stop_node(*id).await;
    }
    let reason = until_not_ready(&hub.readiness(leader)).await;
    assert!(
        reason.contains("majority") || reason.contains("leads"),
        "{reason}"
    );
    hub.start_node(others[0]).await;
    hub.readiness(leader).wait().await;
    hub.readiness(others[0]).wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_is_its_own_majority() {
    let mut hub = Hub::start("acme.edge", 1).await;
    hub.readiness(1).wait().await;
    append(&hub, 10).await;
    hub.stop_node(1).await;
    hub.start_node(1).await;
    hub.readiness(1).wait().await;
}
