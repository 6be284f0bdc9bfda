//! The first 4 KiB of a segment.
//!
//! ```text
//! offset  size  field                                     (little endian)
//!      0     8  "UPDSEGM1"
//!      8     4  format version
//!     12     4  CRC32C of the other 4092 bytes
//!     16    16  cluster
//!     32    16  node identity
//!     48     4  generation: higher than that of every segment before
//!     52     4  flags: 1 = a previous position follows
//!     56     8  base: index of the first frame
//!     64    24  position before the first frame: index, term, leader
//!     88        0
//! ```
//!
//! A segment without a previous position is the beginning of a log.

use std::io;

use super::LogPosition;
use super::disk::{DiskFile, read_vec};
use super::layout::{
    FORMAT_VERSION, Identity, crc_around, position_at, put, put_position, size, u32_at, u64_at,
    u128_at,
};

pub(super) const HEADER_BYTES: u64 = 4096;
const MAGIC: &[u8; 8] = b"UPDSEGM1";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Identity,
    pub(super) generation: u32,
    pub(super) base: u64,
    pub(super) previous: Option<LogPosition>,
}

/// Why a header can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Not, or not completely, what was written.
    Damaged,
    Version(u32),
}

impl Header {
    pub(super) fn seed(&self) -> u32 {
        self.identity.seed(self.generation)
    }

    /// The header's checksum, to which the first frame is chained.
    pub(super) fn crc(&self) -> u32 {
        u32_at(&self.encode(), 12)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; size(HEADER_BYTES)];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.identity.cluster.to_le_bytes());
        put(&mut bytes, 32, &self.identity.node.to_le_bytes());
        put(&mut bytes, 48, &self.generation.to_le_bytes());
        put(
            &mut bytes,
            52,
            &u32::from(self.previous.is_some()).to_le_bytes(),
        );
        put(&mut bytes, 56, &self.base.to_le_bytes());
        if let Some(previous) = self.previous {
            put_position(&mut bytes, 64, previous);
        }
        let crc = crc_around(0, &bytes, 12);
        put(&mut bytes, 12, &crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        if bytes[..8] != *MAGIC || crc_around(0, bytes, 12) != u32_at(bytes, 12) {
            return Err(Unusable::Damaged);
        }
        if u32_at(bytes, 8) != FORMAT_VERSION {
            return Err(Unusable::Version(u32_at(bytes, 8)));
        }
        Ok(Self {
            identity: Identity {
                cluster: u128_at(bytes, 16),
                node: u128_at(bytes, 32),
            },
            generation: u32_at(bytes, 48),
            base: u64_at(bytes, 56),
            previous: (u32_at(bytes, 52) & 1 == 1).then(|| position_at(bytes, 64)),
        })
    }

    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Result<Self, Unusable>> {
        if file.len()? < HEADER_BYTES {
            return Ok(Err(Unusable::Damaged));
        }
        Ok(Self::decode(&read_vec(file, 0, size(HEADER_BYTES))?))
    }
}
