//! Producers and consumers against the service: retries, sessions, cursors, retained messages.

use std::time::Duration;

use proto::record::Flags;
use proto::rpc::{CursorPosition, OpenSession, SessionPublish};
use proto::{Lane, Offset};
use raft_log::client::AppendError;

use crate::rig::{Hub, deliveries, record};

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_streams_of_their_own() {
    let hub = Hub::start("acme.edge", 1).await;
    let producer = hub.producer();
    let wave = producer
        .append(record("umh/v1/acme/_wave/s", "w"), None)
        .await
        .unwrap();
    let value = producer
        .append(record("umh/v1/acme/_raw/t", "v"), None)
        .await
        .unwrap();
    wave.await.unwrap();
    value.await.unwrap();
    let mut lanes: Vec<(u32, u64)> = deliveries(&hub.client(), 0)
        .await
        .into_iter()
        .filter_map(|delivery| delivery.envelope)
        .map(|envelope| (envelope.lane, envelope.first_sequence))
        .collect();
    lanes.sort_unstable();
    let number = |lane: Lane| u32::from(lane.number());
    assert_eq!(lanes, [(number(Lane::Normal), 0), (number(Lane::Bulk), 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_refused_alone() {
    let hub = Hub::start("acme.edge", 1).await;
    let producer = hub.producer();
    let large = record("a", "x".repeat(proto::batch::MAX_RECORD_BYTES));
    let refused = producer.append(large, None).await.unwrap();
    let taken = producer.append(record("a", "y"), None).await.unwrap();
    assert!(matches!(refused.await, Err(AppendError::Refused(_))));
    assert_eq!(taken.await.unwrap(), Offset(0));
}

/// A publish of a connection that was replaced is refused, its neighbours in the batch are not.
#[tokio::test(flavor = "multi_thread")]
async fn stale_sessions_are_taken_out_of_a_batch() {
    let hub = Hub::start("acme.edge", 1).await;
    let client = hub.client();
    let open = |clean| OpenSession {
        client_id: "m".into(),
        holder: "node 1".into(),
        clean,
        expiry_seconds: 60,
        ..Default::default()
    };
    let old = client.open_session(open(true)).await.unwrap();
    let new = client.open_session(open(false)).await.unwrap();
    assert!(new.present && new.session_epoch > old.session_epoch);

    let publish = |session_epoch, packet_id| {
        Some(SessionPublish {
            client_id: "m".into(),
            session_epoch,
            packet_id,
            digest: 1,
        })
    };
    let producer = hub.producer();
    let mut pending = Vec::new();
    for (text, publish) in [
        ("before", None),
        ("stale", publish(old.session_epoch, 1)),
        ("fresh", publish(new.session_epoch, 2)),
    ] {
        pending.push(producer.append(record("a", text), publish).await.unwrap());
    }
    let mut outcomes = Vec::new();
    for pending in pending {
        outcomes.push(pending.await);
    }
    assert!(matches!(outcomes[0], Ok(Offset(_))), "{outcomes:?}");
    assert!(
        matches!(outcomes[1], Err(AppendError::StaleSession)),
        "{outcomes:?}"
    );
    assert!(matches!(outcomes[2], Ok(Offset(_))), "{outcomes:?}");
    let texts: Vec<String> = crate::rig::payloads(&client, 0)
        .await
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, ["before", "fresh"]);
    let again = client.open_session(open(false)).await.unwrap();
    assert_eq!(again.recent_publishes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_claimed_moved_and_kept() {
    let mut hub = Hub::start("acme.edge", 1).await;
    let client = hub.client();
    let lease = Duration::from_secs(60);
    let claim = client
        .claim_cursor("up", "node 1", lease, true)
        .await
        .unwrap();
    assert_eq!(claim.next_offset, 0);
    let stranger = client
        .claim_cursor("up", "node 2", lease, true)
        .await
        .unwrap_err();
    assert!(stranger.is_fenced(), "{stranger}");
    hub.producer()
        .append(record("a", "x"), None)
        .await
        .unwrap()
        .await
        .unwrap();
    let position = CursorPosition {
        name: "up".into(),
        epoch: claim.epoch,
        next_offset: 1,
    };
    client.commit_cursors(vec![position]).await.unwrap();

    hub.stop_node(1).await;
    hub.start_node(1).await;
    hub.leader().await;
    let cursors = hub.client().cursors().await.unwrap();
    assert_eq!(
        (cursors[0].next_offset, cursors[0].holder.as_str()),
        (1, "node 1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_answered_by_filter() {
    let hub = Hub::start("acme.edge", 1).await;
    let producer = hub.producer();
    for (topic, text) in [("a/1", "old"), ("a/1", "new"), ("b/1", "other")] {
        let mut record = record(topic, text);
        record.flags = Flags::new(true, 1);
        producer.append(record, None).await.unwrap().await.unwrap();
    }
    let (records, end) = hub.client().retained(vec!["a/+".into()]).await.unwrap();
    assert_eq!(end, Offset(3));
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].value, proto::Value::Payload("new".into()));
}
