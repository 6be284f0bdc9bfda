//! Batches: records of one lane and one scope, encoded and compressed together once, where they
//! are born. The bytes never change again; a relay stores and forwards a version it does not know.
//!
//! ```text
//! offset size
//!      0    3  magic "UPB"
//!      3    1  version, now 1
//!      4    1  compression of the body: 0 none, 1 zstd
//!      5    3  zero
//!      8    4  number of records                       } little
//!     12    4  length of the body before compression   } endian
//!     16    4  CRC32C of bytes 0..16 and the body
//!     20       body: the columns (see `columns`), postcard wire format
//! ```

mod columns;

use bytes::Bytes;

use crate::Record;

/// A record's topic, headers and value together may take this much.
pub const MAX_RECORD_BYTES: usize = 8 << 20;
/// What a producer fills a batch up to.
pub const TARGET_BATCH_BYTES: usize = 1 << 20;
/// A body may not claim to be larger than this before compression.
const MAX_BODY_BYTES: usize = 24 << 20;
/// A batch holds at most this many records.
pub const MAX_BATCH_RECORDS: u32 = 1 << 17;
/// Below this a batch is stored uncompressed: the uplink compresses its whole stream anyway.
const COMPRESS_FROM_BYTES: usize = 4 << 10;
/// Fast, and within a few per cent of the higher levels on telemetry.
const ZSTD_LEVEL: i32 = 1;

const MAGIC: &[u8; 3] = b"UPB";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 20;

/// An encoded batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub bytes: Bytes,
    pub count: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a batch needs at least one record")]
    Empty,
    #[error("a batch of {records} records and {bytes} bytes is too large")]
    TooLarge { records: usize, bytes: usize },
    #[error("not a batch: {0}")]
    Malformed(&'static str),
    #[error("batch version {0} is newer than this program; update it to read the records")]
    UnknownVersion(u8),
    #[error("batch checksum differs: stored {stored:08x}, computed {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
}

impl Batch {
    pub fn encode(records: &[Record]) -> Result<Batch, BatchError> {
        let plain = columns::encode(records)?;
        let too_large = || BatchError::TooLarge {
            records: records.len(),
            bytes: plain.len(),
        };
        let count = u32::try_from(records.len()).map_err(|_| too_large())?;
        if plain.len() > MAX_BODY_BYTES || count > MAX_BATCH_RECORDS {
            return Err(too_large());
        }
        let plain_len = u32::try_from(plain.len()).map_err(|_| too_large())?;
        let compressed = compress(&plain);
        let body = compressed.as_deref().unwrap_or(&plain);

        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, u8::from(compressed.is_some()), 0, 0, 0]);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&plain_len.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(body);
        Ok(Batch {
            bytes: bytes.into(),
            count,
        })
    }

    /// Reads the records of a batch that may come from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Vec<Record>, BatchError> {
        let (header, body) = bytes
            .split_at_checked(HEADER_BYTES)
            .ok_or(BatchError::Malformed("too short"))?;
        if &header[0..3] != MAGIC {
            return Err(BatchError::Malformed("no magic"));
        }
        if header[3] != VERSION {
            return Err(BatchError::UnknownVersion(header[3]));
        }
        let stored = u32_at(header, 16);
        let computed = crc32c::crc32c_append(crc32c::crc32c(&header[..16]), body);
        if stored != computed {
            return Err(BatchError::Checksum { stored, computed });
        }
        let plain_len = u32_at(header, 12) as usize;
        if plain_len > MAX_BODY_BYTES || u32_at(header, 8) > MAX_BATCH_RECORDS {
            return Err(BatchError::Malformed("claims to be too large"));
        }
        let records = match header[4] {
            0 if body.len() == plain_len => columns::decode(body),
            1 => {
                let plain = zstd::bulk::decompress(body, plain_len)
                    .map_err(|_| BatchError::Malformed("body does not decompress"))?;
                columns::decode(&plain)
            }
            _ => Err(BatchError::Malformed("unknown compression or length")),
        }?;
        if records.len() != u32_at(header, 8) as usize {
            return Err(BatchError::Malformed("count differs"));
        }
        Ok(records)
    }

    /// How many records an encoded batch says it holds, without decoding it; `None` for a version
    /// that is not known.
    pub fn stated_count(bytes: &[u8]) -> Option<u32> {
        let header = bytes.get(..HEADER_BYTES)?;
        (&header[..3] == MAGIC && header[3] == VERSION).then(|| u32_at(header, 8))
    }

    /// BLAKE3 of the bytes: what the hash chain of an origin is made of.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.bytes).as_bytes()
    }
}

/// `None` when it is not worth it.
fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < COMPRESS_FROM_BYTES {
        return None;
    }
    let compressed = zstd::bulk::compress(plain, ZSTD_LEVEL).ok()?;
    (compressed.len() < plain.len()).then_some(compressed)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests;
