//! What outlives a connection, and what ends it.

use std::time::Duration;

use crate::hub::Hub;
use crate::wire::{Options, V4, V5, Wire, options, persistent};

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_a_persistent_session() {
    let mut hub = Hub::start().await;
    for version in [V4, V5] {
        let sleeper = persistent(version, &format!("sleeper-{version}"));
        let (mut wire, present) = Wire::connect(hub.broker.address, &sleeper).await;
        assert!(!present);
        wire.subscribe("t", 1).await;
        let (mut publisher, _) = Wire::connect(hub.broker.address, &options(V4, "p")).await;
        publisher.publish_and_wait("t", 1, "0").await;
        assert_eq!(wire.message_acknowledged().await.payload, "0");
        wire.disconnect().await;
        for number in 1..=100_u16 {
            publisher
                .publish_and_wait("t", number, &number.to_string())
                .await;
        }
        drop(publisher);
        hub.restart_broker().await;
        let (mut wire, present) = Wire::connect(hub.broker.address, &sleeper).await;
        assert!(present);
        for number in 1..=100 {
            assert_eq!(
                wire.message_acknowledged().await.payload,
                number.to_string()
            );
        }
        wire.expect_silence().await;
        wire.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again() {
    let hub = Hub::start().await;
    let options_of = persistent(V4, "sub");
    let (mut wire, _) = Wire::connect(hub.broker.address, &options_of).await;
    wire.subscribe("t", 1).await;
    let (mut publisher, _) = Wire::connect(hub.broker.address, &options(V4, "p")).await;
    for number in 1..=4_u16 {
        publisher
            .publish_and_wait("t", number, &number.to_string())
            .await;
    }
    let mut ids = Vec::new();
    for _ in 1..=4 {
        ids.push(wire.message().await.packet_id);
    }
    // The first and the third are acknowledged: the floor stands before the second.
    wire.send(0x40, &ids[0].to_be_bytes()).await;
    wire.send(0x40, &ids[2].to_be_bytes()).await;
    wire.expect_silence().await;
    drop(wire);
    let (mut wire, _) = Wire::connect(hub.broker.address, &options_of).await;
    for number in 2..=4 {
        let message = wire.message_acknowledged().await;
        assert_eq!((message.payload, message.dup), (number.to_string(), true));
    }
    wire.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_sent_again_is_one_message() {
    let hub = Hub::start().await;
    let (mut watcher, _) = Wire::connect(hub.broker.address, &options(V5, "watch")).await;
    watcher.subscribe("t", 1).await;
    for version in [V4, V5] {
        let publisher = persistent(version, &format!("p-{version}"));
        let (mut wire, _) = Wire::connect(hub.broker.address, &publisher).await;
        wire.publish(0b010, "t", 7, b"once").await;
        // Committed; the PUBACK is lost with the connection.
        assert_eq!(watcher.message_acknowledged().await.payload, "once");
        drop(wire);
        let (mut wire, _) = Wire::connect(hub.broker.address, &publisher).await;
        wire.publish(0b1010, "t", 7, b"once").await;
        wire.expect_puback(7).await;
        watcher.expect_silence().await;
        wire.publish(0b1010, "t", 7, b"once").await;
        wire.expect_puback(7).await;
        assert_eq!(
            watcher.message_acknowledged().await.payload,
            "once",
            "a new one by now"
        );
        wire.publish(0b1010, "t", 8, b"other").await;
        wire.expect_puback(8).await;
        assert_eq!(watcher.message_acknowledged().await.payload, "other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_sessions_forget() {
    let hub = Hub::start().await;
    for version in [V4, V5] {
        let id = format!("c-{version}");
        let (mut wire, _) = Wire::connect(hub.broker.address, &persistent(version, &id)).await;
        wire.subscribe("t", 1).await;
        wire.disconnect().await;
        let (wire, present) = Wire::connect(hub.broker.address, &options(version, &id)).await;
        assert!(!present);
        wire.disconnect().await;
        let (mut wire, present) =
            Wire::connect(hub.broker.address, &persistent(version, &id)).await;
        assert!(!present, "the clean session has ended it");
        wire.publish_and_wait("t", 1, "x").await;
        wire.expect_silence().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_of_version_5_can_be_set_at_the_end() {
    let hub = Hub::start().await;
    let brief = Options {
        properties: vec![0x11, 0, 0, 0, 1],
        ..persistent(V5, "c")
    };
    let (mut wire, _) = Wire::connect(hub.broker.address, &brief).await;
    wire.send(0xE0, &[0, 5, 0x11, 0, 0, 0, 60]).await;
    wire.expect_end(None).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (mut wire, present) = Wire::connect(hub.broker.address, &persistent(V5, "c")).await;
    assert!(present, "60 seconds count and not 1");
    wire.send(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]).await;
    wire.expect_end(None).await;
    let resume = Options {
        clean: false,
        ..options(V5, "c")
    };
    let (mut wire, present) = Wire::connect(hub.broker.address, &resume).await;
    assert!(!present);
    wire.send(0xE0, &[0, 5, 0x11, 0, 0, 0, 9]).await;
    wire.expect_end(Some(0x82)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_connection_takes_over() {
    let hub = Hub::start().await;
    for version in [V4, V5] {
        for options in [options(version, "twin"), persistent(version, "twin")] {
            let (mut older, _) = Wire::connect(hub.broker.address, &options).await;
            let (mut newer, _) = Wire::connect(hub.broker.address, &options).await;
            older.expect_end(Some(0x8E)).await;
            newer.publish_and_wait("t", 1, "x").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_disconnected() {
    let hub = Hub::start().await;
    for version in [V4, V5] {
        let silent = Options {
            keep_alive: 1,
            ..options(version, "silent")
        };
        let (mut wire, _) = Wire::connect(hub.broker.address, &silent).await;
        tokio::time::sleep(Duration::from_millis(1000)).await;
        wire.expect_silence().await;
        let before = tokio::time::Instant::now();
        wire.expect_end(Some(0x8D)).await;
        let after = before.elapsed();
        assert!((1400..3000).contains(&after.as_millis()), "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_ends_says_goodbye() {
    let hub = Hub::start().await;
    let mut wires = Vec::new();
    for version in [V4, V5] {
        let id = format!("c-{version}");
        let (wire, _) = Wire::connect(hub.broker.address, &options(version, &id)).await;
        wires.push(wire);
    }
    let Hub { broker, .. } = hub;
    let stopping = tokio::spawn(broker.stop());
    for mut wire in wires {
        wire.expect_end(Some(0x8B)).await;
    }
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_an_id_gets_one() {
    let hub = Hub::start().await;
    let (mut wire, _) = Wire::connect(hub.broker.address, &options(V4, "")).await;
    wire.publish_and_wait("t", 1, "x").await;
    let mut wire = Wire::open(hub.broker.address, V5).await;
    wire.send_connect(&options(V5, "")).await;
    let connack = wire.read().await;
    assert!(
        connack.body.windows(8).any(|part| part == b"updraft-"),
        "{connack:?}"
    );
    let mut wire = Wire::open(hub.broker.address, V4).await;
    wire.send_connect(&persistent(V4, "")).await;
    assert_eq!(wire.read().await.body, [0, 2]);
    wire.expect_end(None).await;
}

/// Otherwise its sessions would count as closed while their clients are connected.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_sessions_says_again_and_again_that_it_lives() {
    let hub = Hub::start().await;
    let (_wire, _) = Wire::connect(hub.broker.address, &persistent(V5, "c")).await;
    let log = hub.log();
    let applied = log.status().await.unwrap().applied_index;
    let renewed = async {
        // Nothing else writes in this hub.
        while log.status().await.unwrap().applied_index < applied + 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let renewed = tokio::time::timeout(crate::hub::PATIENCE, renewed).await;
    renewed.expect("it renews its lease");
}
