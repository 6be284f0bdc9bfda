//! Our reasons in the words of the codec, which has an enum for each kind of packet.

use rumqttd::protocol::{
    ConnectReturnCode, DisconnectReasonCode, PubAckReason, SubscribeReasonCode, UnsubAckReason,
};

use crate::packet::Version;
use crate::reason::Reason;

/// Return codes of 3.1.1 are few \[MQTT §3.2.2.3\], and the codec panics on one of version 5.
pub(super) fn connect(version: Version, reason: Reason) -> ConnectReturnCode {
    use ConnectReturnCode as Code;
    match (version, reason) {
        (_, Reason::Success) => Code::Success,
        (Version::V4, Reason::UnsupportedProtocolVersion) => Code::RefusedProtocolVersion,
        (_, Reason::ClientIdentifierNotValid) => Code::ClientIdentifierNotValid,
        (_, Reason::NotAuthorized) => Code::NotAuthorized,
        (Version::V4, _) => Code::ServiceUnavailable,
        (Version::V5, Reason::MalformedPacket) => Code::MalformedPacket,
        (Version::V5, Reason::ProtocolError) => Code::ProtocolError,
        (Version::V5, Reason::UnsupportedProtocolVersion) => Code::UnsupportedProtocolVersion,
        (Version::V5, Reason::ServerUnavailable | Reason::ServerShuttingDown) => {
            Code::ServerUnavailable
        }
        (Version::V5, Reason::BadAuthenticationMethod) => Code::BadAuthenticationMethod,
        (Version::V5, Reason::TopicNameInvalid) => Code::TopicNameInvalid,
        (Version::V5, Reason::PacketTooLarge) => Code::PacketTooLarge,
        (Version::V5, Reason::QosNotSupported) => Code::QoSNotSupported,
        (Version::V5, Reason::ImplementationSpecific) => Code::ImplementationSpecificError,
        (Version::V5, _) => Code::UnspecifiedError,
    }
}

pub(super) fn disconnect(reason: Reason) -> DisconnectReasonCode {
    use DisconnectReasonCode as Code;
    match reason {
        Reason::Success => Code::NormalDisconnection,
        Reason::MalformedPacket => Code::MalformedPacket,
        Reason::ProtocolError => Code::ProtocolError,
        Reason::ImplementationSpecific => Code::ImplementationSpecificError,
        Reason::NotAuthorized => Code::NotAuthorized,
        Reason::ServerUnavailable => Code::ServerBusy,
        Reason::ServerShuttingDown => Code::ServerShuttingDown,
        Reason::KeepAliveTimeout => Code::KeepAliveTimeout,
        Reason::SessionTakenOver => Code::SessionTakenOver,
        Reason::TopicFilterInvalid => Code::TopicFilterInvalid,
        Reason::TopicNameInvalid => Code::TopicNameInvalid,
        Reason::ReceiveMaximumExceeded => Code::ReceiveMaximumExceeded,
        Reason::TopicAliasInvalid => Code::TopicAliasInvalid,
        Reason::PacketTooLarge => Code::PacketTooLarge,
        Reason::QosNotSupported => Code::QoSNotSupported,
        Reason::SharedSubscriptionsNotSupported => Code::SharedSubscriptionNotSupported,
        Reason::NoSubscriptionExisted
        | Reason::Unspecified
        | Reason::UnsupportedProtocolVersion
        | Reason::ClientIdentifierNotValid
        | Reason::BadAuthenticationMethod => Code::UnspecifiedError,
    }
}

pub(super) fn puback(reason: Reason) -> PubAckReason {
    match reason {
        Reason::Success => PubAckReason::Success,
        Reason::NotAuthorized => PubAckReason::NotAuthorized,
        Reason::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        Reason::ImplementationSpecific => PubAckReason::ImplementationSpecificError,
        _ => PubAckReason::UnspecifiedError,
    }
}

pub(super) fn suback(version: Version, code: Result<u8, Reason>) -> SubscribeReasonCode {
    use SubscribeReasonCode as Code;
    match (version, code) {
        (_, Ok(0)) => Code::QoS0,
        (_, Ok(_)) => Code::QoS1,
        (Version::V4, Err(_)) => Code::Failure,
        (Version::V5, Err(Reason::TopicFilterInvalid)) => Code::TopicFilterInvalid,
        (Version::V5, Err(Reason::NotAuthorized)) => Code::NotAuthorized,
        (Version::V5, Err(Reason::SharedSubscriptionsNotSupported)) => {
            Code::SharedSubscriptionsNotSupported
        }
        (Version::V5, Err(Reason::ImplementationSpecific)) => Code::ImplementationSpecific,
        (Version::V5, Err(_)) => Code::Unspecified,
    }
}

pub(super) fn unsuback(reason: Reason) -> UnsubAckReason {
    match reason {
        Reason::Success => UnsubAckReason::Success,
        Reason::NoSubscriptionExisted => UnsubAckReason::NoSubscriptionExisted,
        Reason::TopicFilterInvalid => UnsubAckReason::TopicFilterInvalid,
        _ => UnsubAckReason::UnspecifiedError,
    }
}
