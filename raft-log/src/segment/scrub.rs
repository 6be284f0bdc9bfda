//! Reads sealed segments again at a slow pace, so that bits that rot are noticed while other
//! nodes still hold what they were.
//!
//! It is a part of the keeper's work. A start begins anywhere in the log, or a node that restarts
//! often would never come to its newest segments.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::global;
use opentelemetry::metrics::Counter;
use tracing::{debug, error};

use super::Damage;
use super::catalog::Entry;
use super::disk::{DiskFile, read_vec};
use super::footer::Footer;
use super::header::{HEADER_BYTES, Header};
use super::layout::size;
use super::shared::Shared;
use super::walk::{Step, Walk};

const PIECE_BYTES: u64 = 256 << 10;
/// However short the pass is to be.
const BYTES_PER_SECOND_MAX: u64 = 16 << 20;
/// How long it waits for the first sealed segment.
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Scrub {
    shared: Arc<Shared>,
    /// Time for one pass over all segments; never when zero.
    every: Duration,
    /// The segment that is next starts here or later.
    next_base: Option<u64>,
    reading: Option<Reading>,
    due: Option<Instant>,
    errors: Counter<u64>,
}

/// A segment that is read, and how far.
#[derive(Debug)]
struct Reading {
    entry: Entry,
    file: Arc<dyn DiskFile>,
    footer: Footer,
    offset: u64,
    crc: u32,
}

/// What is wrong, and where: file offset and index.
type Bad = (u64, u64, String);

impl Scrub {
    pub(super) fn new(shared: Arc<Shared>, every: Duration) -> Self {
        Self {
            shared,
            every,
            next_base: None,
            reading: None,
            due: None,
            errors: global::meter("updraft_log")
                .u64_counter("updraft_log_scrub_errors_total")
                .with_description("Sealed segments that were found damaged")
                .build(),
        }
    }

    /// Reads the next piece if it is time, and says how long to wait.
    pub(super) fn step(&mut self, now: Instant) -> Option<Duration> {
        if self.every.is_zero() {
            return None;
        }
        if let Some(due) = self.due.filter(|due| *due > now) {
            return Some(due - now);
        }
        let wait = self.piece();
        self.due = Some(now + wait);
        Some(wait)
    }

    fn piece(&mut self) -> Duration {
        let reading = match self.reading.take() {
            Some(reading) => reading,
            None => match self.begin() {
                Some(reading) => reading,
                None => return self.every.min(PAUSE_MAX),
            },
        };
        if !self.shared.has_segment(&reading.entry) {
            return Duration::ZERO;
        }
        let wait = self.pace();
        let mut reading = reading;
        match reading.read_on() {
            Ok(Some(true)) => debug!(segment = reading.entry.name, "scrubbed"),
            Ok(Some(false)) => self.report_reading(&reading),
            Ok(None) => self.reading = Some(reading),
            Err(e) => self.report(&reading.entry, unreadable(&reading.entry, &e)),
        }
        wait
    }

    /// The checksum of the whole file differs: says where.
    fn report_reading(&self, reading: &Reading) {
        let entry = &reading.entry;
        let whole = || (0, entry.base, "the checksum of the file differs".into());
        let bad = match first_bad(&*reading.file, &reading.footer) {
            Ok(bad) => bad.unwrap_or_else(whole),
            Err(e) => unreadable(entry, &e),
        };
        self.report(entry, bad);
    }

    /// Opens the next segment; `None` if there is none, or if it is damaged already here.
    fn begin(&mut self) -> Option<Reading> {
        let entry = self.shared.sealed_from(self.next_base)?;
        self.next_base = Some(entry.base + 1);
        let shared = self.shared.clone();
        let file = match shared.disk.open(&entry.name) {
            Ok(file) => file,
            Err(e) => {
                self.report(&entry, unreadable(&entry, &e));
                return None;
            }
        };
        match read_footer(&*file, shared.identity.seed(entry.generation)) {
            Ok(footer) => Some(Reading {
                entry,
                file,
                footer,
                offset: 0,
                crc: 0,
            }),
            Err(bad) => {
                self.report(&entry, (entry.frames_end, entry.base, bad));
                None
            }
        }
    }

    /// How long a piece may take if a pass takes its time.
    fn pace(&self) -> Duration {
        let total = self.shared.lock().catalog.size().1.max(PIECE_BYTES);
        let pieces = u32::try_from(total.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        let fastest = Duration::from_millis(1000 * PIECE_BYTES / BYTES_PER_SECOND_MAX);
        // What is quick enough for tests is at once.
        (self.every / pieces).max(fastest.min(self.every))
    }

    fn report(&self, entry: &Entry, (offset, index, what): Bad) {
        let damage = Damage {
            path: self.shared.disk.path(&entry.name),
            offset,
            first_index: entry.base,
            last_index: entry.end() - 1,
            what,
        };
        // It may have been purged meanwhile, and its file be another's.
        if !self.shared.note_damage(entry, damage.clone()) {
            return;
        }
        self.errors.add(1, &[]);
        error!(
            file = %damage.path.display(),
            offset,
            index,
            first_index = damage.first_index,
            last_index = damage.last_index,
            what = damage.what,
            "a log segment is damaged; it is not served any more: wipe this node and run \
             `updraft cluster replace` while the others still hold it"
        );
    }
}

impl Reading {
    /// Reads the next piece; at the end it says whether all was what the footer says.
    fn read_on(&mut self) -> io::Result<Option<bool>> {
        let bytes = (self.footer.frames_end - self.offset).min(PIECE_BYTES);
        let piece = read_vec(&*self.file, self.offset, size(bytes))?;
        self.crc = crc32c::crc32c_append(self.crc, &piece);
        self.offset += bytes;
        let at_end = self.offset >= self.footer.frames_end;
        Ok(at_end.then_some(self.crc == self.footer.file_crc))
    }
}

fn unreadable(entry: &Entry, error: &io::Error) -> Bad {
    (0, entry.base, format!("can't be read: {error}"))
}

/// The footer of a sealed segment, or what is wrong with it.
fn read_footer(file: &dyn DiskFile, seed: u32) -> Result<Footer, String> {
    let unreadable = |e| format!("can't be read: {e}");
    let footer = Footer::read(file, seed).map_err(unreadable)?;
    let footer = footer.ok_or("the footer is damaged")?;
    match footer.read_points(file).map_err(unreadable)? {
        Some(_) => Ok(footer),
        None => Err("the sparse index is damaged".into()),
    }
}

/// The first place in a sealed segment that is not what was written, by its header and frames.
pub(super) fn first_bad(file: &dyn DiskFile, footer: &Footer) -> io::Result<Option<Bad>> {
    let Ok(header) = Header::read(file)? else {
        return Ok(Some((0, 0, "the header is damaged".into())));
    };
    let start = (header.base, HEADER_BYTES);
    let (seed, crc) = (header.seed(), Some(header.crc()));
    let mut walk = Walk::new(file, seed, start, footer.frames_end, crc, 1 << 20);
    let mut last = None;
    loop {
        match walk.step()? {
            Step::Frame(walked) => last = Some(walked.head.position()),
            Step::Bad(what) => return Ok(Some((walk.offset, walk.index, what.into()))),
            Step::End if last == Some(footer.last) => return Ok(None),
            Step::End => {
                let what = "the footer names another last frame".into();
                return Ok(Some((walk.offset, walk.index, what)));
            }
        }
    }
}
