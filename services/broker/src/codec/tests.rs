use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{DisconnectReasonCode, Packet, Protocol, PublishProperties};

use super::*;
use crate::packet::{ConnAck, Deliver, Filter, Offer, Publish, RetainHandling, Subscribe};

const MAX: usize = 1 << 20;

fn codec(version: Version) -> Codec {
    Codec {
        version,
        max_packet_bytes: MAX,
    }
}

/// A packet from its first byte and its body.
fn packet(first_byte: u8, body: &[u8]) -> BytesMut {
    assert!(body.len() < 128);
    let mut packet = BytesMut::from(&[first_byte, u8::try_from(body.len()).unwrap()][..]);
    packet.extend_from_slice(body);
    packet
}

fn decode(version: Version, mut bytes: BytesMut) -> Result<Option<Incoming>, DecodeError> {
    codec(version).decode(&mut bytes)
}

fn connect(version: Version, keep_alive: u16, client_id: &str) -> BytesMut {
    let mut body = BytesMut::from(&b"\0\x04MQTT"[..]);
    body.put_u8(if version == Version::V4 { 4 } else { 5 });
    body.put_u8(0b10);
    body.put_u16(keep_alive);
    if version == Version::V5 {
        body.put_u8(0);
    }
    body.put_u16(u16::try_from(client_id.len()).unwrap());
    body.extend_from_slice(client_id.as_bytes());
    packet(0x10, &body)
}

#[test]
fn any_client_id_and_no_keep_alive_are_welcome() {
    for version in [Version::V4, Version::V5] {
        for client_id in ["", "a", "+ $ # /", "Öfen/1", "-", "with space"] {
            let mut bytes = connect(version, 0, client_id);
            bytes.extend_from_slice(&[0xC0, 0]);
            let connect = decode_first(&mut bytes, MAX).unwrap().unwrap();
            assert_eq!(
                (connect.version, connect.client_id.as_str()),
                (version, client_id)
            );
            assert_eq!((connect.keep_alive, connect.clean_start), (0, true));
            assert_eq!(&bytes[..], [0xC0, 0], "what follows stays");
        }
    }
}

#[test]
fn a_connect_comes_in_pieces() {
    let whole = connect(Version::V5, 60, "piecemeal");
    for end in 0..whole.len() {
        let mut bytes = BytesMut::from(&whole[..end]);
        assert_eq!(decode_first(&mut bytes, MAX), Ok(None), "{end}");
        assert_eq!(bytes.len(), end);
    }
}

#[test]
fn first_packets_that_are_none() {
    let body = |body: &[u8]| packet(0x10, body);
    for (mut bytes, version, reason) in [
        (
            BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]),
            None,
            Reason::MalformedPacket,
        ),
        (
            BytesMut::from(&b"\x16\x03\x01\x02\x00\x01"[..]),
            None,
            Reason::MalformedPacket,
        ),
        (packet(0xC0, b""), None, Reason::ProtocolError),
        (packet(0x30, b"\0\x01t"), None, Reason::ProtocolError),
        (
            body(b"\0\x04MQTX\x05\x02\0\0\0\0\0"),
            None,
            Reason::MalformedPacket,
        ),
        (
            body(b"\0\x06MQIsdp\x03\x02\0\0\0\x01a"),
            Some(Version::V4),
            Reason::UnsupportedProtocolVersion,
        ),
        (
            body(b"\0\x04MQTT\x09\x02\0\0\0\x01a"),
            Some(Version::V5),
            Reason::UnsupportedProtocolVersion,
        ),
        (
            body(b"\0\x04MQTT\x04\x02\0\0\0\x09a"),
            Some(Version::V4),
            Reason::MalformedPacket,
        ),
        (
            body(b"\0\x04MQTT\x04\x02\0\0\0\x02\xFF\xFF"),
            Some(Version::V4),
            Reason::MalformedPacket,
        ),
        (
            body(b"\0\x04MQTT\x04\x02\0\0\0\x02a\0"),
            Some(Version::V4),
            Reason::MalformedPacket,
        ),
        (
            body(b"\0\x04MQTT\x05\x02\0\0"),
            Some(Version::V5),
            Reason::MalformedPacket,
        ),
        // Will QoS without a will.
        (
            body(b"\0\x04MQTT\x05\x0A\0\0\0\0\x01a"),
            Some(Version::V5),
            Reason::MalformedPacket,
        ),
        // Receive Maximum 0.
        (
            body(b"\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x01a"),
            Some(Version::V5),
            Reason::ProtocolError,
        ),
    ] {
        let text = format!("{bytes:?}");
        let error = decode_first(&mut bytes, MAX).unwrap_err();
        assert_eq!(
            (error.version, error.error.reason()),
            (version, reason),
            "{text}"
        );
    }
}

