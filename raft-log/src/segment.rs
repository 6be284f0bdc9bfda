//! The log files of one node: checksummed, chained frames in segment files, and `vote.slots`.
//!
//! This module knows nothing of Raft, its entries or our protobufs. It stores [`Frame`]s under
//! dense indexes, one small opaque vote, and a few positions, and it answers for three things:
//! what was acknowledged is on the disk, what is served is what was written, and what it finds
//! damaged it names instead of skipping.
//!
//! ```text
//!  append / save_vote / truncate_after / purge          read
//!        │  (memory changes at once)                     │
//!        ▼                                               ▼
//!   logical log: end, purged, cache of recent frames ── cache, else catalog ── pread + CRC
//!        │ queue, in order                               ▲
//!        ▼                                               │ published after the fdatasync
//!   writer thread: one vectored write, one fdatasync ────┘──▶ callbacks, in order
//!        │                                    keeper thread: pre-writes files, reuses old ones
//!        ▼                                               ▼
//!   LOCK   vote.slots   segment-<first index>-<generation>.log …   spare-….log
//! ```
//!
//! Read on in `layout` (names, identity), the byte tables in `frame`, `header`, `footer` and
//! `slots`, then `logical` (what callers see), `writer` (what reaches the disk), `spare` and
//! `keeper` (where files come from and go to), `read`, and `recover` (what a start makes of what
//! it finds). `docs/log-format.md` describes the files for who reads them from outside.

mod layout;
mod error;
mod disk;
mod frame;
mod header;
mod footer;
mod slots;
mod walk;
mod scan;
mod catalog;
mod logical;
mod spare;
mod bell;
mod shared;
mod open;
mod cut;
mod writer;
mod keeper;
mod scrub;
mod read;
mod recover;
mod repair;
pub mod inspect;
#[doc(hidden)]
pub mod fuzz;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use disk::{Directory, Disk, DiskFile};
pub use error::Error;
pub use frame::{Frame, MAX_BODY_BYTES};
pub use slots::MAX_VOTE_BYTES;

use crate::environment::{Environment, Real};
pub(crate) use disk::{read_file, replace_file};
use header::HEADER_BYTES;
use keeper::Keeper;
use layout::Identity;
use logical::Place;
use shared::{Offer, Shared};
use writer::Writer;

/// Where a frame stands in the log: what Raft calls a log id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition {
    pub index: u64,
    pub term: u64,
    pub leader: u64,
}

/// What a log directory is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Created if it is missing; one process at a time may have it open.
    pub directory: PathBuf,
    /// Written into every file; a directory of another cluster or node is refused.
    pub cluster: u128,
    pub node: u128,
    /// A segment ends with the frame that takes it to this size. At least 4 KiB.
    pub segment_bytes: u64,
    /// Budget of the cache of recent frames. Frames that are not on the disk yet are kept
    /// beyond it; `waiting_bytes` bounds those.
    pub cache_bytes: usize,
    /// Bodies that were appended and are not yet on the disk; beyond it `append` waits.
    pub waiting_bytes: usize,
    /// How long the writer is idle before it writes the durable mark.
    pub idle: Duration,
    pub environment: Arc<dyn Environment>,
    /// How many files are kept pre-written for the next segments. They are what can still be
    /// written when the disk is full; purged segments are kept for it.
    pub spare_segments: usize,
    /// When the disk is full, how often it is looked whether it still is.
    pub space_retry: Duration,
    /// Time in which every sealed segment is read again and compared with its checksum, in the
    /// background; never when it is zero.
    pub scrub_every: Duration,
}

impl Options {
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, cluster: u128, node: u128) -> Self {
        Self {
            directory: directory.into(),
            cluster,
            node,
            segment_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            waiting_bytes: 16 << 20,
            idle: Duration::from_millis(50),
            environment: Arc::new(Real),
            spare_segments: 1,
            space_retry: Duration::from_millis(300),
            scrub_every: Duration::from_secs(7 * 24 * 3600),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            cluster: self.cluster,
            node: self.node,
        }
    }
}

