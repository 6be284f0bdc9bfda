//! From our packets to the codec's.

use bytes::{Bytes, BytesMut};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{
    self as wire, ConnAckProperties, DisconnectProperties, Packet, Protocol, UnsubAck,
};

use super::reasons;
use crate::packet::{ConnAck, Deliver, Outgoing, Version};

/// Strings and binary data carry a length of two bytes \[MQTT-1.5.3\].
const MAX_FIELD_BYTES: usize = u16::MAX as usize;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("a field of the packet is longer than {MAX_FIELD_BYTES} bytes")]
    FieldTooLong,
    #[error("can't be written: {0}")]
    Codec(String),
}

/// Writes `packet`; nothing when the version has no such packet.
pub(super) fn write(
    version: Version,
    packet: Outgoing,
    buffer: &mut BytesMut,
) -> Result<(), EncodeError> {
    let Some(packet) = to_wire(version, packet)? else {
        return Ok(());
    };
    let written = match version {
        Version::V4 => V4.write(packet, buffer),
        Version::V5 => V5.write(packet, buffer),
    };
    written
        .map(drop)
        .map_err(|error| EncodeError::Codec(error.to_string()))
}

/// The codec panics when a packet of 3.1.1 comes with properties.
fn to_wire(version: Version, packet: Outgoing) -> Result<Option<Packet>, EncodeError> {
    Ok(Some(match packet {
        Outgoing::ConnAck(ack) => connack(version, *ack),
        Outgoing::Publish(deliver) => publish(version, deliver)?,
        Outgoing::PubAck {
            packet_id: pkid,
            reason,
        } => Packet::PubAck(
            wire::PubAck {
                pkid,
                reason: reasons::puback(reason),
            },
            None,
        ),
        Outgoing::SubAck {
            packet_id: pkid,
            codes,
        } => {
            let codes = codes.into_iter().map(|code| reasons::suback(version, code));
            Packet::SubAck(
                wire::SubAck {
                    pkid,
                    return_codes: codes.collect(),
                },
                None,
            )
        }
        Outgoing::UnsubAck {
            packet_id: pkid,
            reasons,
        } => {
            let reasons = reasons.into_iter().map(reasons::unsuback).collect();
            Packet::UnsubAck(UnsubAck { pkid, reasons }, None)
        }
        Outgoing::PingResp => Packet::PingResp(wire::PingResp),
        // A server of 3.1.1 says nothing, it closes [MQTT §3.14].
        Outgoing::Disconnect { .. } if version == Version::V4 => return Ok(None),
        Outgoing::Disconnect { reason, detail } => {
            // Without a property the codec writes a wrong length or leaves the reason out.
            let detail = detail.unwrap_or_else(|| "closed by the broker".into());
            let properties = DisconnectProperties {
                session_expiry_interval: None,
                reason_string: Some(shortened(detail)),
                user_properties: Vec::new(),
                server_reference: None,
            };
            let disconnect = wire::Disconnect {
                reason_code: reasons::disconnect(reason),
            };
            Packet::Disconnect(disconnect, Some(properties))
        }
    }))
}

fn connack(version: Version, ack: ConnAck) -> Packet {
    let properties = (version == Version::V5).then(|| {
        let mut properties = ConnAckProperties {
            reason_string: ack.detail.map(shortened),
            ..Default::default()
        };
        if let Some(offer) = ack.offer {
            properties.max_qos = Some(1);
            properties.shared_subscription_available = Some(0);
            properties.receive_max = Some(offer.receive_maximum);
            properties.max_packet_size = Some(offer.max_packet_bytes);
            properties.assigned_client_identifier = offer.assigned_client_id;
        }
        properties
    });
    let code = reasons::connect(version, ack.reason);
    Packet::ConnAck(
        wire::ConnAck {
            session_present: ack.session_present,
            code,
        },
        properties,
    )
}

/// `dup`, `qos` and `pkid` of the codec's type are private: an empty message that carries them is
/// read by [`wire::Publish::deserialize`] and filled afterwards.
fn publish(version: Version, deliver: Deliver) -> Result<Packet, EncodeError> {
    if deliver.topic.len() > MAX_FIELD_BYTES {
        return Err(EncodeError::FieldTooLong);
    }
    let first_byte =
        0x30 | u8::from(deliver.dup) << 3 | deliver.qos << 1 | u8::from(deliver.retain);
    let [id_high, id_low] = deliver.packet_id.to_be_bytes();
    let empty = Bytes::copy_from_slice(&[first_byte, id_high, id_low, 0, 0]);
    let mut publish = wire::Publish::deserialize(empty);
    publish.topic = deliver.topic;
    publish.payload = deliver.payload;
    let properties = deliver.properties.filter(|_| version == Version::V5);
    Ok(Packet::Publish(publish, properties))
}

/// A text for people, cut where the codec would write a wrong length.
fn shortened(mut text: String) -> String {
    const MAX_DETAIL_BYTES: usize = 512;

    let mut end = MAX_DETAIL_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
