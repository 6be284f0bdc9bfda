//! Reads a whole segment: what a start does with the open one, and a cut with the one it cuts.

use std::io;

use super::LogPosition;
use super::disk::{DiskFile, read_vec};
use super::footer::{POINT_EVERY, Point};
use super::frame::{HEAD_BYTES, Head, LAST_OF_SEGMENT};
use super::header::{HEADER_BYTES, Header};
use super::layout::{ALIGN, size};
use super::walk::{Step, Walk};

const READ_BYTES: usize = 1 << 20;

/// What the good frames of a segment add up to.
#[derive(Debug)]
pub(super) struct Scan {
    /// File offset behind the last good frame.
    pub(super) frames_end: u64,
    /// One beyond the index of the last good frame.
    pub(super) end: u64,
    pub(super) last: Option<LogPosition>,
    /// Of the last good frame, or of the header.
    pub(super) last_crc: u32,
    /// Of everything before `frames_end`.
    pub(super) file_crc: u32,
    pub(super) points: Vec<Point>,
    /// The last good frame says that it ends the segment.
    pub(super) full: bool,
    /// The highest durable end that a good frame tells of.
    pub(super) durable_end: u64,
    /// What is wrong at `frames_end`, if the frames should go on there.
    pub(super) bad: Option<&'static str>,
}

/// Reads good frames up to the file offset `limit`, the index `stop`, or a frame that says it is
/// the last.
pub(super) fn scan(
    file: &dyn DiskFile,
    header: &Header,
    limit: u64,
    stop: u64,
) -> io::Result<Scan> {
    let start = (header.base, HEADER_BYTES);
    let crc = header.crc();
    let mut walk = Walk::new(file, header.seed(), start, limit, Some(crc), READ_BYTES);
    let mut scan = Scan::empty(header);
    while walk.index < stop && !scan.full {
        match walk.step()? {
            Step::End => break,
            Step::Bad(bad) => {
                scan.bad = Some(bad);
                break;
            }
            Step::Frame(walked) => {
                scan.add(header.base, &walked.head, walked.offset, &walked.stored)
            }
        }
    }
    Ok(scan)
}

impl Scan {
    fn empty(header: &Header) -> Self {
        Self {
            frames_end: HEADER_BYTES,
            end: header.base,
            last: None,
            last_crc: header.crc(),
            file_crc: crc32c::crc32c(&header.encode()),
            points: Vec::new(),
            full: false,
            durable_end: 0,
            bad: None,
        }
    }

    fn add(&mut self, base: u64, head: &Head, offset: u64, stored: &[u8]) {
        if wants_point(self.points.last().map(|p| p.offset()), offset) {
            self.points.extend(Point::new(base, head.index, offset));
        }
        self.frames_end = offset + stored.len() as u64;
        self.end = head.index + 1;
        self.last = Some(head.position());
        self.last_crc = head.crc;
        self.file_crc = crc32c::crc32c_append(self.file_crc, stored);
        self.full = head.flags & LAST_OF_SEGMENT != 0;
        self.durable_end = self.durable_end.max(head.durable_end);
    }
}

/// Whether the frame at `offset` gets an entry in the sparse index.
pub(super) fn wants_point(last: Option<u64>, offset: u64) -> bool {
    last.is_none_or(|last| offset - last >= POINT_EVERY)
}

/// Looks behind a bad frame, which should have had the index `bad`, for a later one that
/// satisfies `proof`. Frames are found at any multiple of 8, since a bad length hides where the
/// next one starts.
pub(super) fn find_later(
    file: &dyn DiskFile,
    seed: u32,
    (bad, offset): (u64, u64),
    limit: u64,
    proof: impl Fn(&Head) -> bool,
) -> io::Result<bool> {
    let bytes = read_vec(file, offset, size(limit.saturating_sub(offset)))?;
    let at_most = (bytes.len() / HEAD_BYTES) as u64;
    let found = (0..bytes.len().saturating_sub(HEAD_BYTES))
        .step_by(size(ALIGN))
        .any(|at| {
            let head = Head::decode(&bytes[at..]);
            let plausible = head.index > bad && head.index - bad <= at_most;
            plausible
                && proof(&head)
                && bytes
                    .get(at..at + size(head.stored_bytes()))
                    .is_some_and(|b| head.verify(b, seed))
        });
    Ok(found)
}
