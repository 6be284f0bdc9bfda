//! What the files have in common: names, alignment, whose they are, little-endian fields.

use super::LogPosition;

/// Of header, frames, footer and slots together: they change together.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Frames start and end at multiples of this.
pub(super) const ALIGN: u64 = 8;
const PAGE_BYTES: u64 = 4096;

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
    numbers(name.strip_prefix("segment-")?)
}

/// `spare-<first index>-<generation>.log`: a file that waits to become a segment, with the numbers
/// of the one it was. One that was never a segment has the first index 0 and a generation of its
/// own, so that no two files want the same name.
pub(super) fn spare_name(base: u64, generation: u32) -> String {
    format!("spare-{base:020}-{generation:010}.log")
}

pub(super) fn parse_spare_name(name: &str) -> Option<(u64, u32)> {
    numbers(name.strip_prefix("spare-")?)
}

/// What a file is called until all of it is on the disk.
pub(super) fn unfinished_name(name: &str) -> String {
    format!("{name}.new")
}

/// Whether a file was left behind by a start or a process that ended while it was made.
pub(super) fn is_unfinished(name: &str) -> bool {
    let finished = name.strip_suffix(".new").unwrap_or_default();
    parse_segment_name(finished).is_some() || parse_spare_name(finished).is_some()
}

/// Length of a file that is pre-written for a segment: room for a last frame that goes beyond
/// `segment_bytes`, and for the footer.
pub(super) fn prewritten_bytes(segment_bytes: u64) -> u64 {
    (segment_bytes + segment_bytes / 32).next_multiple_of(PAGE_BYTES) + PAGE_BYTES
}

fn numbers(name: &str) -> Option<(u64, u32)> {
    let (base, generation) = name.strip_suffix(".log")?.split_once('-')?;
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
