//! Reads a whole segment: what a start does with the open one, and a cut with the one it cuts.

use std::io;

use super::LogPosition;
use super::disk::{DiskFile, read_vec};
use super::footer::{POINT_EVERY, Point};
use super::frame::{HEAD_BYTES, Head, LAST_OF_SEGMENT, MAX_BODY_BYTES};
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

/// What stands behind the last good frame of a segment that is open.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// A later frame satisfies the proof that was asked for.
    pub(super) proven: bool,
    /// File offset behind the last frame of this generation that is whole.
    pub(super) frames_end: u64,
}

/// Looks behind the last good frame, up to `limit`, for later ones of the same generation; stops
/// at one that satisfies `proof`. They are found at any multiple of 8, since a bad length hides
/// where the next one starts. `bad` is the index that is missing, and its offset.
pub(super) fn look_behind(
    file: &dyn DiskFile,
    seed: u32,
    (bad, offset): (u64, u64),
    limit: u64,
    proof: impl Fn(&Head) -> bool,
) -> io::Result<Behind> {
    let at_most = limit.saturating_sub(offset) / HEAD_BYTES as u64;
    let mut behind = Behind::default();
    let mut from = offset;
    while from + HEAD_BYTES as u64 <= limit {
        let window = read_vec(file, from, READ_BYTES.min(size(limit - from)))?;
        let last = window.len() - HEAD_BYTES;
        for at in (0..=last).step_by(size(ALIGN)) {
            let head = Head::decode(&window[at..]);
            let plausible = head.index > bad && head.index - bad <= at_most;
            let start = from + at as u64;
            if !plausible || !is_whole(file, seed, &head, start, limit)? {
                continue;
            }
            behind.frames_end = behind.frames_end.max(start + head.stored_bytes());
            if proof(&head) {
                behind.proven = true;
                return Ok(behind);
            }
        }
        from += (last as u64 / ALIGN + 1) * ALIGN;
    }
    Ok(behind)
}

fn is_whole(
    file: &dyn DiskFile,
    seed: u32,
    head: &Head,
    start: u64,
    limit: u64,
) -> io::Result<bool> {
    if head.length as usize > MAX_BODY_BYTES || head.stored_bytes() > limit - start {
        return Ok(false);
    }
    let stored = read_vec(file, start, size(head.stored_bytes()))?;
    Ok(head.verify(&stored, seed))
}

/// The frame at the end of a scan, if its head is one that was to be written there: then it is
/// what is left of a write. Returns the file offset behind it.
pub(super) fn begun(file: &dyn DiskFile, scan: &Scan, limit: u64) -> io::Result<Option<u64>> {
    let left = limit.saturating_sub(scan.frames_end);
    if left < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let head = Head::decode(&read_vec(file, scan.frames_end, HEAD_BYTES)?);
    let fits = head.index == scan.end && head.previous_crc == scan.last_crc;
    Ok(fits.then(|| scan.frames_end + head.stored_bytes().min(left)))
}
