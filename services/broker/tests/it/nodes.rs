//! Several brokers over one log.

use crate::hub::Hub;
use crate::wire::{V4, V5, Wire, options, persistent};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_the_subscribers_of_all_nodes_in_one_order() {
    let hub = Hub::start().await;
    let other = hub.another_broker().await;
    let (mut here, _) = Wire::connect(hub.broker.address, &options(V5, "here")).await;
    let (mut there, _) = Wire::connect(other.address, &options(V5, "there")).await;
    let (mut one, _) = Wire::connect(hub.broker.address, &options(V4, "one")).await;
    let (mut two, _) = Wire::connect(other.address, &options(V4, "two")).await;
    here.subscribe("#", 0).await;
    there.subscribe("#", 0).await;
    for number in 1..=100_u16 {
        one.publish(0b010, "one", number, number.to_string().as_bytes())
            .await;
        two.publish(0b010, "two", number, number.to_string().as_bytes())
            .await;
    }
    for _ in 0..200 {
        let (at_one, at_two) = (here.message().await, there.message().await);
        assert_eq!(at_one, at_two);
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_to_another_node_and_takes_its_place_there() {
    let hub = Hub::start().await;
    let other = hub.another_broker().await;
    let traveller = persistent(V5, "traveller");
    let (mut older, _) = Wire::connect(hub.broker.address, &traveller).await;
    older.subscribe("t", 1).await;
    older.publish_and_wait("t", 1, "1").await;
    assert_eq!(older.message_acknowledged().await.payload, "1");
    let (mut newer, present) = Wire::connect(other.address, &traveller).await;
    assert!(present);
    // What the older connection had acknowledged may be sent again with DUP, and nothing before.
    let (mut publisher, _) = Wire::connect(hub.broker.address, &options(V4, "p")).await;
    publisher.publish_and_wait("t", 1, "2").await;
    let mut message = newer.message_acknowledged().await;
    if message.payload == "1" {
        assert!(message.dup);
        message = newer.message_acknowledged().await;
    }
    assert_eq!(message.payload, "2");
    // The older connection is fenced: what it publishes is not taken.
    older.publish(0b010, "t", 2, b"late").await;
    loop {
        let packet = older.read().await;
        if packet.first_byte == 0xE0 {
            assert_eq!(packet.body[0], 0x8E);
            break;
        }
        assert_eq!(packet.first_byte >> 4, 3, "no PUBACK: {packet:?}");
    }
    newer.expect_silence().await;
    other.stop().await;
}
