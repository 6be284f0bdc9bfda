//! What a server says arrives as it was said.

use proto::{Quality, Value};

use crate::machine::Machine;
use crate::rig::{COUNTER, Hub, assert_complete, eventually, opcua};

const TAGS: &str = "{ name: temperature, address: 'ns=2;s=temperature' }, \
                    { name: counter, address: 'nsu=urn:updraft:machine;s=counter' }, \
                    { name: running, address: 'ns=2;s=running' }, \
                    { name: spectrum, address: 'ns=2;s=spectrum' }";

#[tokio::test]
async fn values_times_and_quality_arrive() {
    let hub = Hub::start().await;
    let mut machine = Machine::opcua(&["--period", "0.05"]);
    let before = proto::Nanos::now();
    let collecting = hub.collect(&opcua(machine.address, "", TAGS)).await;
    assert_complete(&hub.counted_to("counter", 20).await);
    assert_eq!(machine.command("status 0x40A40000"), "ok");
    let uncertain = Quality(0x40A4_0000);
    eventually("an uncertain temperature", async || {
        let records = hub.records("temperature").await;
        records
            .iter()
            .any(|record| record.quality == uncertain && record.value == Value::F64(1.0))
    })
    .await;
    collecting.stop().await;

    let temperatures = hub.records("temperature").await;
    for record in &temperatures {
        let source = record.source_time.unwrap();
        assert!(source <= record.receive_time, "{record:?}");
        assert!(record.receive_time > before);
        assert!(matches!(record.value, Value::F64(value) if (1.0..=75.0).contains(&value)));
    }
    let times: Vec<_> = temperatures
        .iter()
        .map(|record| record.source_time)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(temperatures[0].topic, "umh/v1/acme/press/_raw/temperature");
    assert_eq!(hub.values("running").await, [Value::Bool(true)]);
    let spectrum = &hub.records("spectrum").await[0];
    let Value::Text(text) = &spectrum.value else {
        panic!("{spectrum:?}");
    };
    assert_eq!(serde_json::from_str::<Vec<f64>>(text).unwrap().len(), 64);
    assert_eq!(spectrum.header("$type"), Some("Double[64]"));
    // Who ends in order leaves nothing behind.
    assert_eq!(machine.command("subscriptions"), "0");
}

#[tokio::test]
async fn a_node_that_is_missing_is_told_once_and_may_come_later() {
    let hub = Hub::start().await;
    let mut machine = Machine::opcua(&["--without-late"]);
    let tags = format!(
        "{{ name: late, address: 'ns=2;s=late' }}, {COUNTER}, \
         {{ name: strange, address: 'nsu=urn:nobody;s=x' }}"
    );
    let collecting = hub.collect(&opcua(machine.address, "", &tags)).await;
    hub.counted_to("counter", 20).await;
    for tag in ["late", "strange"] {
        let records = hub.records(tag).await;
        assert_eq!(records.len(), 1, "{records:?}");
        let missing = (records[0].value.clone(), records[0].quality);
        assert_eq!(missing, (Value::Null, Quality(0x8034_0000)), "{tag}");
    }
    assert_eq!(machine.command("add late"), "ok");
    eventually("the node is found", async || {
        hub.values("late").await == [Value::Null, Value::I64(7)]
    })
    .await;
    assert_complete(&hub.counts("counter").await);
    collecting.stop().await;
}

#[tokio::test]
async fn a_person_can_read_everything_once() {
    let hub = Hub::start().await;
    let machine = Machine::opcua(&[]);
    let tags = format!("{TAGS}, {{ name: missing, address: 'ns=2;s=missing' }}");
    let config = hub.config(&opcua(machine.address, "", &tags));
    let outcomes = collector::read_once(&config, Some("press")).await.unwrap();
    let tags = outcomes[0].tags.as_ref().unwrap();
    let kinds: Vec<_> = tags.iter().map(|tag| tag.kind.as_str()).collect();
    assert_eq!(kinds, ["Double", "UInt32", "Boolean", "Double[64]", "Null"]);
    let (missing, found) = tags.split_last().unwrap();
    assert!(
        found
            .iter()
            .all(|tag| tag.problem.is_none() && tag.source_time.is_some())
    );
    let problem = missing.problem.as_ref().unwrap();
    assert!(
        problem.starts_with("BadNodeIdUnknown: The node id refers to"),
        "{problem}"
    );
    assert!(
        collector::read_once(&config, Some("other"))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_server_with_a_wrong_address_is_told() {
    let hub = Hub::start().await;
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], crate::machine::free_port()));
    let config = hub.config(&opcua(nowhere, "", COUNTER));
    let outcomes = collector::read_once(&config, None).await.unwrap();
    let fault = outcomes[0].tags.as_ref().unwrap_err().to_string();
    assert!(
        fault.contains(&nowhere.to_string()) && fault.contains("refused"),
        "{fault}"
    );
}
