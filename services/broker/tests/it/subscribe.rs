//! Retained messages, options of subscriptions, and subscribers that can't keep up.

use std::time::Duration;

use crate::hub::Hub;
use crate::wire::{UNSUBACK, V4, V5, Wire, options, persistent, string};

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_wait_for_subscribers() {
    let mut hub = Hub::start().await;
    let (mut publisher, _) = Wire::connect(hub.broker.address, &options(V4, "p")).await;
    for number in 1..=300_u16 {
        let topic = format!("r/{number}");
        publisher.publish(0b011, &topic, number, b"old").await;
        publisher.expect_puback(number).await;
    }
    publisher.publish(0b011, "r/1", 1, b"new").await;
    publisher.expect_puback(1).await;
    // An empty message deletes; one that is not retained changes nothing.
    publisher.publish(0b011, "r/2", 2, b"").await;
    publisher.expect_puback(2).await;
    publisher.publish_and_wait("r/3", 3, "").await;
    publisher.publish_and_wait("r/4", 4, "live").await;
    hub.restart_broker().await;
    for version in [V4, V5] {
        let (mut wire, _) = Wire::connect(hub.broker.address, &options(version, "late")).await;
        wire.subscribe("r/+", 1).await;
        let mut topics = Vec::new();
        for _ in 0..299 {
            let message = wire.message_acknowledged().await;
            assert!(message.retain && message.qos == 1);
            let expected = if message.topic == "r/1" { "new" } else { "old" };
            assert_eq!(message.payload, expected, "{}", message.topic);
            topics.push(message.topic);
        }
        wire.expect_silence().await;
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), 299);
        assert!(!topics.contains(&"r/2".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retain_handling_and_retain_as_published() {
    let hub = Hub::start().await;
    let (mut wire, _) = Wire::connect(hub.broker.address, &options(V5, "c")).await;
    let (mut publisher, _) = Wire::connect(hub.broker.address, &options(V4, "p")).await;
    publisher.publish(0b011, "r", 1, b"x").await;
    publisher.expect_puback(1).await;
    wire.subscribe("r", 0x21).await;
    wire.expect_silence().await;
    wire.subscribe("r", 0x11).await;
    wire.expect_silence().await;
    wire.subscribe("r", 0x09).await;
    assert!(wire.message_acknowledged().await.retain);
    publisher.publish(0b011, "r", 2, b"y").await;
    publisher.expect_puback(2).await;
    let live = wire.message_acknowledged().await;
    assert_eq!((live.payload.as_str(), live.retain), ("y", true));
    wire.subscribe("r", 0x21).await;
    publisher.publish(0b011, "r", 3, b"z").await;
    publisher.expect_puback(3).await;
    assert!(!wire.message_acknowledged().await.retain);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_hides_own_messages() {
    let hub = Hub::start().await;
    let (mut wire, _) = Wire::connect(hub.broker.address, &options(V5, "c")).await;
    let (mut other, _) = Wire::connect(hub.broker.address, &options(V5, "o")).await;
    wire.subscribe("t", 0b101).await;
    for number in 1..=50 {
        wire.publish(0b010, "t", number, b"own").await;
        other.publish(0b010, "t", number, b"foreign").await;
    }
    let (mut acknowledged, mut foreign) = (0, 0);
    while acknowledged + foreign < 100 {
        let packet = wire.read().await;
        match packet.first_byte {
            0x40 => acknowledged += 1,
            _ => {
                let message = packet.message(V5);
                assert_eq!(message.payload, "foreign");
                wire.send(0x40, &message.packet_id.to_be_bytes()).await;
                foreign += 1;
            }
        }
    }
    wire.expect_silence().await;
    assert_eq!((acknowledged, foreign), (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_subscribe_and_unsubscribe() {
    let hub = Hub::start().await;
    for (version, filter, options_byte, expected) in [
        (V4, "a/#", 2, 1),
        (V5, "a/#", 2, 1),
        (V4, "a#", 1, 0x80),
        (V5, "a#", 1, 0x8F),
        (V4, "$share/g/a", 1, 0x80),
        (V5, "$share/g/a", 1, 0x9E),
        (V5, "+/+/#", 0, 0),
    ] {
        let (mut wire, _) = Wire::connect(hub.broker.address, &options(version, "c")).await;
        assert_eq!(
            wire.subscribe(filter, options_byte).await,
            expected,
            "{version} {filter}"
        );
    }
    for options in [
        options(V5, "u"),
        persistent(V5, "u"),
        options(V4, "u"),
        persistent(V4, "u"),
    ] {
        let (mut wire, _) = Wire::connect(hub.broker.address, &options).await;
        wire.subscribe("a", 1).await;
        let mut body = vec![0, 5];
        body.extend((options.version == V5).then_some(0));
        body.extend(string("a"));
        body.extend(string("b"));
        wire.send(0xA2, &body).await;
        let unsuback = wire.read().await;
        assert_eq!(unsuback.first_byte, UNSUBACK);
        let expected = if options.version == V5 {
            &[0, 5, 0, 0, 0x11][..]
        } else {
            &[0, 5]
        };
        assert_eq!(unsuback.body, expected);
        wire.publish_and_wait("a", 1, "x").await;
        wire.expect_silence().await;
    }
}

/// More than sockets, ring and window hold together.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_holds_up_nobody_and_misses_nothing() {
    const MESSAGES: u16 = 1200;

    let hub = Hub::start().await;
    let (mut slow, _) = Wire::connect(hub.broker.address, &options(V4, "slow")).await;
    slow.subscribe("big", 0).await;
    let (mut quick, _) = Wire::connect(hub.broker.address, &options(V5, "quick")).await;
    quick.subscribe("big", 1).await;
    let (mut publisher, _) = Wire::connect(hub.broker.address, &options(V5, "p")).await;
    let body = "x".repeat(80 << 10);
    for number in 1..=MESSAGES {
        let payload = format!("{number} {body}");
        publisher
            .publish(0b010, "big", number, payload.as_bytes())
            .await;
        publisher.expect_puback(number).await;
        let message = quick.message_acknowledged().await;
        assert!(message.payload.starts_with(&format!("{number} ")));
    }
    for number in 1..=MESSAGES {
        let message = slow.message().await;
        assert!(
            message.payload.starts_with(&format!("{number} ")),
            "{number}"
        );
    }
    slow.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_sent_no_more_than_it_takes() {
    let hub = Hub::start().await;
    let mut options_of = persistent(V5, "small");
    // Receive Maximum 2, Maximum Packet Size 40.
    options_of
        .properties
        .extend([0x21, 0, 2, 0x27, 0, 0, 0, 40]);
    let (mut wire, _) = Wire::connect(hub.broker.address, &options_of).await;
    wire.subscribe("t", 1).await;
    let (mut publisher, _) = Wire::connect(hub.broker.address, &options(V4, "p")).await;
    for (number, payload) in (1..).zip(["1", "2", &"x".repeat(100), "3", "4"]) {
        publisher.publish_and_wait("t", number, payload).await;
    }
    let first = wire.message().await;
    let second = wire.message().await;
    wire.expect_silence().await;
    for message in [first, second] {
        wire.send(0x40, &message.packet_id.to_be_bytes()).await;
    }
    assert_eq!(wire.message_acknowledged().await.payload, "3");
    assert_eq!(wire.message_acknowledged().await.payload, "4");
    tokio::time::sleep(Duration::from_millis(50)).await;
    wire.expect_silence().await;
}
