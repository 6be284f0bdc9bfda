//! What a start decides about the end of the open segment, and how it makes that end sure.

use std::io::{self, IoSlice};

use super::disk::{DiskFile, read_vec};
use super::footer::floor;
use super::header::Header;
use super::layout::size;
use super::scan::{Scan, find_later};
use super::slots::Record;

/// Why the frame that is missing behind a scan must have been durable; `None` if nothing says
/// so and it may be what an interrupted write left.
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
) -> io::Result<Option<&'static str>> {
    let purged_end = record.purged_end();
    if record.durable_end > scan.end.max(purged_end) {
        return Ok(Some("the vote slots say that it was durable"));
    }
    if scan.full || scan.bad.is_none() {
        return Ok(None);
    }
    let later = find_later(
        file,
        header.seed(),
        (scan.end, scan.frames_end),
        len,
        |head| head.index >= purged_end && (head.durable_end > scan.end || scan.end < purged_end),
    )?;
    Ok(later.then_some("a later frame says that it was durable"))
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
