//! Bytes to packets and back, over the codec of rumqttd.
//!
//! That codec panics on some input and accepts some that the standard forbids, so every frame is
//! checked before (`frame`) and after it (`decode`), and nothing it returns keeps the read
//! buffer alive: payloads are copied out.

mod decode;
mod encode;
mod frame;
mod reasons;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{Packet, Protocol};

pub use encode::EncodeError;
pub use frame::{ConnectHeadError, FrameError};

use crate::packet::{Connect, Incoming, Outgoing, Version};
use crate::reason::Reason;
use frame::{CONNECT, DISCONNECT, Frame};

/// Why bytes of a client are not a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    ConnectHead(#[from] ConnectHeadError),
    #[error("malformed packet: {0}")]
    Malformed(String),
    #[error("{0}")]
    Protocol(&'static str),
}

impl DecodeError {
    pub fn reason(&self) -> Reason {
        match self {
            DecodeError::Frame(FrameError::TooLarge { .. }) => Reason::PacketTooLarge,
            DecodeError::Frame(FrameError::Type(_)) | DecodeError::Protocol(_) => {
                Reason::ProtocolError
            }
            DecodeError::ConnectHead(ConnectHeadError::Level(_)) => {
                Reason::UnsupportedProtocolVersion
            }
            _ => Reason::MalformedPacket,
        }
    }
}

/// Reads and writes the packets of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    pub version: Version,
    /// The largest packet that is read.
    pub max_packet_bytes: usize,
}

/// The first packet of a connection was no CONNECT that can be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct FirstPacketError {
    /// Which version to answer in; absent when nothing that is known of it would be understood.
    pub version: Option<Version>,
    pub error: DecodeError,
}

/// Takes a CONNECT, the first packet of a connection, out of `buffer`; `None` while it is
/// incomplete \[MQTT-3.1.0-1\].
pub fn decode_first(
    buffer: &mut BytesMut,
    max_packet_bytes: usize,
) -> Result<Option<Connect>, FirstPacketError> {
    let unknown = |error| FirstPacketError {
        version: None,
        error,
    };
    let frame = Frame::read(buffer, max_packet_bytes).map_err(|error| unknown(error.into()))?;
    if buffer.first().is_some_and(|byte| byte >> 4 != CONNECT) {
        return Err(unknown(DecodeError::Protocol(
            "the first packet must be CONNECT",
        )));
    }
    let Some(frame) = complete(frame, buffer) else {
        return Ok(None);
    };
    let version = match frame::connect_version(&buffer[frame.header_bytes..frame.total_bytes()]) {
        Ok(version) => version,
        Err(error) => {
            let version = match error {
                ConnectHeadError::Level(level) if level > 5 => Some(Version::V5),
                ConnectHeadError::Level(_) => Some(Version::V4),
                _ => None,
            };
            return Err(FirstPacketError {
                version,
                error: error.into(),
            });
        }
    };
    match (Codec {
        version,
        max_packet_bytes,
    })
    .take(buffer, frame)
    {
        Ok(Incoming::Connect(connect)) => Ok(Some(*connect)),
        Ok(_) => Err(unknown(DecodeError::Protocol(
            "the first packet must be CONNECT",
        ))),
        Err(error) => Err(FirstPacketError {
            version: Some(version),
            error,
        }),
    }
}

impl Codec {
    /// Takes the next packet out of `buffer`; `None` while it is incomplete.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Incoming>, DecodeError> {
        let frame = Frame::read(buffer, self.max_packet_bytes)?;
        if buffer.first().is_some_and(|byte| byte >> 4 == CONNECT) {
            return Err(DecodeError::Protocol("a second CONNECT [MQTT-3.1.0-2]"));
        }
        match complete(frame, buffer) {
            Some(frame) => self.take(buffer, frame).map(Some),
            None => Ok(None),
        }
    }

    /// Appends a packet to `buffer`; leaves it as it was when the packet can't be written.
    pub fn encode(&self, packet: Outgoing, buffer: &mut BytesMut) -> Result<(), EncodeError> {
        let before = buffer.len();
        let result = encode::write(self.version, packet, buffer);
        if result.is_err() {
            buffer.truncate(before);
        }
        result
    }

    fn take(&self, buffer: &mut BytesMut, frame: Frame) -> Result<Incoming, DecodeError> {
        let mut bytes = buffer.split_to(frame.total_bytes());
        if self.version == Version::V5
            && frame.packet_type() == DISCONNECT
            && frame.remaining_bytes == 1
        {
            // Property length may be left out [MQTT5 §3.14.2.2.1]; the codec insists on it.
            let reason = bytes[frame.header_bytes];
            bytes = BytesMut::from(&[frame.first_byte, 2, reason, 0][..]);
        }
        let packet = self.read_contained(&mut bytes)?;
        decode::incoming(self.version, packet)
    }

    /// A panic of the codec is one malformed packet. The frame is whole, so that asking for more
    /// bytes is an error too.
    fn read_contained(&self, bytes: &mut BytesMut) -> Result<Packet, DecodeError> {
        let (version, max) = (self.version, self.max_packet_bytes);
        let read = catch_unwind(AssertUnwindSafe(|| match version {
            Version::V4 => V4.read_mut(bytes, max),
            Version::V5 => V5.read_mut(bytes, max),
        }));
        match read {
            Ok(Ok(packet)) => Ok(packet),
            Ok(Err(error)) => Err(DecodeError::Malformed(error.to_string())),
            Err(_) => Err(DecodeError::Malformed("the codec can't read it".into())),
        }
    }
}

/// The frame, once `buffer` holds all of it; else makes room for the rest.
fn complete(frame: Option<Frame>, buffer: &mut BytesMut) -> Option<Frame> {
    /// A claimed length is believed in steps: who sends nothing costs nothing.
    const STEP_BYTES: usize = 256 << 10;

    let frame = frame?;
    let missing = frame.total_bytes().saturating_sub(buffer.len());
    if missing == 0 {
        return Some(frame);
    }
    buffer.reserve(missing.min(STEP_BYTES));
    None
}

#[cfg(test)]
mod tests;
