//! What is acknowledged stays: over restarts, fail-overs and nodes that were away (I1, I3, I4).

use crate::rig::{Hub, deliveries, payloads, record};
use proto::{Nanos, Offset};

async fn append(hub: &Hub, texts: std::ops::Range<u32>) -> Vec<Offset> {
    let producer = hub.producer();
    let mut pending = Vec::new();
    for text in texts {
        pending.push(producer.append(record("a/b", text), None).await.unwrap());
    }
    let mut offsets = Vec::new();
    for pending in pending {
        offsets.push(pending.await.unwrap());
    }
    offsets
}

fn texts(range: std::ops::Range<u32>) -> Vec<(u64, String)> {
    (0..).zip(range.map(|number| number.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_keeps_everything_over_a_restart() {
    let mut hub = Hub::start("acme.edge", 1).await;
    let offsets = append(&hub, 0..500).await;
    assert_eq!(offsets, (0..500).map(Offset).collect::<Vec<_>>());
    // Many small appends, so that several segments are full and have their checkpoints.
    for number in 500..900 {
        append(&hub, number..number + 1).await;
    }
    let before = hub.converged().await;
    assert!(before.segments > 2, "{} segments", before.segments);

    hub.stop_node(1).await;
    hub.start_node(1).await;
    hub.leader().await;
    assert_eq!(payloads(&hub.client(), 0).await, texts(0..900));
    append(&hub, 900..910).await;
    assert_eq!(payloads(&hub.client(), 0).await, texts(0..910));
    let from_907 = payloads(&hub.client(), 907).await;
    assert!(
        from_907[0].0 <= 907 && from_907.contains(&(907, "907".to_owned())),
        "{from_907:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_tells_where_to_begin() {
    let hub = Hub::start("acme.edge", 1).await;
    for number in 0..20 {
        append(&hub, number..number + 1).await;
    }
    let client = hub.client();
    let deliveries = deliveries(&client, 0).await;
    for delivery in &deliveries {
        let time = Nanos(delivery.leader_time);
        let first = deliveries.iter().find(|d| d.leader_time == time.0).unwrap();
        assert_eq!(client.offset_at(time).await.unwrap(), Offset(first.offset));
    }
    let last = deliveries.last().unwrap().leader_time;
    let end = client.offset_at(Nanos(last + 1)).await.unwrap();
    assert_eq!(end, Offset(20));
    assert_eq!(client.offset_at(Nanos(0)).await.unwrap(), Offset(0));
}

/// The index can be lost at any time: it is built again from checkpoints and log.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_built_again() {
    let mut hub = Hub::start("acme.edge", 1).await;
    for number in 0..300 {
        append(&hub, number..number + 1).await;
    }
    hub.stop_node(1).await;
    std::fs::remove_dir_all(hub.data_dir(1).join("log/index")).unwrap();
    hub.start_node(1).await;
    hub.leader().await;
    assert_eq!(payloads(&hub.client(), 0).await, texts(0..300));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_nothing_when_their_leader_goes() {
    let mut hub = Hub::start("acme.site", 3).await;
    let producer = hub.producer();
    let mut pending = Vec::new();
    for number in 0..2000 {
        pending.push(producer.append(record("a/b", number), None).await.unwrap());
        if number == 1000 {
            let leader = hub.leader().await;
            hub.stop_node(leader).await;
        }
    }
    for (number, pending) in (0..).zip(pending) {
        assert_eq!(pending.await.unwrap(), Offset(number));
    }
    assert_eq!(payloads(&hub.client(), 0).await, texts(0..2000));
    let away = (1..=3)
        .find(|id| hub.data_dir(*id).exists() && !hub.is_running(*id))
        .unwrap();
    hub.start_node(away).await;
    hub.converged().await;
    assert_eq!(payloads(&hub.client_of_node(away), 0).await, texts(0..2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_an_origin_can_be_recomputed() {
    use proto::envelope::Chain;
    let hub = Hub::start("acme.edge", 1).await;
    append(&hub, 0..50).await;
    append(&hub, 50..60).await;
    let mut chain = Chain::default();
    let mut sequence = 0;
    for delivery in deliveries(&hub.client(), 0).await {
        let envelope = delivery.envelope.unwrap();
        assert_eq!(envelope.first_sequence, sequence);
        envelope.validate().unwrap();
        chain = chain.next(envelope.first_sequence, envelope.count, &envelope.digest);
        assert_eq!(Chain::from_bytes(&delivery.chain), Some(chain));
        sequence = envelope.end_sequence();
    }
    let origin = &hub.converged().await.origins[0];
    assert_eq!(
        (origin.next_sequence, &origin.chain[..]),
        (60, &chain.0[..])
    );
}

/// A node whose data directory was emptied must not vote as the one that had acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_data_is_not_taken_back() {
    let mut hub = Hub::start("acme.site", 3).await;
    append(&hub, 0..10).await;
    hub.stop_node(2).await;
    std::fs::remove_dir_all(hub.data_dir(2)).unwrap();
    hub.start_node(2).await;
    append(&hub, 10..20).await;
    let status = hub.client_of_node(2).status().await.unwrap();
    assert_eq!((status.applied_index, status.hub.as_str()), (0, ""));
    let others = [1, 3].map(|id| hub.client_of_node(id));
    for client in others {
        let status = client.status().await.unwrap();
        assert_eq!(status.hub, "acme.site");
    }
    // One of the two others goes: without a quorum of those that joined nothing is taken.
    let leader = hub.leader().await;
    let other = if leader == 1 { 3 } else { 1 };
    hub.stop_node(other).await;
    let producer = hub.producer();
    let pending = producer.append(record("a/b", "x"), None).await.unwrap();
    let waited = tokio::time::timeout(std::time::Duration::from_secs(2), pending).await;
    assert!(waited.is_err(), "acknowledged without a quorum");
}
