//! MQTT packets as sessions see them: one form for both versions, owning all they hold.

use bytes::Bytes;
use rumqttd::protocol::PublishProperties;

use crate::reason::Reason;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// 3.1.1
    V4,
    V5,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    Connect(Box<Connect>),
    Publish(Publish),
    PubAck {
        packet_id: u16,
    },
    Subscribe(Subscribe),
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    PingReq,
    /// `will`: with another reason than a normal end \[MQTT-3.14.4-3\].
    Disconnect {
        will: bool,
        expiry: Option<u32>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    pub client_id: String,
    pub clean_start: bool,
    /// Seconds; 0 means that none is asked for.
    pub keep_alive: u16,
    /// Seconds the session outlives the connection; `u32::MAX` for ever \[MQTT5 §3.1.2.11.2\].
    pub session_expiry: u32,
    /// `QoS` 1 messages the client takes before it acknowledges; absent, the version's default.
    pub receive_maximum: Option<u16>,
    /// The largest packet the client takes.
    pub max_packet_bytes: Option<u32>,
    pub authentication_method: Option<String>,
    pub will: Option<Will>,
}

/// What is published when the connection does not end with a DISCONNECT \[MQTT-3.1.2-8\].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub publish: Publish,
    pub delay_seconds: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    /// 0 with `QoS` 0.
    pub packet_id: u16,
    pub topic: String,
    pub payload: Bytes,
    pub properties: Option<PublishProperties>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: u16,
    pub filters: Vec<Filter>,
    pub subscription_id: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub path: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent \[MQTT5 §3.8.3.1\].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    #[default]
    Always,
    IfNew,
    Never,
}

/// What the broker sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    ConnAck(Box<ConnAck>),
    Publish(Deliver),
    PubAck {
        packet_id: u16,
        reason: Reason,
    },
    /// Granted `QoS` or the reason of each filter.
    SubAck {
        packet_id: u16,
        codes: Vec<Result<u8, Reason>>,
    },
    UnsubAck {
        packet_id: u16,
        reasons: Vec<Reason>,
    },
    PingResp,
    Disconnect {
        reason: Reason,
        detail: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    pub session_present: bool,
    pub reason: Reason,
    pub detail: Option<String>,
    /// What the broker offers; absent when it refuses.
    pub offer: Option<Offer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub assigned_client_id: Option<String>,
    pub receive_maximum: u16,
    pub max_packet_bytes: u32,
}

/// A message on its way to one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    /// 0 with `QoS` 0.
    pub packet_id: u16,
    pub topic: Bytes,
    pub payload: Bytes,
    /// Not written to a 3.1.1 client.
    pub properties: Option<PublishProperties>,
}