#[test]
fn the_private_fields_of_a_publish() {
    for (first_byte, dup, qos, retain) in [
        (0x30, false, 0, false),
        (0x31, false, 0, true),
        (0x32, false, 1, false),
        (0x3B, true, 1, true),
        (0x3C, true, 2, false),
    ] {
        let mut body = BytesMut::from("\0\x07Öfen/1".as_bytes());
        let packet_id = if qos > 0 { 0xABCD } else { 0 };
        if qos > 0 {
            body.put_u16(packet_id);
        }
        let topic = String::from("Öfen/1");
        let payload = Bytes::from_static(b"hot");
        let expected = Publish {
            dup,
            qos,
            retain,
            packet_id,
            topic,
            payload,
            properties: None,
        };
        for version in [Version::V4, Version::V5] {
            let mut body = body.clone();
            if version == Version::V5 {
                body.put_u8(0);
            }
            body.extend_from_slice(b"hot");
            let decoded = decode(version, packet(first_byte, &body));
            assert_eq!(
                decoded,
                Ok(Some(Incoming::Publish(expected.clone()))),
                "{first_byte:x}"
            );
        }
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn packets_of_a_client() {
    let disconnect = |will, expiry| Incoming::Disconnect { will, expiry };
    let subscribe = |retain_handling, no_local, id| {
        let filter = Filter {
            path: "a/#".into(),
            qos: 2,
            no_local,
            retain_as_published: no_local,
            retain_handling,
        };
        let filters = vec![filter];
        Incoming::Subscribe(Subscribe {
            packet_id: 7,
            filters,
            subscription_id: id,
        })
    };
    let unsubscribe = Incoming::Unsubscribe {
        packet_id: 7,
        filters: vec!["a".into(), "b/+".into()],
    };
    for (version, bytes, expected) in [
        (Version::V4, packet(0xC0, b""), Incoming::PingReq),
        (Version::V4, packet(0xE0, b""), disconnect(false, None)),
        (Version::V5, packet(0xE0, b""), disconnect(false, None)),
        (Version::V5, packet(0xE0, b"\0"), disconnect(false, None)),
        (Version::V5, packet(0xE0, b"\x04"), disconnect(true, None)),
        (Version::V5, packet(0xE0, b"\x04\0"), disconnect(true, None)),
        (
            Version::V5,
            packet(0xE0, b"\0\x05\x11\0\0\0\x09"),
            disconnect(false, Some(9)),
        ),
        (
            Version::V4,
            packet(0x40, b"\0\x09"),
            Incoming::PubAck { packet_id: 9 },
        ),
        (
            Version::V5,
            packet(0x40, b"\0\x09"),
            Incoming::PubAck { packet_id: 9 },
        ),
        (
            Version::V5,
            packet(0x40, b"\0\x09\x10"),
            Incoming::PubAck { packet_id: 9 },
        ),
        (
            Version::V5,
            packet(0x40, b"\0\x09\x80\0"),
            Incoming::PubAck { packet_id: 9 },
        ),
        (
            Version::V4,
            packet(0x82, b"\0\x07\0\x03a/#\x02"),
            subscribe(RetainHandling::Always, false, None),
        ),
        (
            Version::V5,
            packet(0x82, b"\0\x07\x02\x0B\x05\0\x03a/#\x2E"),
            subscribe(RetainHandling::Never, true, Some(5)),
        ),
        (
            Version::V4,
            packet(0xA2, b"\0\x07\0\x01a\0\x03b/+"),
            unsubscribe.clone(),
        ),
        (
            Version::V5,
            packet(0xA2, b"\0\x07\0\0\x01a\0\x03b/+"),
            unsubscribe,
        ),
    ] {
        let text = format!("{version:?} {bytes:?}");
        assert_eq!(decode(version, bytes), Ok(Some(expected)), "{text}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn malformed_packets_are_errors_and_nothing_else() {
    use Reason::{MalformedPacket as Malformed, PacketTooLarge, ProtocolError};
    let both = [Version::V4, Version::V5];
    let raw = |bytes: &[u8]| BytesMut::from(bytes);
    for (versions, bytes, reason) in [
        // What a server sends: the codec would panic.
        (&both[..], raw(&[0x20, 2, 0, 0]), ProtocolError),
        (&both, raw(&[0xB0, 2, 0, 1]), ProtocolError),
        (&both, raw(&[0x90, 3, 0, 1, 0]), ProtocolError),
        (&both, raw(&[0xD0, 0]), ProtocolError),
        (&both, raw(&[0xF0, 0]), ProtocolError),
        (&both, raw(&[0x00, 0]), ProtocolError),
        // A second CONNECT.
        (&both, connect(Version::V5, 0, "a"), ProtocolError),
        // QoS 2 and what belongs to it.
        (&both, raw(&[0x36, 2, 0, 1]), Malformed),
        (&both, raw(&[0x38, 3, 0, 1, b't']), Malformed),
        (&both, raw(&[0x50, 2, 0, 1]), ProtocolError),
        (&both, raw(&[0x62, 2, 0, 1]), ProtocolError),
        (&both, raw(&[0x70, 2, 0, 1]), ProtocolError),
        // Reserved flags.
        (&both, raw(&[0x80, 2, 0, 1]), Malformed),
        (&both, raw(&[0xC1, 0]), Malformed),
        (&both, raw(&[0xE1, 0]), Malformed),
        // Lengths.
        (&both, raw(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]), Malformed),
        (&both, raw(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]), PacketTooLarge),
        (&both, raw(&[0x30, 0]), Malformed),
        (&both, raw(&[0x30, 1, 0]), Malformed),
        (&both, raw(&[0x30, 3, 0, 9, b't']), Malformed),
        (&both, raw(&[0x32, 3, 0, 1, b't']), Malformed),
        (&both, raw(&[0x32, 6, 0, 1, b't', 0, 0, 0]), Malformed),
        (&both, raw(&[0x40, 1, 0]), Malformed),
        (&[Version::V4], raw(&[0x40, 3, 0, 1, 0]), Malformed),
        (&both, raw(&[0x30, 4, 0, 2, 0xFF, 0xFE]), Malformed),
        // SUBSCRIBE and UNSUBSCRIBE without id, filter or options.
        (&both, raw(&[0x82, 1, 0]), Malformed),
        (&both, raw(&[0x82, 3, 0, 1, 0]), Malformed),
        (
            &[Version::V4],
            raw(&[0x82, 6, 0, 0, 0, 1, b'a', 0]),
            ProtocolError,
        ),
        (&[Version::V4], raw(&[0x82, 5, 0, 1, 0, 1, b'a']), Malformed),
        (
            &[Version::V4],
            raw(&[0x82, 6, 0, 1, 0, 1, b'a', 3]),
            Malformed,
        ),
        (
            &[Version::V5],
            raw(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30]),
            Malformed,
        ),
        (
            &[Version::V5],
            raw(&[0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, b'a', 0]),
            ProtocolError,
        ),
        (&[Version::V4], raw(&[0xA2, 2, 0, 1]), ProtocolError),
        (&[Version::V5], raw(&[0xA2, 3, 0, 1, 0]), ProtocolError),
        (&[Version::V4], raw(&[0xA2, 4, 0, 1, 0, 9]), Malformed),
        // Properties: unknown, cut off, longer than the packet.
        (
            &[Version::V5],
            raw(&[0x30, 6, 0, 1, b't', 2, 0x7F, 0]),
            Malformed,
        ),
        (
            &[Version::V5],
            raw(&[0x30, 5, 0, 1, b't', 1, 0x01]),
            Malformed,
        ),
        (
            &[Version::V5],
            raw(&[0x30, 5, 0, 1, b't', 9, 0x01]),
            Malformed,
        ),
        (&[Version::V5], raw(&[0x30, 4, 0, 1, b't', 0xFF]), Malformed),
        (&[Version::V5], raw(&[0xE0, 1, 0x7F]), Malformed),
        (&[Version::V4], raw(&[0xE0, 1, 0]), Malformed),
    ] {
        for version in versions {
            let text = format!("{version:?} {bytes:02x?}");
            match decode(*version, bytes.clone()) {
                Err(error) => assert_eq!(error.reason(), reason, "{text}: {error}"),
                Ok(decoded) => panic!("{text}: {decoded:?}"),
            }
        }
    }
}

#[test]
fn a_decoded_payload_does_not_hold_the_read_buffer() {
    let mut buffer = packet(0x30, b"\0\x01t\0payload");
    let Ok(Some(Incoming::Publish(publish))) = codec(Version::V5).decode(&mut buffer) else {
        panic!("no publish");
    };
    assert_eq!(publish.payload, "payload");
    assert!(buffer.try_reclaim(12), "the whole allocation is free again");
}

fn encode(version: Version, packet: Outgoing) -> BytesMut {
    let mut buffer = BytesMut::new();
    codec(version).encode(packet, &mut buffer).unwrap();
    buffer
}

fn deliver(properties: Option<PublishProperties>) -> Deliver {
    Deliver {
        dup: true,
        qos: 1,
        retain: true,
        packet_id: 0x0102,
        topic: "t".into(),
        payload: "x".into(),
        properties,
    }
}

#[test]
fn publishes_of_either_version() {
    let properties = PublishProperties {
        content_type: Some("c".into()),
        ..PublishProperties::default()
    };
    for (version, properties, expected) in [
        (Version::V4, None, &b"\x3B\x06\0\x01t\x01\x02x"[..]),
        (
            Version::V4,
            Some(properties.clone()),
            b"\x3B\x06\0\x01t\x01\x02x",
        ),
        (Version::V5, None, b"\x3B\x07\0\x01t\x01\x02\0x"),
        (
            Version::V5,
            Some(properties),
            b"\x3B\x0B\0\x01t\x01\x02\x04\x03\0\x01cx",
        ),
    ] {
        let bytes = encode(version, Outgoing::Publish(deliver(properties)));
        assert_eq!(&bytes[..], expected, "{version:?}");
    }
}

#[test]
fn what_can_not_be_written_leaves_no_trace() {
    let mut buffer = BytesMut::from(&b"before"[..]);
    let topic = Bytes::from(vec![b'a'; 65_536]);
    let packet = Outgoing::Publish(Deliver {
        topic,
        ..deliver(None)
    });
    let result = codec(Version::V5).encode(packet, &mut buffer);
    assert_eq!(result, Err(EncodeError::FieldTooLong));
    let packet = Outgoing::Publish(Deliver {
        packet_id: 0,
        ..deliver(None)
    });
    assert!(codec(Version::V5).encode(packet, &mut buffer).is_err());
    assert_eq!(&buffer[..], b"before");
}

#[test]
fn every_reason_can_be_written_in_every_packet() {
    let reasons = [
        Reason::Success,
        Reason::NoSubscriptionExisted,
        Reason::Unspecified,
        Reason::MalformedPacket,
        Reason::ProtocolError,
        Reason::ImplementationSpecific,
        Reason::UnsupportedProtocolVersion,
        Reason::ClientIdentifierNotValid,
        Reason::NotAuthorized,
        Reason::ServerUnavailable,
        Reason::ServerShuttingDown,
        Reason::BadAuthenticationMethod,
        Reason::KeepAliveTimeout,
        Reason::SessionTakenOver,
        Reason::TopicFilterInvalid,
        Reason::TopicNameInvalid,
        Reason::ReceiveMaximumExceeded,
        Reason::TopicAliasInvalid,
        Reason::PacketTooLarge,
        Reason::QosNotSupported,
        Reason::SharedSubscriptionsNotSupported,
    ];
    for reason in reasons {
        let ack = ConnAck {
            session_present: false,
            reason,
            detail: Some("why".into()),
            offer: Some(Offer {
                assigned_client_id: Some("id".into()),
                receive_maximum: 10,
                max_packet_bytes: 1000,
            }),
        };
        let packets = [
            Outgoing::ConnAck(Box::new(ack)),
            Outgoing::PubAck {
                packet_id: 1,
                reason,
            },
            Outgoing::SubAck {
                packet_id: 1,
                codes: vec![Ok(0), Ok(1), Err(reason)],
            },
            Outgoing::UnsubAck {
                packet_id: 1,
                reasons: vec![reason],
            },
            Outgoing::Disconnect {
                reason,
                detail: Some("ü".repeat(1000)),
            },
            Outgoing::PingResp,
        ];
        for packet in packets {
            let mut v4 = encode(Version::V4, packet.clone());
            if !v4.is_empty() && !matches!(packet, Outgoing::UnsubAck { .. }) {
                V4.read_mut(&mut v4, MAX).unwrap();
                assert!(v4.is_empty());
            }
            let mut v5 = encode(Version::V5, packet.clone());
            // The codec has no way to read these two.
            if !matches!(packet, Outgoing::ConnAck(_) | Outgoing::UnsubAck { .. }) {
                V5.read_mut(&mut v5, MAX).unwrap();
                assert!(v5.is_empty(), "{packet:?} leaves {v5:?}");
            }
        }
    }
}

#[test]
fn a_goodbye_says_why() {
    let packet = Outgoing::Disconnect {
        reason: Reason::SessionTakenOver,
        detail: None,
    };
    let Packet::Disconnect(goodbye, _) = V5
        .read_mut(&mut encode(Version::V5, packet.clone()), MAX)
        .unwrap()
    else {
        panic!("no DISCONNECT");
    };
    assert_eq!(goodbye.reason_code, DisconnectReasonCode::SessionTakenOver);
    assert!(encode(Version::V4, packet).is_empty());
}

proptest! {
    #[test]
    fn no_bytes_panic(first in prop::sample::select(vec![
        0x10_u8, 0x30, 0x32, 0x3A, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0,
    ]), body in prop::collection::vec(any::<u8>(), 0..64), v5 in any::<bool>()) {
        let version = if v5 { Version::V5 } else { Version::V4 };
        let _ = decode(version, packet(first, &body));
        let mut bytes = packet(first, &body);
        let _ = decode_first(&mut bytes, MAX);
    }

    #[test]
    fn no_damaged_connect_panics(at in 0_usize..40, byte in any::<u8>(), cut in 0_usize..40) {
        let mut body = b"\0\x04MQTT\x05\xEE\0\x0A\x05\x11\0\0\0\x09\0\x02id".to_vec();
        body.extend_from_slice(b"\x05\x18\0\0\0\x01\0\x01w\0\x01m\0\x01u\0\x01p");
        if let Some(target) = body.get_mut(at) {
            *target = byte;
        }
        body.truncate(body.len().saturating_sub(cut));
        let _ = decode_first(&mut packet(0x10, &body), MAX);
    }

    #[test]
    fn deliveries_arrive_as_they_were_sent(
        topic in "[a-zé/]{1,20}",
        payload in prop::collection::vec(any::<u8>(), 0..300),
        packet_id in 1_u16..,
        retain in any::<bool>(),
        v5 in any::<bool>(),
    ) {
        let version = if v5 { Version::V5 } else { Version::V4 };
        let packet = Outgoing::Publish(Deliver {
            dup: false,
            qos: 1,
            retain,
            packet_id,
            topic: topic.clone().into(),
            payload: payload.clone().into(),
            properties: None,
        });
        let mut bytes = encode(version, packet);
        let payload = Bytes::from(payload);
        let expected = Publish {
            dup: false, qos: 1, retain, packet_id, topic, payload, properties: None,
        };
        prop_assert_eq!(
            codec(version).decode(&mut bytes),
            Ok(Some(Incoming::Publish(expected)))
        );
        prop_assert!(bytes.is_empty());
    }
}