/// What opening a directory found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    pub vote: Option<Vec<u8>>,
    /// Never beyond `last`. May be older than what was last set.
    pub committed: Option<LogPosition>,
    pub purged: Option<LogPosition>,
    /// The last frame, or `purged` when there is none.
    pub last: Option<LogPosition>,
    pub segments: usize,
    /// Bytes of a write that was never acknowledged, removed from the open segment.
    pub torn_bytes: u64,
    /// One of the two vote slots was unreadable and the other was used: after a power cut this
    /// is the write that was under way.
    pub slot_damaged: bool,
    /// A truncation was decided and not finished; it is now.
    pub cut_finished: bool,
    /// The open segment was begun by this start, with a file that was kept for it.
    pub spare_used: bool,
    /// Files that are ready for the next segments.
    pub spares: usize,
}

impl Recovered {
    /// What was found and done about it, in words.
    fn found(&self) -> String {
        let mut found = Vec::new();
        if self.torn_bytes > 0 {
            let bytes = self.torn_bytes;
            found.push(format!("a torn tail of {bytes} bytes, removed"));
        }
        if self.slot_damaged {
            found.push("one vote slot damaged, the other used".into());
        }
        if self.cut_finished {
            found.push("a truncation under way, finished".into());
        }
        if self.spare_used {
            found.push("no open segment, begun with a spare file".into());
        }
        if found.is_empty() {
            return "nothing to repair".into();
        }
        found.join("; ")
    }
}

/// The disk space of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Pre-written and unused, in the open segment and in files for the next ones: what can be
    /// written for certain, whatever else fills the disk.
    pub spare_bytes: u64,
    /// The next file can't be pre-written, so `spare_bytes` is all there is for now. Time to
    /// refuse what can wait.
    pub short: bool,
    /// Requests wait for disk space. They go on by themselves when there is some.
    pub stalled: bool,
    /// All files, with what is pre-written in them.
    pub used_bytes: u64,
}

/// The log as callers see it now, frames in flight to the disk included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest index that can be read, when there is any frame.
    pub first: u64,
    /// One beyond the highest index that can be read.
    pub end: u64,
    /// The last frame, or `purged` when there is none.
    pub last: Option<LogPosition>,
    pub purged: Option<LogPosition>,
}

/// One file of the log, as far as it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    pub first_index: u64,
    /// `None` while the segment holds no frame.
    pub last_index: Option<u64>,
    /// Length of the file, with what is pre-written in it.
    pub bytes: u64,
    pub sealed: bool,
    pub path: PathBuf,
}

/// A sealed segment that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    /// Where the first bad place is.
    pub offset: u64,
    pub first_index: u64,
    pub last_index: u64,
    pub what: String,
}

/// The open log of one node. Clones share it; the last one dropped lets the writer finish what
/// is queued and end.
///
/// Appending, voting, truncating and purging are meant for one caller at a time (Raft's own
/// task); reading is free for all. Callbacks run on the writer thread, in the order of the
/// requests, and must not block. After the first failed write or fdatasync every request,
/// reads included, fails with that error.
///
/// A full disk is no failure: what needs space waits, with all that was asked for after it, and
/// goes on when there is some. See [`Segments::space`]. Only a purge of durable frames does not
/// wait then, so it may be answered before appends that it followed.
#[derive(Clone)]
pub struct Segments {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Segments {
    /// Locks, recovers and opens a directory. Blocks: it reads the whole open segment.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it, [`Error::Foreign`] when it belongs to
    /// another node, [`Error::Corrupt`] when something that was durable is damaged or missing.
    pub fn open(options: Options) -> Result<(Self, Recovered), Error> {
        let disk = options.environment.directory(&options.directory)?;
        Self::open_on(disk, &options)
    }

