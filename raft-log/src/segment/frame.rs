//! A frame: one entry of the log, as it is given and as it is stored.
//!
//! ```text
//! offset  size  field                                     (little endian)
//!      0     4  length of the body
//!      4     4  CRC32C of everything else up to the end of the padding, seeded with the
//!               node's identity and the segment's generation
//!      8     4  CRC32C of the frame before; of the segment's header for its first frame
//!     12     1  kind, opaque here
//!     13     1  flags: 1 = last frame of its segment
//!     14     2  0
//!     16     8  index
//!     24     8  term
//!     32     8  node id of the leader of that term
//!     40     8  durable end: every index below it was on the disk before this was written
//!     48     n  body
//!   48+n  0..7  0, up to a multiple of 8
//! ```
//!
//! The durable end is what tells a torn tail from corruption: a damaged frame whose index a
//! later frame knows to be durable was acknowledged.

use bytes::Bytes;

use super::LogPosition;
use super::layout::{ALIGN, put, u32_at, u64_at};

/// Largest body a frame may have.
pub const MAX_BODY_BYTES: usize = 64 << 20;

pub(super) const HEAD_BYTES: usize = 48;
pub(super) const LAST_OF_SEGMENT: u8 = 1;
const PADDING: [u8; 8] = [0; 8];

/// One entry of the log. What `kind` and `body` mean is the caller's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub index: u64,
    pub term: u64,
    pub leader: u64,
    pub kind: u8,
    pub body: Bytes,
}

impl Frame {
    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition {
            index: self.index,
            term: self.term,
            leader: self.leader,
        }
    }

    /// Bytes it takes in a segment.
    pub(super) fn stored_bytes(&self) -> u64 {
        stored_bytes(self.body.len() as u64)
    }

    pub(super) fn padding(&self) -> &'static [u8] {
        let used = (HEAD_BYTES + self.body.len()) % PADDING.len();
        if used == 0 { &[] } else { &PADDING[used..] }
    }
}

fn stored_bytes(body: u64) -> u64 {
    (HEAD_BYTES as u64 + body).next_multiple_of(ALIGN)
}

/// The fixed part of a stored frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) crc: u32,
    pub(super) previous_crc: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) leader: u64,
    pub(super) durable_end: u64,
}

/// The fixed part of `frame` with its checksum, which is what the next frame is chained to.
pub(super) fn encode(
    frame: &Frame,
    flags: u8,
    durable_end: u64,
    previous_crc: u32,
    seed: u32,
) -> ([u8; HEAD_BYTES], u32) {
    let length = u32::try_from(frame.body.len()).unwrap_or(u32::MAX);
    let mut head = [0; HEAD_BYTES];
    put(&mut head, 0, &length.to_le_bytes());
    put(&mut head, 8, &previous_crc.to_le_bytes());
    put(&mut head, 12, &[frame.kind, flags]);
    put(&mut head, 16, &frame.index.to_le_bytes());
    put(&mut head, 24, &frame.term.to_le_bytes());
    put(&mut head, 32, &frame.leader.to_le_bytes());
    put(&mut head, 40, &durable_end.to_le_bytes());
    let crc = head_crc(&head, seed);
    let crc = crc32c::crc32c_append(crc, &frame.body);
    let crc = crc32c::crc32c_append(crc, frame.padding());
    put(&mut head, 4, &crc.to_le_bytes());
    (head, crc)
}

impl Head {
    /// Reads the fields of the first [`HEAD_BYTES`]; nothing is verified.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        Self {
            length: u32_at(bytes, 0),
            crc: u32_at(bytes, 4),
            previous_crc: u32_at(bytes, 8),
            kind: bytes[12],
            flags: bytes[13],
            index: u64_at(bytes, 16),
            term: u64_at(bytes, 24),
            leader: u64_at(bytes, 32),
            durable_end: u64_at(bytes, 40),
        }
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        stored_bytes(u64::from(self.length))
    }

    /// Whether `stored`, the whole frame with its padding, is what was written.
    pub(super) fn verify(&self, stored: &[u8], seed: u32) -> bool {
        crc32c::crc32c_append(head_crc(stored, seed), &stored[HEAD_BYTES..]) == self.crc
    }

    pub(super) fn position(&self) -> LogPosition {
        LogPosition {
            index: self.index,
            term: self.term,
            leader: self.leader,
        }
    }

    /// The frame of a verified `stored`, sharing its memory.
    pub(super) fn frame(&self, stored: &Bytes) -> Frame {
        let body = HEAD_BYTES..HEAD_BYTES + self.length as usize;
        Frame {
            index: self.index,
            term: self.term,
            leader: self.leader,
            kind: self.kind,
            body: stored.slice(body),
        }
    }
}

fn head_crc(head: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(
        crc32c::crc32c_append(seed, &head[..4]),
        &head[8..HEAD_BYTES],
    )
}
