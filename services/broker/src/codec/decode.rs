//! From the codec's packets to ours, with the checks that it leaves out.

use bytes::Bytes;
use rumqttd::protocol::{
    self as wire, ConnectProperties, DisconnectReasonCode, LastWill, LastWillProperties, Packet,
    PublishProperties, RetainForwardRule, SubscribeProperties,
};

use super::DecodeError;
use crate::packet::{Connect, Filter, Incoming, Publish, RetainHandling, Subscribe, Version, Will};

pub(super) fn incoming(version: Version, packet: Packet) -> Result<Incoming, DecodeError> {
    match packet {
        Packet::Connect(connect, properties, will, will_properties, _) => {
            let will = will
                .map(|will| self::will(will, will_properties))
                .transpose()?;
            self::connect(version, connect, properties, will)
        }
        Packet::Publish(publish, properties) => self::publish(publish, properties),
        Packet::PubAck(ack, _) => Ok(Incoming::PubAck {
            packet_id: ack.pkid,
        }),
        Packet::Subscribe(subscribe, properties) => self::subscribe(subscribe, properties),
        Packet::Unsubscribe(unsubscribe, _) => self::unsubscribe(unsubscribe),
        Packet::PingReq(_) => Ok(Incoming::PingReq),
        Packet::Disconnect(disconnect, properties) => Ok(Incoming::Disconnect {
            will: disconnect.reason_code != DisconnectReasonCode::NormalDisconnection,
            expiry: properties.and_then(|properties| properties.session_expiry_interval),
        }),
        Packet::PubRec(..) | Packet::PubRel(..) | Packet::PubComp(..) => {
            Err(DecodeError::Protocol("QoS 2 is not supported"))
        }
        _ => Err(DecodeError::Protocol("a packet that only a server sends")),
    }
}

fn connect(
    version: Version,
    connect: wire::Connect,
    properties: Option<ConnectProperties>,
    will: Option<Will>,
) -> Result<Incoming, DecodeError> {
    let properties = properties.as_ref();
    let receive_maximum = properties.and_then(|p| p.receive_maximum);
    let max_packet_bytes = properties.and_then(|p| p.max_packet_size);
    if receive_maximum == Some(0) || max_packet_bytes == Some(0) {
        return Err(DecodeError::Protocol(
            "Receive Maximum and Maximum Packet Size can't be 0",
        ));
    }
    if connect.client_id.contains('\0') {
        return Err(DecodeError::Malformed(
            "null character in the client id".into(),
        ));
    }
    let session_expiry = match version {
        Version::V4 if connect.clean_session => 0,
        Version::V4 => u32::MAX,
        Version::V5 => properties
            .and_then(|p| p.session_expiry_interval)
            .unwrap_or(0),
    };
    Ok(Incoming::Connect(Box::new(Connect {
        version,
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        session_expiry,
        receive_maximum,
        max_packet_bytes,
        authentication_method: properties.and_then(|p| p.authentication_method.clone()),
        client_id: connect.client_id,
        will,
    })))
}

fn will(will: LastWill, properties: Option<LastWillProperties>) -> Result<Will, DecodeError> {
    let delay_seconds = properties
        .as_ref()
        .and_then(|p| p.delay_interval)
        .unwrap_or(0);
    let properties = properties.map(|p| PublishProperties {
        payload_format_indicator: p.payload_format_indicator,
        message_expiry_interval: p.message_expiry_interval,
        response_topic: p.response_topic,
        correlation_data: p.correlation_data,
        user_properties: p.user_properties,
        content_type: p.content_type,
        ..PublishProperties::default()
    });
    let publish = Publish {
        qos: will.qos as u8,
        retain: will.retain,
        topic: utf8(&will.topic)?,
        payload: Bytes::copy_from_slice(&will.message),
        properties: properties.map(owned),
        ..Publish::default()
    };
    Ok(Will {
        publish,
        delay_seconds,
    })
}

/// `dup`, `qos` and `pkid` of the codec's type are private: what [`wire::Publish::serialize`]
/// writes of an empty message holds them.
fn publish(
    mut publish: wire::Publish,
    properties: Option<PublishProperties>,
) -> Result<Incoming, DecodeError> {
    let topic = utf8(&std::mem::take(&mut publish.topic))?;
    let payload = Bytes::copy_from_slice(&std::mem::take(&mut publish.payload));
    let private = publish.serialize();
    let [first_byte, id_high, id_low, ..] = private[..] else {
        return Err(DecodeError::Malformed("no fixed header".into()));
    };
    Ok(Incoming::Publish(Publish {
        dup: first_byte & 0b1000 != 0,
        qos: first_byte >> 1 & 0b11,
        retain: publish.retain,
        packet_id: u16::from_be_bytes([id_high, id_low]),
        topic,
        payload,
        properties: properties.map(owned),
    }))
}

/// The same without slices of the read buffer.
fn owned(mut properties: PublishProperties) -> PublishProperties {
    let data = properties.correlation_data.take();
    properties.correlation_data = data.map(|data| Bytes::copy_from_slice(&data));
    properties
}

fn subscribe(
    subscribe: wire::Subscribe,
    properties: Option<SubscribeProperties>,
) -> Result<Incoming, DecodeError> {
    let id = properties.and_then(|properties| properties.id);
    if id == Some(0) {
        return Err(DecodeError::Protocol(
            "subscription identifier 0 [MQTT5 §3.8.2.1.2]",
        ));
    }
    let filters = subscribe.filters.into_iter().map(|filter| Filter {
        path: filter.path,
        qos: filter.qos as u8,
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain_handling: match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            RetainForwardRule::OnNewSubscribe => RetainHandling::IfNew,
            RetainForwardRule::Never => RetainHandling::Never,
        },
    });
    Ok(Incoming::Subscribe(Subscribe {
        packet_id: packet_id(subscribe.pkid)?,
        filters: filters.collect(),
        subscription_id: id.and_then(|id| u32::try_from(id).ok()),
    }))
}

fn unsubscribe(unsubscribe: wire::Unsubscribe) -> Result<Incoming, DecodeError> {
    if unsubscribe.filters.is_empty() {
        return Err(DecodeError::Protocol(
            "UNSUBSCRIBE without a filter [MQTT-3.10.3-2]",
        ));
    }
    Ok(Incoming::Unsubscribe {
        packet_id: packet_id(unsubscribe.pkid)?,
        filters: unsubscribe.filters,
    })
}

fn packet_id(id: u16) -> Result<u16, DecodeError> {
    match id {
        0 => Err(DecodeError::Protocol("packet identifier 0 [MQTT-2.3.1-1]")),
        id => Ok(id),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned)
        .map_err(|_| DecodeError::Malformed("topic is not UTF-8".into()))
}