    fn open_on(disk: Arc<dyn Disk>, options: &Options) -> Result<(Self, Recovered), Error> {
        let (bytes, min) = (options.segment_bytes, HEADER_BYTES);
        if bytes < min {
            return Err(Error::SegmentTooSmall { bytes, min });
        }
        let lock: Arc<dyn Any + Send + Sync> = Arc::new(Mutex::new(disk.lock()?));
        let (opened, recovered) = recover::recover(&disk, options)?;
        let shared = Shared::new(disk, options, opened.logical, opened.catalog, opened.pool);
        let inner = Inner {
            shared: Arc::new(shared),
            threads: Mutex::default(),
        };
        let files = (opened.slots, opened.open);
        let writer = Writer::new(inner.shared.clone(), files, opened.roll_is_due, options);
        let keeper = Keeper::new(inner.shared.clone(), options);
        if options.environment.disk_delay().is_some() {
            let environment = || options.environment.clone();
            inner.spawn(&lock, writer.run_as_task(environment()));
            inner.spawn(&lock, keeper.run_as_task(environment()));
        } else {
            inner.start("log-writer", options, &lock, || writer.run())?;
            inner.start("log-keeper", options, &lock, || keeper.run())?;
        }
        let inner = Arc::new(inner);
        Ok((Self { inner }, recovered))
    }

    /// Appends frames, which must continue the log. They are readable when this returns; `done`
    /// is called once they are durable, or with the error that stopped the log.
    ///
    /// Waits (asynchronously) while `waiting_bytes` of earlier appends are not on the disk yet;
    /// it never blocks the thread. Dropping the future before it is ready appends nothing. A
    /// body is kept as it is given, so it should not be a small slice of a large buffer.
    ///
    /// # Errors
    /// When the frames don't continue the log or the log has stopped. Then nothing was appended
    /// and `done` is dropped uncalled.
    pub async fn append(
        &self,
        frames: Vec<Frame>,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let mut offer = Offer::new(frames, Box::new(done));
        loop {
            let room = shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match shared.try_append(offer)? {
                None => return Ok(()),
                Some(refused) => offer = refused,
            }
            room.await;
        }
    }

    /// Replaces the vote. It is durable, with every append before it, when `done` is called.
    ///
    /// Like `truncate_after` and `purge` it is queued at once and not counted against
    /// `waiting_bytes`: the caller awaits `done` before it sends the next.
    ///
    /// # Errors
    /// When the vote is larger than [`MAX_VOTE_BYTES`] or the log has stopped; `done` is then
    /// dropped uncalled.
    pub fn save_vote(
        &self,
        vote: Vec<u8>,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<(), Error> {
        if vote.len() > MAX_VOTE_BYTES {
            return Err(Error::TooLarge {
                what: "vote",
                bytes: vote.len(),
                max: MAX_VOTE_BYTES,
            });
        }
        self.inner.shared.save_vote(vote, Box::new(done))
    }

    /// Remembers how far the log is committed. It reaches the disk with the next write of the
    /// vote slots (a vote, a purge, a full segment, or idleness): it may be lost, never wrong.
    pub fn set_committed(&self, committed: LogPosition) {
        self.inner.shared.lock().committed = Some(committed);
    }

    /// Cuts every frame after `index` (all frames on `None`). They can't be read any more when
    /// this returns; `done` is called when the cut is durable. Reads one frame from the disk if
    /// the cut is far behind, which blocks.
    ///
    /// # Errors
    /// [`Error::Purged`] for an index below what was purged; otherwise as `save_vote`.
    pub fn truncate_after(
        &self,
        index: Option<u64>,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let to = match index {
            None => None,
            Some(index) => position_to_keep(shared, index)?,
        };
        shared.truncate(to, Box::new(done))
    }

    /// Moves the beginning of the log behind `to`, which may lie beyond its end (a snapshot was
    /// installed): then the log goes on at `to.index + 1`. `done` is called when that is
    /// durable; files that hold nothing else are unlinked afterwards. Purging less than was
    /// purged before does nothing.
    ///
    /// # Errors
    /// As `save_vote`.
    pub fn purge(
        &self,
        to: LogPosition,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<(), Error> {
        self.inner.shared.purge(to, Box::new(done))
    }

    /// Frames of `range`, in order and without a gap, as far as they exist: it starts at the
    /// first index that was not purged. Stops before the frame that exceeds `max_bytes`, but
    /// always returns one if there is one.
    ///
    /// Recent frames come from memory; older ones are read with a blocking pread, so call it
    /// where that is allowed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the first frame of the range can't be verified; it is never
    /// returned.
    pub fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Frame>, Error> {
        read::read(&self.inner.shared, range, max_bytes)
    }

    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.inner.shared.lock().log.bounds()
    }

    /// The last index of the full segment that holds `index`; `None` while that segment is open.
    /// Known as soon as the frame that fills the segment was appended, so whoever applies it can
    /// tell. A truncation ends a segment too, at a frame that may have been applied before.
    #[must_use]
    pub fn segment_end(&self, index: u64) -> Option<u64> {
        self.inner.shared.lock().log.segment_end(index)
    }

    /// The files, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let shared = &self.inner.shared;
        shared.lock().catalog.infos(|name| shared.disk.path(name))
    }

