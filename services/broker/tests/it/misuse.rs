//! Bad input ends its own connection and nothing else (I9).

use crate::hub::Hub;
use crate::wire::{CONNACK, V4, V5, Wire, options};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_packet_ends_its_connection_alone() {
    let hub = Hub::with_broker("max_packet_bytes: 4KiB").await;
    let (mut neighbour, _) = Wire::connect(hub.broker.address, &options(V5, "neighbour")).await;
    neighbour.subscribe("#", 1).await;
    for (bytes, reason) in [
        (&[0x20, 2, 0, 0][..], 0x82),
        (&[0xB0, 2, 0, 1], 0x82),
        (&[0xF0, 0], 0x82),
        (&[0x10, 2, 0, 0], 0x82),
        (&[0x80, 2, 0, 1], 0x81),
        (&[0x36, 2, 0, 1], 0x81),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], 0x81),
        (&[0x30, 0xFF, 0xFF, 0x7F], 0x95),
        (&[0x30, 3, 0, 9, b't'], 0x81),
        (&[0x30, 4, 0, 2, 0xFF, 0xFE], 0x81),
        (&[0x62, 2, 0, 1], 0x82),
        (b"GET / HTTP/1.1\r\n\r\n", 0x81),
    ] {
        for version in [V4, V5] {
            let (mut wire, _) = Wire::connect(hub.broker.address, &options(version, "bad")).await;
            wire.raw(bytes).await;
            wire.expect_end(Some(reason)).await;
        }
    }
    for (version, flags, topic, reason) in [
        (V5, 0b100, "t", 0x9B),
        (V4, 0b100, "t", 0x9B),
        (V5, 0b000, "a/+", 0x90),
        (V4, 0b000, "a/#", 0x90),
        (V5, 0b010, "", 0x90),
    ] {
        let (mut wire, _) = Wire::connect(hub.broker.address, &options(version, "bad")).await;
        let packet_id = u16::from(flags > 0);
        wire.publish(flags, topic, packet_id, b"x").await;
        wire.expect_end(Some(reason)).await;
    }
    neighbour.expect_silence().await;
    neighbour.publish_and_wait("Öfen/1", 1, "x").await;
    assert_eq!(neighbour.message_acknowledged().await.topic, "Öfen/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn first_packets_that_are_refused() {
    let hub = Hub::start().await;
    for (bytes, connack) in [
        (&b"\x10\x10\0\x06MQIsdp\x03\x02\0\0\0\x02ab"[..], Some(1)),
        (b"\x10\x0E\0\x04MQTT\x06\x02\0\0\0\x02ab", Some(0x84)),
        (
            b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\0",
            Some(0x82),
        ),
        (b"\xC0\0", None),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xFC", None),
        (b"GET /metrics HTTP/1.1\r\n\r\n", None),
    ] {
        let mut wire = Wire::open(hub.broker.address, V4).await;
        wire.raw(bytes).await;
        if let Some(code) = connack {
            let answer = wire.read().await;
            assert_eq!(
                (answer.first_byte, answer.body[1]),
                (CONNACK, code),
                "{bytes:?}"
            );
        }
        wire.expect_end(None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_in_single_bytes_is_a_packet() {
    let hub = Hub::start().await;
    let (mut wire, _) = Wire::connect(hub.broker.address, &options(V4, "slow")).await;
    for byte in b"\x32\x09\0\x03a/b\0\x07hi" {
        wire.raw(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    wire.expect_puback(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_log_is_refused_alone() {
    let hub = Hub::with_broker("max_packet_bytes: 16MiB").await;
    let payload = vec![b'x'; 9 << 20];
    let (mut v5, _) = Wire::connect(hub.broker.address, &options(V5, "five")).await;
    v5.publish(0b010, "t", 1, &payload).await;
    assert_eq!(v5.read().await.body[..3], [0, 1, 0x83]);
    v5.publish_and_wait("t", 2, "small").await;
    let (mut v4, _) = Wire::connect(hub.broker.address, &options(V4, "four")).await;
    v4.publish(0b010, "t", 1, &payload).await;
    v4.expect_end(None).await;
}
