//! The newest value of each topic, and retained messages page by page.

use proto::record::Flags;
use proto::{Offset, Value};
use raft_log::client::{LastValue, LogClient};

use crate::rig::{Hub, record};

/// All pages of `limit`.
async fn last_values(client: &LogClient, filters: &[&str], limit: u32) -> Vec<LastValue> {
    let filters: Vec<String> = filters.iter().map(|filter| filter.to_string()).collect();
    let (mut values, mut after) = (Vec::new(), None);
    loop {
        let page = client.last_values(filters.clone(), limit, after).await;
        let page = page.unwrap();
        assert!(limit == 0 || page.values.len() <= limit as usize);
        values.extend(page.values);
        after = page.more_after;
        if after.is_none() {
            return values;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_knows_the_newest_value_of_each_topic_also_after_a_restart() {
    let mut hub = Hub::start("acme.site", 3).await;
    let producer = hub.producer();
    let mut pending = Vec::new();
    for number in 0..300 {
        let topic = format!("line/{}", number % 100);
        pending.push(producer.append(record(&topic, number), None).await.unwrap());
    }
    let large = record("large", "x".repeat(5000));
    pending.push(producer.append(large, None).await.unwrap());
    for pending in pending {
        pending.await.unwrap();
    }
    hub.converged().await;
    hub.stop_node(2).await;
    hub.start_node(2).await;
    hub.readiness(2).wait().await;
    hub.converged().await;
    for id in 1..=3 {
        let client = hub.client_of_node(id);
        let lines = last_values(&client, &["line/+"], 7).await;
        assert_eq!(lines.len(), 100, "node {id}");
        for last in &lines {
            let topic: u64 = last.record.topic["line/".len()..].parse().unwrap();
            assert_eq!(last.offset, Offset(200 + topic));
            let text = (200 + topic).to_string();
            assert_eq!(last.record.value, Value::Payload(text.into()));
        }
        let all = last_values(&client, &[], 0).await;
        assert_eq!(all.len(), 101, "node {id}");
        assert_eq!(all[0].record.topic, "large");
        assert_eq!(
            (all[0].offset, all[0].large_bytes),
            (Offset(300), Some(5000))
        );
        assert_eq!(all[0].record.value, Value::Null);
    }
}

/// More than one page of them: each once, and current up to where the first page was read.
#[tokio::test(flavor = "multi_thread")]
async fn many_retained_messages_come_page_by_page() {
    let hub = Hub::start("acme.edge", 1).await;
    let producer = hub.producer();
    let mut pending = Vec::new();
    for number in 0..40 {
        let mut record = record(&format!("r/{number:02}"), "x".repeat(200_000));
        record.flags = Flags::new(true, 1);
        pending.push(producer.append(record, None).await.unwrap());
    }
    for pending in pending {
        pending.await.unwrap();
    }
    let (records, end) = hub.client().retained(vec!["r/#".into()]).await.unwrap();
    assert_eq!(end, Offset(40));
    let topics: Vec<String> = records.into_iter().map(|record| record.topic).collect();
    let expected: Vec<String> = (0..40).map(|number| format!("r/{number:02}")).collect();
    assert_eq!(topics, expected);
    let (records, end) = hub.client().retained(vec!["none".into()]).await.unwrap();
    assert_eq!((records.len(), end), (0, Offset(40)));
}