    /// The disk space of this log. Cheap.
    #[must_use]
    pub fn space(&self) -> Space {
        self.inner.shared.space()
    }

    /// How many files there are, and their bytes together.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.inner.shared.lock().catalog.size()
    }

    /// Reads a whole sealed segment and compares it with the checksum in its footer. Blocks.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it differs. `Ok` for a segment that is open or gone.
    pub fn scrub(&self, first_index: u64) -> Result<(), Error> {
        read::scrub(&self.inner.shared, first_index)
    }

    /// Sealed segments that the scrub has found damaged since the log was opened, oldest first,
    /// as far as they were not purged.
    #[must_use]
    pub fn damaged(&self) -> Vec<Damage> {
        self.inner.shared.damaged()
    }

    /// Resolves when an error has stopped the log, or it was closed. Nobody else may notice: the
    /// writer also writes when it is idle.
    pub async fn stopped(&self) -> Error {
        self.inner.shared.stopped().await
    }

    /// Waits until the writer has written what was queued and has given up the directory; a writer
    /// that is a task does so afterwards. Blocks. Every later request fails with [`Error::Closed`].
    pub fn close(&self) {
        self.inner.shared.close();
        for thread in std::mem::take(&mut *self.inner.threads()) {
            // A panic of the writer has stopped the log with an error already.
            let _ = thread.join();
        }
    }
}

/// The position of the last frame that a truncation keeps; `None` if it keeps none.
fn position_to_keep(shared: &Shared, index: u64) -> Result<Option<LogPosition>, Error> {
    loop {
        let place = shared.lock().log.place(index)?;
        match place {
            Place::Before => return Ok(None),
            Place::Known(position) => return Ok(Some(position)),
            Place::OnDisk => {
                if let Some(position) = read::position(shared, index)? {
                    return Ok(Some(position));
                }
            }
        }
    }
}

impl Inner {
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a task that holds the directory for as long as it runs.
    fn spawn(
        &self,
        lock: &Arc<dyn Any + Send + Sync>,
        run: impl Future<Output = ()> + Send + 'static,
    ) {
        let lock = lock.clone();
        tokio::spawn(async move {
            run.await;
            drop(lock);
        });
    }

    /// Starts a thread that holds the directory for as long as it runs.
    fn start(
        &self,
        name: &str,
        options: &Options,
        lock: &Arc<dyn Any + Send + Sync>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let lock = lock.clone();
        let run = move || {
            run();
            drop(lock);
        };
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .map_err(|e| Error::io("start a thread for", options.directory.clone(), e))?;
        self.threads().push(thread);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments")
            .field("bounds", &self.bounds())
            .finish_non_exhaustive()
    }
}
