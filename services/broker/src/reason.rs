//! Why a packet was refused or a connection ended, in the words of MQTT 5.

/// The reason codes this broker says \[MQTT5 §2.4\]; 3.1.1 knows few of them and mostly just
/// closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    Success = 0x00,
    NoSubscriptionExisted = 0x11,
    Unspecified = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecific = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    QosNotSupported = 0x9B,
    SharedSubscriptionsNotSupported = 0x9E,
}

impl Reason {
    pub fn code(self) -> u8 {
        self as u8
    }

    /// From 0x80 on a code says that something failed.
    pub fn is_failure(self) -> bool {
        self.code() >= 0x80
    }
}

/// How a connection came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said goodbye \[MQTT-3.14\]; `will` when it asked for its will all the same.
    /// `expiry` replaces the session's expiry, in seconds.
    Disconnected {
        will: bool,
        expiry: Option<u32>,
    },
    /// The socket was closed or broke.
    Lost {
        detail: String,
    },
    /// The client broke the protocol or asked for what is not offered.
    Refused {
        reason: Reason,
        detail: String,
    },
    /// The log could not tell whether a message was stored; the client has to send it again.
    Unavailable {
        detail: String,
    },
    /// A newer connection of the same client id, here or on another node.
    TakenOver,
    KeepAliveTimeout,
    ShuttingDown,
}

impl End {
    pub fn refused(reason: Reason, detail: impl Into<String>) -> End {
        End::Refused {
            reason,
            detail: detail.into(),
        }
    }

    /// What an MQTT 5 client is told; `None` when there is nobody to tell or nothing to say.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            End::Disconnected { .. } | End::Lost { .. } => None,
            End::Refused { reason, .. } => Some(*reason),
            End::Unavailable { .. } => Some(Reason::ServerUnavailable),
            End::TakenOver => Some(Reason::SessionTakenOver),
            End::KeepAliveTimeout => Some(Reason::KeepAliveTimeout),
            End::ShuttingDown => Some(Reason::ServerShuttingDown),
        }
    }

    /// Whether the will is to be published \[MQTT-3.1.2-8\]. A node that shuts down publishes none:
    /// its clients go on at another node.
    pub fn publishes_will(&self) -> bool {
        match self {
            End::Disconnected { will, .. } => *will,
            End::ShuttingDown => false,
            End::Lost { .. }
            | End::Refused { .. }
            | End::Unavailable { .. }
            | End::TakenOver
            | End::KeepAliveTimeout => true,
        }
    }
}
