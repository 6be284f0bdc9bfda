//! Reading: the cache first, then the files.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::LogPosition;
use super::catalog::{Entry, Kind};
use super::disk::{DiskFile, read_vec};
use super::error::Error;
use super::footer::{Footer, POINT_EVERY, Point, floor};
use super::frame::Frame;
use super::header::HEADER_BYTES;
use super::layout::size;
use super::shared::{Shared, State};
use super::walk::{Step, Walk};

const READ_BYTES_MAX: usize = 1 << 20;

/// See [`super::Segments::read`].
pub(super) fn read(
    shared: &Shared,
    range: Range<u64>,
    max_bytes: usize,
) -> Result<Vec<Frame>, Error> {
    loop {
        if let Some(frames) = attempt(shared, &range, max_bytes)? {
            return Ok(frames);
        }
    }
}

/// Position of a frame that may be on the disk only; `None` if it is gone.
pub(super) fn position(shared: &Shared, index: u64) -> Result<Option<LogPosition>, Error> {
    let frames = read(shared, index..index + 1, 0)?;
    Ok(frames.first().map(Frame::position))
}

/// Frames that are collected up to a limit in bytes, but at least one.
#[derive(Debug, Default)]
struct Collected {
    frames: Vec<Frame>,
    bytes: usize,
    max_bytes: usize,
    full: bool,
}

impl Collected {
    fn add(&mut self, frame: Frame) {
        self.bytes += frame.body.len();
        self.full = self.full || self.bytes > self.max_bytes && !self.frames.is_empty();
        if !self.full {
            self.frames.push(frame);
        }
    }

    fn next(&self) -> Option<u64> {
        self.frames.last().map(|frame| frame.index + 1)
    }
}

/// Where the next frames are.
enum Source {
    /// The range ends here, or the log does.
    End,
    /// They were collected.
    Cache,
    /// In this segment, as far as it holds these.
    File(Box<Entry>, Range<u64>),
}

/// `None` when a truncation or a purge came between and the read has to start again.
fn attempt(
    shared: &Shared,
    range: &Range<u64>,
    max_bytes: usize,
) -> Result<Option<Vec<Frame>>, Error> {
    let epoch = shared.lock().epoch;
    let mut collected = Collected {
        max_bytes,
        ..Collected::default()
    };
    loop {
        let source = {
            let state = shared.lock();
            state.running()?;
            if state.epoch != epoch {
                return Ok(None);
            }
            locate(shared, &state, range, &mut collected)?
        };
        match source {
            Source::End => return Ok(Some(collected.frames)),
            Source::Cache => {}
            Source::File(entry, wanted) => {
                let result = read_file(shared, *entry, wanted, &mut collected);
                if shared.lock().epoch != epoch {
                    return Ok(None);
                }
                match result {
                    Err(error) if collected.frames.is_empty() => return Err(error),
                    Err(_) => return Ok(Some(collected.frames)),
                    Ok(()) => {}
                }
            }
        }
    }
}

fn locate(
    shared: &Shared,
    state: &State,
    range: &Range<u64>,
    collected: &mut Collected,
) -> Result<Source, Error> {
    let bounds = state.log.bounds();
    let from = collected.next().unwrap_or(range.start).max(bounds.first);
    let end = range.end.min(bounds.end);
    if from >= end || collected.full {
        return Ok(Source::End);
    }
    if state.log.cached(from).is_some() {
        let mut frames = (from..end).map_while(|index| state.log.cached(index));
        while !collected.full
            && let Some(frame) = frames.next()
        {
            collected.add(frame.clone());
        }
        return Ok(Source::Cache);
    }
    // A file may still hold what was truncated; what replaced it is cached until it is written.
    let end = end.min(state.log.cache_start());
    match state.catalog.holding(from) {
        Some(entry) => Ok(Source::File(Box::new(entry.clone()), from..end)),
        None => Err(Error::Corrupt {
            path: shared.disk.path(""),
            offset: 0,
            index: from,
            what: "no segment holds the frame".into(),
        }),
    }
}

