//! What a start decides about the end of the open segment, and how it makes that end sure.

use std::io::{self, IoSlice};

use super::disk::{DiskFile, read_vec};
use super::footer::floor;
use super::header::Header;
use super::layout::size;
use super::scan::{Scan, begun, look_behind};
use super::slots::Record;

/// What stands behind the last good frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing, zeros, or what an earlier use of the file has left.
    Clean,
    /// What an interrupted write has left, up to this file offset.
    Torn(u64),
    /// A frame that must have been durable is missing; why that is known.
    Corrupt(&'static str),
}

/// Tells a torn write from corruption.
///
/// A later good frame alone proves nothing, since the pages of one unsynced write reach the disk
/// in any order; it has to say that the missing frame was durable before it was written. A frame
/// that was purged was durable, but only if the log did not end before the purge.
pub(super) fn judge(
    scan: &Scan,
    record: &Record,
    header: &Header,
    file: &dyn DiskFile,
    len: u64,
) -> io::Result<End> {
    let purged_end = record.purged_end();
    if record.durable_end > scan.end.max(purged_end) {
        return Ok(End::Corrupt("the vote slots say that it was durable"));
    }
    if scan.full || scan.bad.is_none() {
        return Ok(End::Clean);
    }
    let missing = (scan.end, scan.frames_end);
    let behind = look_behind(file, header.seed(), missing, len, |head| {
        head.index >= purged_end && (head.durable_end > scan.end || scan.end < purged_end)
    })?;
    if behind.proven {
        return Ok(End::Corrupt("a later frame says that it was durable"));
    }
    let torn_end = begun(file, scan, len)?
        .unwrap_or_default()
        .max(behind.frames_end);
    Ok(match torn_end {
        0 => End::Clean,
        torn_end => End::Torn(torn_end),
    })
}

/// Makes sure of the frames of which it isn't known that they were synced. After an fdatasync
/// that failed they may be in the page cache only, and clean there; written again they are not.
pub(super) fn make_durable(
    file: &dyn DiskFile,
    header: &Header,
    scan: &Scan,
    durable_end: u64,
) -> io::Result<()> {
    let proven = durable_end.max(scan.durable_end);
    if proven <= header.base {
        rewrite(file, 0, scan.frames_end)
    } else if proven < scan.end {
        let from = floor(&scan.points, header.base, proven).map_or(0, |p| p.offset());
        rewrite(file, from, scan.frames_end)
    } else {
        file.sync_all()
    }
}

/// Writes a part of a file over itself and syncs it.
pub(super) fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let bytes = read_vec(file, from, size(to - from))?;
    file.write_at(&mut [IoSlice::new(&bytes)], from)?;
    file.sync_all()
}
