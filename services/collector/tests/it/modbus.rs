//! Every poll is a sample, a bad address harms no other, and a late answer is never taken.

use proto::{Quality, Value};

use crate::machine::Machine;
use crate::rig::{Hub, eventually, modbus};

const COUNT: &str = "{ name: count, address: holding.0.UINT16 }";
const NO_COMMUNICATION: Quality = Quality(0x8031_0000);

#[tokio::test]
async fn values_arrive_and_a_bad_address_harms_no_other() {
    let hub = Hub::start().await;
    let machine = Machine::modbus();
    let tags = format!(
        "{COUNT}, {{ name: low, address: 'holding.1.INT16:scale=0.1' }}, \
         {{ name: voltage, address: 40003.FLOAT32 }}, \
         {{ name: swapped, address: 'holding.4.FLOAT32:order=CDAB' }}, \
         {{ name: energy, address: holding.6.UINT64 }}, \
         {{ name: serial, address: 'holding.10.STRING:array=4' }}, \
         {{ name: wide, address: 'holding.14.UINT32:array=2' }}, \
         {{ name: inputs, address: 'input.0.UINT16:array=10' }}, \
         {{ name: on, address: coil.0.BOOL }}, {{ name: off, address: discrete.0.BOOL }}"
    );
    let collecting = hub.collect(&modbus(machine.address, "", &tags)).await;
    let counts = hub.counted_to("count", 20).await;
    collecting.stop().await;
    assert!(
        counts.windows(2).all(|pair| pair[0] < pair[1]),
        "{counts:?}"
    );
    for (tag, value) in [
        ("low", Value::F64(-0.5)),
        ("voltage", Value::F64(230.5)),
        ("swapped", Value::F64(230.5)),
        ("energy", Value::U64(12_345_678_901_234)),
        ("serial", Value::Text("meter-7".into())),
        ("inputs", Value::Text("[0,1,2,3,4,5,6,7,8,9]".into())),
        ("on", Value::Bool(true)),
        ("off", Value::Bool(false)),
    ] {
        let records = hub.records(tag).await;
        assert!(records.len() >= 10, "{tag}: every poll is a sample");
        let same = |record: &proto::Record| record.value == value && record.quality.is_good();
        assert!(records.iter().all(same), "{tag}: {records:?}");
    }
    // It was adjacent to the others, and goes beyond what the device has.
    let wide = hub.records("wide").await;
    assert_eq!(wide.len(), 1, "{wide:?}");
    assert_eq!(
        (&wide[0].value, wide[0].quality),
        (&Value::Null, Quality(0x8089_0000))
    );
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_another() {
    let hub = Hub::start().await;
    let mut machine = Machine::modbus();
    let tags = format!(
        "{COUNT}, {{ name: low, address: holding.1.INT16 }}, {{ name: input, address: input.7.UINT16 }}"
    );
    let collecting = hub
        .collect(&modbus(machine.address, ", timeout: 200ms", &tags))
        .await;
    let mut reached = hub.counted_to("count", 5).await.last().copied().unwrap();
    for silence in 1..=3 {
        machine.command("silent");
        eventually("the silence is told", async || {
            bad(&hub, "low").await == silence
        })
        .await;
        machine.command("speak");
        reached = hub
            .counted_to("count", reached + 5)
            .await
            .last()
            .copied()
            .unwrap();
    }
    collecting.stop().await;
    let connections: u64 = machine.command("connections").parse().unwrap();
    assert!(
        connections >= 4,
        "a time-out must end the connection: {connections}"
    );
    for (tag, value) in [("low", Value::I64(-5)), ("input", Value::U64(7))] {
        for record in hub.records(tag).await {
            let silent = (Value::Null, NO_COMMUNICATION);
            let told = (record.value.clone(), record.quality);
            assert!(
                told == silent || told == (value.clone(), Quality::GOOD),
                "{record:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_busy_device_is_told_and_asked_again() {
    let hub = Hub::start().await;
    let mut machine = Machine::modbus();
    let collecting = hub.collect(&modbus(machine.address, "", COUNT)).await;
    let reached = hub.counted_to("count", 3).await.last().copied().unwrap();
    machine.command("busy");
    eventually("that it is busy is told", async || {
        bad(&hub, "count").await == 1
    })
    .await;
    let records = hub.records("count").await;
    assert_eq!(records.last().unwrap().quality, Quality(0x808B_0000));
    machine.command("speak");
    hub.counted_to("count", reached + 3).await;
    assert_eq!(bad(&hub, "count").await, 1);
    assert_eq!(machine.command("connections"), "1");
    collecting.stop().await;
}

#[tokio::test]
async fn a_device_that_is_switched_on_later_is_found() {
    let hub = Hub::start().await;
    let port = crate::machine::free_port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let collecting = hub.collect(&modbus(address, "", COUNT)).await;
    eventually("that it is away is told", async || {
        bad(&hub, "count").await == 1
    })
    .await;
    let machine = Machine::modbus_at(port);
    hub.counted_to("count", 3).await;
    drop(machine);
    eventually("that it is away again is told", async || {
        bad(&hub, "count").await == 2
    })
    .await;
    let _machine = Machine::modbus_at(port);
    eventually("it is back", async || {
        let values = hub.values("count").await;
        let back = values
            .iter()
            .rposition(|value| *value == Value::Null)
            .unwrap();
        values.len() > back + 2
    })
    .await;
    assert_eq!(bad(&hub, "count").await, 2, "each change is told once");
    collecting.stop().await;
}

/// How often a tag was said to have no value.
async fn bad(hub: &Hub, tag: &str) -> usize {
    let records = hub.records(tag).await;
    records
        .iter()
        .filter(|record| !record.quality.is_good())
        .count()
}