fn read_file(
    shared: &Shared,
    mut entry: Entry,
    range: Range<u64>,
    collected: &mut Collected,
) -> Result<(), Error> {
    let path = shared.disk.path(&entry.name);
    let error = |e| Error::io("read", path.clone(), e);
    let corrupt = |offset, index, what: &str| {
        Err(Error::Corrupt {
            path: path.clone(),
            offset,
            index,
            what: what.into(),
        })
    };
    let file = file_of(shared, &entry).map_err(error)?;
    let range = range.start.max(entry.base)..range.end.min(entry.end());
    let seed = shared.identity.seed(entry.generation);
    let Some(point) = start_point(shared, &mut entry, &*file, seed, range.start).map_err(error)?
    else {
        return corrupt(entry.frames_end, range.start, "the sparse index is damaged");
    };
    let read_bytes = collected
        .max_bytes
        .saturating_add(size(POINT_EVERY))
        .min(READ_BYTES_MAX);
    let mut walk = Walk::new(&*file, seed, point, entry.frames_end, None, read_bytes);
    while walk.index < range.end && !collected.full {
        match walk.step().map_err(error)? {
            Step::Frame(walked) if walked.head.index < range.start => {}
            Step::Frame(walked) => collected.add(walked.head.frame(&walked.stored)),
            Step::Bad(what) => return corrupt(walk.offset, walk.index, what),
            Step::End => return corrupt(walk.offset, walk.index, "frames are missing"),
        }
    }
    Ok(())
}

fn file_of(shared: &Shared, entry: &Entry) -> io::Result<Arc<dyn DiskFile>> {
    match &entry.kind {
        Kind::Open { file, .. } => Ok(file.clone()),
        Kind::Sealed { .. } => shared.disk.open(&entry.name),
    }
}

/// Index and offset of a frame at or before `index`; `None` if the footer can't be read.
fn start_point(
    shared: &Shared,
    entry: &mut Entry,
    file: &dyn DiskFile,
    seed: u32,
    index: u64,
) -> io::Result<Option<(u64, u64)>> {
    if let Kind::Sealed {
        points: points @ None,
    } = &mut entry.kind
    {
        let Some(footer) = Footer::read(file, seed)? else {
            return Ok(None);
        };
        let Some(loaded) = footer.read_points(file)? else {
            return Ok(None);
        };
        *points = Some(Arc::new(loaded));
        remember_points(shared, entry);
    }
    let points: &[Point] = match &entry.kind {
        Kind::Open { points, .. } => points,
        Kind::Sealed { points } => points.as_deref().map_or(&[], Vec::as_slice),
    };
    let point = floor(points, entry.base, index);
    Ok(Some(point.map_or((entry.base, HEADER_BYTES), |p| {
        (p.index(entry.base), p.offset())
    })))
}

fn remember_points(shared: &Shared, entry: &Entry) {
    let mut state = shared.lock();
    let known = state.catalog.get_mut(entry.base);
    if let Some(known) = known.filter(|known| known.name == entry.name && known.is_sealed()) {
        known.kind = entry.kind.clone();
    }
}

/// See [`super::Segments::scrub`].
pub(super) fn scrub(shared: &Shared, base: u64) -> Result<(), Error> {
    let (entry, epoch) = {
        let state = shared.lock();
        state.running()?;
        (
            state
                .catalog
                .get(base)
                .filter(|entry| entry.is_sealed())
                .cloned(),
            state.epoch,
        )
    };
    let Some(entry) = entry else { return Ok(()) };
    let path = shared.disk.path(&entry.name);
    let seed = shared.identity.seed(entry.generation);
    let result = match shared
        .disk
        .open(&entry.name)
        .and_then(|file| compare_sealed(&*file, seed))
    {
        Ok(None) => Ok(()),
        Ok(Some((offset, what))) => Err(Error::Corrupt {
            path,
            offset,
            index: base,
            what: what.into(),
        }),
        Err(e) => Err(Error::io("read", path, e)),
    };
    let changed = shared.lock().epoch != epoch;
    if changed { Ok(()) } else { result }
}

fn compare_sealed(file: &dyn DiskFile, seed: u32) -> io::Result<Option<(u64, &'static str)>> {
    match Footer::read(file, seed)? {
        Some(footer) => compare(file, &footer),
        None => Ok(Some((file.len()?, "the footer is damaged"))),
    }
}

/// What differs from the footer, and where.
pub(super) fn compare(
    file: &dyn DiskFile,
    footer: &Footer,
) -> io::Result<Option<(u64, &'static str)>> {
    if footer.read_points(file)?.is_none() {
        let start = footer.start().unwrap_or_default();
        return Ok(Some((start, "the sparse index is damaged")));
    }
    let (mut offset, mut crc) = (0, 0);
    while offset < footer.frames_end {
        let bytes = size(footer.frames_end - offset).min(READ_BYTES_MAX);
        crc = crc32c::crc32c_append(crc, &read_vec(file, offset, bytes)?);
        offset += bytes as u64;
    }
    Ok((crc != footer.file_crc).then_some((0, "the checksum of the file differs")))
}
