//! What is checked of a packet's bytes before the codec sees them: it panics on packet types that
//! no client sends, and accepts flags that the standard forbids.

use crate::packet::Version;

/// Fixed header of a packet \[MQTT §2.1.1 / MQTT5 §2.1.1\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first_byte: u8,
    pub(crate) header_bytes: usize,
    pub(crate) remaining_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("remaining length takes more than four bytes")]
    RemainingLength,
    #[error("packet of {bytes} bytes is larger than the {max} bytes allowed")]
    TooLarge { bytes: usize, max: usize },
    #[error("packet type {0} is not one that a client may send")]
    Type(u8),
    #[error("fixed header {0:#04x} has reserved flags set [MQTT-2.2.2-2]")]
    Flags(u8),
    #[error("a packet of type {0} can't be empty")]
    Empty(u8),
    #[error("PINGREQ is always empty")]
    PingLength,
}

pub(crate) const CONNECT: u8 = 1;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const DISCONNECT: u8 = 14;

impl Frame {
    pub(crate) fn packet_type(self) -> u8 {
        self.first_byte >> 4
    }

    pub(crate) fn total_bytes(self) -> usize {
        self.header_bytes + self.remaining_bytes
    }

    /// Reads a fixed header; `None` while it is incomplete. What is wrong is found as soon as its
    /// byte is there, so that a stream of garbage is not waited for.
    pub(crate) fn read(bytes: &[u8], max: usize) -> Result<Option<Frame>, FrameError> {
        let Some((&first_byte, lengths)) = bytes.split_first() else {
            return Ok(None);
        };
        check_first_byte(first_byte)?;
        let Some((remaining_bytes, length_bytes)) = remaining_length(lengths)? else {
            return Ok(None);
        };
        let frame = Frame {
            first_byte,
            header_bytes: 1 + length_bytes,
            remaining_bytes,
        };
        let bytes = frame.total_bytes();
        if bytes > max {
            return Err(FrameError::TooLarge { bytes, max });
        }
        let packet_type = frame.packet_type();
        if remaining_bytes == 0 && !matches!(packet_type, 12 | DISCONNECT) {
            return Err(FrameError::Empty(packet_type));
        }
        if remaining_bytes > 0 && packet_type == 12 {
            return Err(FrameError::PingLength);
        }
        Ok(Some(frame))
    }
}

/// CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ and
/// DISCONNECT, each with the flags it must have. Enhanced authentication (15) is not offered.
fn check_first_byte(first_byte: u8) -> Result<(), FrameError> {
    let flags = first_byte & 0x0F;
    let wanted = match first_byte >> 4 {
        PUBLISH => return check_publish_flags(first_byte),
        6 | 8 | 10 => 0b0010,
        CONNECT | 4 | 5 | 7 | 12 | DISCONNECT => 0,
        other => return Err(FrameError::Type(other)),
    };
    if flags == wanted {
        Ok(())
    } else {
        Err(FrameError::Flags(first_byte))
    }
}

/// Both `QoS` bits \[MQTT-3.3.1-4\], or DUP with `QoS` 0 \[MQTT-3.3.1-2\], make it malformed.
fn check_publish_flags(first_byte: u8) -> Result<(), FrameError> {
    let (dup, qos) = (first_byte & 0b1000 != 0, first_byte >> 1 & 0b11);
    if qos == 3 || dup && qos == 0 {
        Err(FrameError::Flags(first_byte))
    } else {
        Ok(())
    }
}

/// Value and number of bytes; `None` while it is incomplete.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(FrameError::RemainingLength)
    }
}

/// Why the head of a CONNECT can't be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectHeadError {
    #[error("not an MQTT CONNECT")]
    NotMqtt,
    /// Level 3 is MQTT 3.1; above 5 there is none yet.
    #[error("protocol level {0} is not supported; use MQTT 3.1.1 or 5")]
    Level(u8),
    #[error("connect flags {0:#010b} are not valid [MQTT-3.1.2-3]")]
    Flags(u8),
}

