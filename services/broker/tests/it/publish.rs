//! From a PUBLISH to its PUBACK and to the subscribers.

use crate::hub::Hub;
use crate::wire::{PINGRESP, V4, V5, Wire, options, string};

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_subscribers_of_both_versions_in_order() {
    let hub = Hub::start().await;
    let address = hub.broker.address;
    let mut subscribers = Vec::new();
    for version in [V4, V5] {
        for qos in [0, 1] {
            let id = format!("sub-{version}-{qos}");
            let (mut wire, _) = Wire::connect(address, &options(version, &id)).await;
            assert_eq!(wire.subscribe("Öfen/+", qos).await, qos);
            subscribers.push((wire, qos));
        }
    }
    let (mut publisher, _) = Wire::connect(address, &options(V4, "pub")).await;
    for number in 0..200_u16 {
        publisher
            .publish(0b010, "Öfen/1", number + 1, number.to_string().as_bytes())
            .await;
    }
    for number in 0..200 {
        publisher.expect_puback(number + 1).await;
    }
    for (wire, qos) in &mut subscribers {
        for number in 0..200_u16 {
            let message = wire.message_acknowledged().await;
            assert_eq!((message.payload, message.qos), (number.to_string(), *qos));
            assert_eq!((message.dup, message.retain), (false, false));
        }
        wire.expect_silence().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_reach_version_5_and_do_not_harm_3_1_1() {
    let hub = Hub::start().await;
    let (mut new, _) = Wire::connect(hub.broker.address, &options(V5, "new")).await;
    let (mut old, _) = Wire::connect(hub.broker.address, &options(V4, "old")).await;
    new.subscribe_with("a", 1, &[0x0B, 42]).await;
    old.subscribe("a", 1).await;
    let mut properties = vec![0x01, 1];
    properties.extend([&[0x08][..], &string("reply")].concat());
    properties.extend([0x09, 0, 2, 0xFF, 0]);
    properties.extend([&[0x26][..], &string("key"), &string("value")].concat());
    properties.extend([&[0x03][..], &string("text/plain")].concat());
    new.publish_with(0b010, "a", 1, b"x", &properties).await;
    new.expect_puback(1).await;
    let message = new.message().await;
    for property in [
        &properties[..2],
        &properties[2..10],
        &properties[10..15],
        &[0x0B, 42],
    ] {
        let found = message
            .properties
            .windows(property.len())
            .any(|part| part == property);
        assert!(found, "{property:?} in {:?}", message.properties);
    }
    assert_eq!(message.properties.len(), properties.len() + 2);
    assert_eq!(old.message().await.payload, "x");
    old.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_the_log_is_away() {
    let hub = Hub::with_broker("max_in_flight: 10").await;
    let (mut wire, _) = Wire::connect(hub.broker.address, &options(V4, "c")).await;
    wire.publish_and_wait("t", 1, "before").await;
    hub.wire_to_log.cut();
    for packet_id in 2..=11 {
        wire.publish(0b010, "t", packet_id, b"during").await;
    }
    // The tenth has filled the window: this is not read, and so not answered.
    wire.send(0xC0, &[]).await;
    let answer = tokio::time::timeout(std::time::Duration::from_millis(500), wire.try_read()).await;
    assert!(answer.is_err(), "{answer:?}");
    hub.wire_to_log.mend();
    let mut acknowledged = Vec::new();
    let mut pings = 0;
    while acknowledged.len() < 10 || pings == 0 {
        let packet = wire.read().await;
        match packet.first_byte {
            PINGRESP => pings += 1,
            _ => acknowledged.push(packet.body),
        }
    }
    let expected: Vec<_> = (2..=11).map(|packet_id| vec![0, packet_id]).collect();
    assert_eq!(acknowledged, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_version_5_must_keep_to_the_receive_maximum() {
    let hub = Hub::with_broker("max_in_flight: 3").await;
    let mut wire = Wire::open(hub.broker.address, V5).await;
    wire.send_connect(&options(V5, "c")).await;
    let connack = wire.read().await;
    let receive_maximum = [0x21, 0, 3];
    assert!(
        connack.body.windows(3).any(|part| part == receive_maximum),
        "{connack:?}"
    );
    assert!(
        connack.body.windows(2).any(|part| part == [0x24, 1]),
        "Maximum QoS {connack:?}"
    );
    hub.wire_to_log.cut();
    for packet_id in 1..=4 {
        wire.publish(0b010, "t", packet_id, b"x").await;
    }
    wire.expect_end(Some(0x93)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_own_topics_are_not_for_publishers() {
    let hub = Hub::start().await;
    let (mut v5, _) = Wire::connect(hub.broker.address, &options(V5, "five")).await;
    v5.subscribe("$SYS/#", 1).await;
    v5.publish(0b010, "$SYS/x", 1, b"x").await;
    let puback = v5.read().await;
    assert_eq!(puback.body, [0, 1, 0x87, 0]);
    let (mut v4, _) = Wire::connect(hub.broker.address, &options(V4, "four")).await;
    v4.publish_and_wait("$SYS/x", 1, "x").await;
    v5.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_published_when_a_connection_breaks() {
    let hub = Hub::start().await;
    let (mut watcher, _) = Wire::connect(hub.broker.address, &options(V4, "watch")).await;
    watcher.subscribe("state/+", 1).await;
    let with_will = |version, properties| {
        let id = format!("mortal-{version}");
        let mut options = options(version, &id);
        options.will = Some(("state/m", "gone", 0b0010_1000, properties));
        options
    };
    let (polite, _) = Wire::connect(hub.broker.address, &with_will(V4, vec![])).await;
    polite.disconnect().await;
    watcher.expect_silence().await;
    for version in [V4, V5] {
        let (mortal, _) = Wire::connect(hub.broker.address, &with_will(version, vec![])).await;
        drop(mortal);
        let will = watcher.message_acknowledged().await;
        assert_eq!(
            (will.topic.as_str(), will.payload.as_str(), will.qos),
            ("state/m", "gone", 1)
        );
    }
    let (mut late, _) = Wire::connect(hub.broker.address, &options(V4, "late")).await;
    late.subscribe("state/m", 0).await;
    assert!(late.message().await.retain);
    // Version 5, DISCONNECT with will.
    let (mut mortal, _) = Wire::connect(hub.broker.address, &with_will(V5, vec![])).await;
    mortal.send(0xE0, &[0x04]).await;
    assert_eq!(watcher.message_acknowledged().await.payload, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_will_is_not_published_when_the_client_is_back() {
    let hub = Hub::start().await;
    let (mut watcher, _) = Wire::connect(hub.broker.address, &options(V5, "watch")).await;
    watcher.subscribe("will", 1).await;
    let mut options = crate::wire::persistent(V5, "mortal");
    options.will = Some(("will", "gone", 0b0000_1000, vec![0x18, 0, 0, 0, 1]));
    let (mortal, _) = Wire::connect(hub.broker.address, &options).await;
    drop(mortal);
    let (back, _) = Wire::connect(hub.broker.address, &options).await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    watcher.expect_silence().await;
    drop(back);
    assert_eq!(watcher.message().await.payload, "gone");
}
