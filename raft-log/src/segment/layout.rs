//! What the files have in common: names, alignment, whose they are, little-endian fields.

use super::LogPosition;

/// Of header, frames, footer and slots together: they change together.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Frames start and end at multiples of this.
pub(super) const ALIGN: u64 = 8;

/// Whose files these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster: u128,
    pub(super) node: u128,
}

impl Identity {
    /// Seed of the checksums of one generation. A frame that an earlier generation left behind
    /// a cut, that was copied from another node, or that a client made up inside a body (it
    /// doesn't know the node's identity) never verifies.
    pub(super) fn seed(&self, generation: u32) -> u32 {
        let crc = crc32c::crc32c(&self.cluster.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.node.to_le_bytes());
        crc32c::crc32c_append(crc, &generation.to_le_bytes())
    }
}

/// `segment-<first index>-<generation>.log`; names sort like their segments.
pub(super) fn segment_name(base: u64, generation: u32) -> String {
    format!("segment-{base:020}-{generation:010}.log")
}

/// First index and generation of a segment file; `None` for any other file.
pub(super) fn parse_segment_name(name: &str) -> Option<(u64, u32)> {
    let (base, generation) = name
        .strip_prefix("segment-")?
        .strip_suffix(".log")?
        .split_once('-')?;
    let digits = |s: &str, n| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(base, 20) || !digits(generation, 10) {
        return None;
    }
    Some((base.parse().ok()?, generation.parse().ok()?))
}

/// A length of our own files as a size in memory.
pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

pub(super) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

pub(super) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(field(bytes, at))
}

/// A position is 24 bytes: index, term, leader. Absence is a flag elsewhere.
pub(super) fn put_position(bytes: &mut [u8], at: usize, position: LogPosition) {
    put(bytes, at, &position.index.to_le_bytes());
    put(bytes, at + 8, &position.term.to_le_bytes());
    put(bytes, at + 16, &position.leader.to_le_bytes());
}

pub(super) fn position_at(bytes: &[u8], at: usize) -> LogPosition {
    LogPosition {
        index: u64_at(bytes, at),
        term: u64_at(bytes, at + 8),
        leader: u64_at(bytes, at + 16),
    }
}

/// Checksum of a block that holds its own checksum in the four bytes at `at`.
pub(super) fn crc_around(seed: u32, bytes: &[u8], at: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes[..at]), &bytes[at + 4..])
}
