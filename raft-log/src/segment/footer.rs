//! The end of a sealed segment: a sparse index of its frames and the checksum of the file.
//!
//! It stands at the end of the file, which keeps the length it was pre-written with: sealing then
//! needs no space, and the file can be used again as it is. What lies between the last frame and
//! the footer is zeros or remains of an earlier use; nothing reads it.
//!
//! ```text
//! offset  size  field                                     (little endian)
//!      0   8×n  points: index - base (4 bytes), file offset / 8 (4 bytes), about one per 64 KiB
//!  then, the last 64 bytes of the file, the trailer:
//!      0     8  "UPDSEAL1"
//!      8     4  format version
//!     12     4  CRC32C of the other 60 bytes, seeded like the frames
//!     16     8  frames end: file offset behind the last frame
//!     24     8  end: one beyond the last index
//!     32     8  term of the last frame
//!     40     8  leader of the last frame
//!     48     4  n, number of points
//!     52     4  CRC32C of the points
//!     56     4  CRC32C of the file up to the frames end, unseeded, for the scrub
//!     60     4  0
//! ```

use std::io;

use super::LogPosition;
use super::disk::{DiskFile, read_vec};
use super::layout::{ALIGN, FORMAT_VERSION, crc_around, put, size, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"UPDSEAL1";
const TRAILER_BYTES: usize = 64;
const POINT_BYTES: usize = 8;
/// Distance of two points; what a look-up may have to skip.
pub(super) const POINT_EVERY: u64 = 64 << 10;

/// Where a frame is: an entry of the sparse index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    index_from_base: u32,
    offset_by_8: u32,
}

impl Point {
    /// `None` beyond what the four bytes hold: then the look-up starts at an earlier point.
    pub(super) fn new(base: u64, index: u64, offset: u64) -> Option<Self> {
        let index_from_base = u32::try_from(index - base).ok()?;
        let offset_by_8 = u32::try_from(offset / ALIGN).ok()?;
        Some(Self {
            index_from_base,
            offset_by_8,
        })
    }

    pub(super) fn index(self, base: u64) -> u64 {
        base + u64::from(self.index_from_base)
    }

    pub(super) fn offset(self) -> u64 {
        u64::from(self.offset_by_8) * ALIGN
    }
}

/// The last point at or before `index`.
pub(super) fn floor(points: &[Point], base: u64, index: u64) -> Option<Point> {
    let after = points.partition_point(|p| p.index(base) <= index);
    points[..after].last().copied()
}

/// What a sealed segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) frames_end: u64,
    pub(super) last: LogPosition,
    pub(super) file_crc: u32,
    /// Length of the whole file.
    pub(super) file_bytes: u64,
    points: u32,
    points_crc: u32,
}

impl Footer {
    /// The bytes, to be written so that the file ends with them.
    pub(super) fn encode(
        frames_end: u64,
        last: LogPosition,
        file_crc: u32,
        points: &[Point],
        seed: u32,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(points.len() * POINT_BYTES + TRAILER_BYTES);
        for point in points {
            bytes.extend(point.index_from_base.to_le_bytes());
            bytes.extend(point.offset_by_8.to_le_bytes());
        }
        let mut trailer = [0; TRAILER_BYTES];
        put(&mut trailer, 0, MAGIC);
        put(&mut trailer, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut trailer, 16, &frames_end.to_le_bytes());
        put(&mut trailer, 24, &(last.index + 1).to_le_bytes());
        put(&mut trailer, 32, &last.term.to_le_bytes());
        put(&mut trailer, 40, &last.leader.to_le_bytes());
        let count = u32::try_from(points.len()).unwrap_or(u32::MAX);
        put(&mut trailer, 48, &count.to_le_bytes());
        put(&mut trailer, 52, &crc32c::crc32c(&bytes).to_le_bytes());
        put(&mut trailer, 56, &file_crc.to_le_bytes());
        let crc = crc_around(seed, &trailer, 12);
        put(&mut trailer, 12, &crc.to_le_bytes());
        bytes.extend(trailer);
        bytes
    }

    /// The footer of a sealed file, without its points. `None` if there is no valid one.
    pub(super) fn read(file: &dyn DiskFile, seed: u32) -> io::Result<Option<Self>> {
        let len = file.len()?;
        let Some(at) = len.checked_sub(TRAILER_BYTES as u64) else {
            return Ok(None);
        };
        let bytes = read_vec(file, at, TRAILER_BYTES)?;
        if bytes[..8] != *MAGIC || crc_around(seed, &bytes, 12) != u32_at(&bytes, 12) {
            return Ok(None);
        }
        let last = LogPosition {
            index: u64_at(&bytes, 24).saturating_sub(1),
            term: u64_at(&bytes, 32),
            leader: u64_at(&bytes, 40),
        };
        let footer = Self {
            frames_end: u64_at(&bytes, 16),
            last,
            points: u32_at(&bytes, 48),
            points_crc: u32_at(&bytes, 52),
            file_crc: u32_at(&bytes, 56),
            file_bytes: len,
        };
        let fits = footer
            .start()
            .is_some_and(|start| start >= footer.frames_end);
        Ok(fits.then_some(footer))
    }

    /// File offset of the points, with which it begins.
    pub(super) fn start(&self) -> Option<u64> {
        let bytes = self.points_bytes() + TRAILER_BYTES as u64;
        self.file_bytes.checked_sub(bytes)
    }

    /// The sparse index; `None` if it is damaged.
    pub(super) fn read_points(&self, file: &dyn DiskFile) -> io::Result<Option<Vec<Point>>> {
        let start = self.start().unwrap_or_default();
        let bytes = read_vec(file, start, size(self.points_bytes()))?;
        let points = bytes.chunks_exact(POINT_BYTES).map(|b| Point {
            index_from_base: u32_at(b, 0),
            offset_by_8: u32_at(b, 4),
        });
        Ok((crc32c::crc32c(&bytes) == self.points_crc).then(|| points.collect()))
    }

    /// Bytes of a footer with so many points.
    pub(super) fn stored_bytes(points: usize) -> u64 {
        (points * POINT_BYTES + TRAILER_BYTES) as u64
    }

    fn points_bytes(&self) -> u64 {
        u64::from(self.points) * POINT_BYTES as u64
    }
}