/// Which version a CONNECT is of, from its protocol name and level \[MQTT §3.1.2\]; `body` starts
/// after the fixed header. The codec reads only one version each and none of the reserved flags.
pub(crate) fn connect_version(body: &[u8]) -> Result<Version, ConnectHeadError> {
    let (level, rest) = match body {
        [0, 4, b'M', b'Q', b'T', b'T', level, rest @ ..] => (*level, rest),
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => {
            return Err(ConnectHeadError::Level(*level));
        }
        _ => return Err(ConnectHeadError::NotMqtt),
    };
    let version = match level {
        4 => Version::V4,
        5 => Version::V5,
        other => return Err(ConnectHeadError::Level(other)),
    };
    let flags = rest.first().copied().ok_or(ConnectHeadError::NotMqtt)?;
    let password_alone = version == Version::V4 && flags & 0b1100_0000 == 0b0100_0000;
    if flags & 1 != 0 || password_alone {
        return Err(ConnectHeadError::Flags(flags));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_headers() {
        let frame = |first_byte, header_bytes, remaining_bytes| {
            Ok(Some(Frame {
                first_byte,
                header_bytes,
                remaining_bytes,
            }))
        };
        for (bytes, expected) in [
            (&[][..], Ok(None)),
            (&[0xC0], Ok(None)),
            (&[0xC0, 0], frame(0xC0, 2, 0)),
            (&[0x10, 0x80], Ok(None)),
            (&[0x10, 0x80, 0x01], frame(0x10, 3, 128)),
            (
                &[0x10, 0xFF, 0xFF, 0xFF, 0xFF],
                Err(FrameError::RemainingLength),
            ),
            (
                &[0x10, 0x80, 0x80, 0x80, 0x80],
                Err(FrameError::RemainingLength),
            ),
            (
                &[0x10, 0xFF, 0xFF, 0xFF, 0x7F],
                Err(FrameError::TooLarge {
                    bytes: 268_435_460,
                    max: 1000,
                }),
            ),
            (&[0x00], Err(FrameError::Type(0))),
            (&[0x20], Err(FrameError::Type(2))),
            (&[0x90], Err(FrameError::Type(9))),
            (&[0xB0], Err(FrameError::Type(11))),
            (&[0xD0], Err(FrameError::Type(13))),
            (&[0xF0], Err(FrameError::Type(15))),
            (&[0x11], Err(FrameError::Flags(0x11))),
            (&[0x80], Err(FrameError::Flags(0x80))),
            (&[0xA0], Err(FrameError::Flags(0xA0))),
            (&[0x36], Err(FrameError::Flags(0x36))),
            (&[0x38], Err(FrameError::Flags(0x38))),
            (&[0x30, 0], Err(FrameError::Empty(3))),
            (&[0x82, 0], Err(FrameError::Empty(8))),
            (&[0xC0, 1], Err(FrameError::PingLength)),
            (b"GET / HTTP/1.1\r\n", Err(FrameError::Flags(b'G'))),
        ] {
            assert_eq!(Frame::read(bytes, 1000), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn versions_of_a_connect() {
        for (body, expected) in [
            (&b"\0\x04MQTT\x04\x02"[..], Ok(Version::V4)),
            (b"\0\x04MQTT\x05\xC2", Ok(Version::V5)),
            (b"\0\x04MQTT\x05\x42", Ok(Version::V5)),
            (b"\0\x06MQIsdp\x03\x02", Err(ConnectHeadError::Level(3))),
            (b"\0\x04MQTT\x06\x02", Err(ConnectHeadError::Level(6))),
            (b"\0\x04MQTT\x04\x03", Err(ConnectHeadError::Flags(3))),
            (b"\0\x04MQTT\x04\x42", Err(ConnectHeadError::Flags(0x42))),
            (b"\0\x04mqtt\x04\x02", Err(ConnectHeadError::NotMqtt)),
            (b"\0\x04MQTT\x04", Err(ConnectHeadError::NotMqtt)),
            (b"", Err(ConnectHeadError::NotMqtt)),
        ] {
            assert_eq!(connect_version(body), expected, "{body:?}");
        }
    }
}
