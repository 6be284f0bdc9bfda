//! What the handles and the writer share: the logical log, the catalog, and the queue between.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::bell::Bell;
use super::catalog::{Catalog, Entry};
use super::disk::Disk;
use super::error::Error;
use super::frame::Frame;
use super::keeper::Task;
use super::layout::{Identity, size};
use super::logical::{Logical, Stamped, Start};
use super::spare::{Pool, Spare};
use super::{Damage, LogPosition, Options, Space, slots};

pub(super) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What the writer is asked for. Each is carried out whole and durable before the next begins;
/// only appends that follow each other share a write.
pub(super) enum Request {
    Append(Append),
    Vote {
        vote: Vec<u8>,
        done: Done,
    },
    Truncate {
        end: u64,
        last: Option<LogPosition>,
        done: Done,
    },
    Purge {
        to: LogPosition,
        done: Done,
    },
    /// A truncation or purge that changes nothing; it is still answered in its turn.
    Nothing {
        done: Done,
    },
}

pub(super) struct Append {
    pub(super) frames: Vec<Stamped>,
    pub(super) ticket: u64,
    /// What it counts against `waiting_bytes`.
    pub(super) bytes: usize,
    pub(super) done: Done,
}

impl Request {
    pub(super) fn into_done(self) -> Done {
        match self {
            Self::Append(Append { done, .. })
            | Self::Vote { done, .. }
            | Self::Truncate { done, .. }
            | Self::Purge { done, .. }
            | Self::Nothing { done } => done,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append(_) => "Append",
            Self::Vote { .. } => "Vote",
            Self::Truncate { .. } => "Truncate",
            Self::Purge { .. } => "Purge",
            Self::Nothing { .. } => "Nothing",
        })
    }
}

/// An append that waits for room.
pub(super) struct Offer {
    frames: Vec<Frame>,
    bytes: usize,
    done: Done,
}

impl Offer {
    pub(super) fn new(frames: Vec<Frame>, done: Done) -> Self {
        let bytes = size(frames.iter().map(Frame::stored_bytes).sum());
        Self {
            frames,
            bytes,
            done,
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Logical,
    pub(super) catalog: Catalog,
    pub(super) pool: Pool,
    /// What the scrub found, by first index, with the name of the file it found it in.
    damaged: BTreeMap<u64, (String, Damage)>,
    pub(super) committed: Option<LogPosition>,
    /// Changes with every truncation and purge, when it is asked for and again before the files
    /// change: a read that met such a change starts again.
    pub(super) epoch: u64,
    queue: VecDeque<Request>,
    waiting_bytes: usize,
    segment_bytes: u64,
    /// Why the log no longer serves anything.
    stopped: Option<Error>,
    closing: bool,
}

impl State {
    pub(super) fn running(&self) -> Result<(), Error> {
        match &self.stopped {
            Some(error) => Err(error.clone()),
            None if self.closing => Err(Error::Closed),
            None => Ok(()),
        }
    }

    fn has_segment(&self, entry: &Entry) -> bool {
        let known = self.catalog.get(entry.base);
        known.is_some_and(|e| e.name == entry.name && e.frames_end == entry.frames_end)
    }

    /// The writer writes nothing any more.
    fn has_ended(&self) -> bool {
        self.stopped.is_some()
    }

    /// What waits for space is answered with an error, because the log is closed.
    fn gives_up(&self) -> bool {
        self.closing && self.pool.problem().is_some()
    }

    /// Whether what the writer waits for is there.
    fn has(&self, wait: Wait) -> bool {
        match wait {
            Wait::Work(_) => !self.queue.is_empty() || self.closing,
            Wait::Space(_) => !self.queue.is_empty() || self.pool.changed || self.gives_up(),
        }
    }

    fn take(&mut self, wait: Wait) -> Work {
        match wait {
            Wait::Space(_) => {
                self.pool.changed = false;
                match self.gives_up() {
                    true => Work::Close,
                    false => Work::Requests(std::mem::take(&mut self.queue)),
                }
            }
            Wait::Work(_) if !self.queue.is_empty() => {
                Work::Requests(std::mem::take(&mut self.queue))
            }
            Wait::Work(_) if self.closing => Work::Close,
            Wait::Work(_) => Work::Idle,
        }
    }

    fn keeper_rests(&self, has_failed: bool) -> bool {
        !self.pool.has_retired() && !self.has_ended() && (has_failed || !self.lacks_spare())
    }

    /// Whether a file is to be made: the next segment is thought of when an eighth of this one
    /// is full.
    fn lacks_spare(&self) -> bool {
        let open = self.catalog.last().map_or(0, |open| open.frames_end);
        let far = open > self.segment_bytes / 8 || self.catalog.size().0 > 1;
        self.pool.lacks(far && !self.closing)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) identity: Identity,
    pub(super) segment_bytes: u64,
    /// Told when appends that waited may try again.
    pub(super) room: Notify,
    /// Told when the log has stopped.
    stopped: Notify,
    state: Mutex<State>,
    /// For the writer.
    work: Bell,
    /// For the keeper.
    upkeep: Bell,
    waiting_max: usize,
}

/// What the writer waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Something to do, for so long at most.
    Work(Option<Duration>),
    /// A request waits for space: anything that may have changed that, or the time of another
    /// attempt. When the log is closed meanwhile it waits for a file that is being made, but for no
    /// disk to become less full.
    Space(Duration),
}

impl Wait {
    fn limit(self) -> Option<Duration> {
        match self {
            Self::Work(limit) => limit,
            Self::Space(limit) => Some(limit),
        }
    }
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) enum Work {
    Requests(VecDeque<Request>),
    /// Nothing was asked for during the given time.
    Idle,
    Close,
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        options: &Options,
        start: Start,
        catalog: Catalog,
        pool: Pool,
    ) -> Self {
        let log = Logical::new(start, options.segment_bytes, options.cache_bytes);
        let state = State {
            log,
            catalog,
            pool,
            damaged: BTreeMap::new(),
            committed: None,
            epoch: 0,
            queue: VecDeque::new(),
            waiting_bytes: 0,
            segment_bytes: options.segment_bytes,
            stopped: None,
            closing: false,
        };
        Self {
            disk,
            identity: options.identity(),
            segment_bytes: options.segment_bytes,
            room: Notify::new(),
            stopped: Notify::new(),
            state: Mutex::new(state),
            work: Bell::default(),
            upkeep: Bell::default(),
            waiting_max: options.waiting_bytes,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends, or gives the offer back when there is no room. One that is larger than all the
    /// room there is gets in when nothing else waits.
    pub(super) fn try_append(&self, offer: Offer) -> Result<Option<Offer>, Error> {
        let mut state = self.lock();
        state.running()?;
        if state.waiting_bytes > 0 && state.waiting_bytes + offer.bytes > self.waiting_max {
            return Ok(Some(offer));
        }
        let Offer {
            frames,
            bytes,
            done,
        } = offer;
        let (frames, ticket) = state.log.append(frames)?;
        state.waiting_bytes += bytes;
        self.push(
            &mut state,
            Request::Append(Append {
                frames,
                ticket,
                bytes,
                done,
            }),
        );
        Ok(None)
    }

    pub(super) fn save_vote(&self, vote: Vec<u8>, done: Done) -> Result<(), Error> {
        let mut state = self.lock();
        state.running()?;
        self.push(&mut state, Request::Vote { vote, done });
        Ok(())
    }

    pub(super) fn truncate(&self, to: Option<LogPosition>, done: Done) -> Result<(), Error> {
        let mut state = self.lock();
        state.running()?;
        let request = match state.log.truncate(to) {
            Some((end, last)) => Request::Truncate { end, last, done },
            None => Request::Nothing { done },
        };
        state.epoch += 1;
        self.push(&mut state, request);
        Ok(())
    }

    pub(super) fn purge(&self, to: LogPosition, done: Done) -> Result<(), Error> {
        let mut state = self.lock();
        state.running()?;
        let request = match state.log.purge(to) {
            true => Request::Purge { to, done },
            false => Request::Nothing { done },
        };
        state.epoch += 1;
        self.push(&mut state, request);
        Ok(())
    }

    /// Under the lock, so that the writer sees requests in the order the log changed in.
    fn push(&self, state: &mut State, request: Request) {
        state.queue.push_back(request);
        self.work.ring();
    }

    /// Takes what the writer waits for; blocks until it is there.
    pub(super) fn take(&self, wait: Wait) -> Work {
        let resting = |state: &State| !state.has(wait);
        let mut state = self.work.wait(&self.state, wait.limit(), resting);
        state.take(wait)
    }

    /// The same for a writer that is a task.
    pub(super) async fn take_as_task(&self, wait: Wait) -> Work {
        let resting = |state: &State| !state.has(wait);
        let waited = self.work.wait_as_task(&self.state, wait.limit(), resting);
        waited.await.take(wait)
    }

    /// What the keeper is to do.
    pub(super) fn task(&self) -> Task {
        let mut state = self.lock();
        if let Some(file) = state.pool.next_retired() {
            Task::Retire(file)
        } else if state.has_ended() {
            Task::End
        } else if state.lacks_spare() {
            Task::Make
        } else {
            Task::Nothing
        }
    }

    /// Lets the keeper wait until there is something to do, or for a time. If it has `failed` to
    /// make a file, that alone does not count.
    pub(super) fn rest(&self, wait: Option<Duration>, failed: bool) {
        let resting = |state: &State| state.keeper_rests(failed);
        drop(self.upkeep.wait(&self.state, wait, resting));
    }

    /// The same for a keeper that is a task.
    pub(super) async fn rest_as_task(&self, wait: Option<Duration>, failed: bool) {
        let resting = |state: &State| state.keeper_rests(failed);
        drop(self.upkeep.wait_as_task(&self.state, wait, resting).await);
    }

    /// The first sealed segment from `base` on, or of all; any when `base` is not known yet.
    pub(super) fn sealed_from(&self, base: Option<u64>) -> Option<Entry> {
        let state = self.lock();
        let sealed = || state.catalog.sealed();
        let next = match base {
            Some(base) => sealed().find(|entry| entry.base >= base),
            None => sealed().nth(rand::random_range(0..sealed().count().max(1))),
        };
        next.or_else(|| sealed().next()).cloned()
    }

    /// Whether a segment is what it was: neither purged nor cut meanwhile.
    pub(super) fn has_segment(&self, entry: &Entry) -> bool {
        self.lock().has_segment(entry)
    }

    /// Notes what is wrong with a segment, if that is still one.
    pub(super) fn note_damage(&self, entry: &Entry, damage: Damage) -> bool {
        let mut state = self.lock();
        let known = state.has_segment(entry);
        if known {
            state
                .damaged
                .insert(entry.base, (entry.name.clone(), damage));
        }
        known
    }

    pub(super) fn damaged(&self) -> Vec<Damage> {
        let state = self.lock();
        let there = |base: &u64, name: &str| {
            let entry = state.catalog.get(*base);
            entry.is_some_and(|entry| entry.name == name)
        };
        let damaged = state.damaged.iter();
        damaged
            .filter(|(base, (name, _))| there(base, name))
            .map(|(_, (_, damage))| damage.clone())
            .collect()
    }

    /// A file for the next segment, or `None` while there is none.
    pub(super) fn take_spare(&self) -> Result<Option<Spare>, Error> {
        let spare = self.lock().pool.take();
        self.upkeep.ring();
        spare
    }

    /// Files that hold nothing of the log any more.
    pub(super) fn retire(&self, files: impl IntoIterator<Item = (String, u64)>) {
        let mut state = self.lock();
        for (name, bytes) in files {
            state.pool.retire(name, bytes);
        }
        drop(state);
        self.upkeep.ring();
    }

    /// Tells the keeper if it is time to think of the next segment.
    pub(super) fn think_ahead(&self) {
        if self.lock().lacks_spare() {
            self.upkeep.ring();
        }
    }

    /// Whether a file that holds nothing any more is to be kept.
    pub(super) fn keeps(&self, bytes: u64) -> bool {
        let state = self.lock();
        state.pool.fits(bytes) && state.pool.lacks(true)
    }

    pub(super) fn ready(&self, spare: Spare) {
        self.lock().pool.add(spare);
        self.work.ring();
    }

    pub(super) fn wake_writer(&self) {
        self.lock().pool.changed = true;
        self.work.ring();
    }

    pub(super) fn space(&self) -> Space {
        let state = self.lock();
        let open = state.catalog.last();
        let left = open.map_or(0, |open| open.bytes.saturating_sub(open.frames_end));
        Space {
            spare_bytes: left + state.pool.ready_bytes(),
            short: state.pool.is_short(),
            stalled: state.pool.stalled,
            used_bytes: state.catalog.size().1 + state.pool.bytes() + slots::FILE_BYTES,
        }
    }

    /// An append is on the disk, all of it.
    pub(super) fn flushed(&self, append: &Append) {
        let mut state = self.lock();
        state.waiting_bytes -= append.bytes;
        state.log.flushed(append.ticket);
        drop(state);
        self.room.notify_waiters();
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.ring();
        self.upkeep.ring();
        self.room.notify_waiters();
    }

    /// Resolves with the error that has ended the log.
    pub(super) async fn stopped(&self) -> Error {
        loop {
            let stopped = self.stopped.notified();
            tokio::pin!(stopped);
            stopped.as_mut().enable();
            if let Some(error) = &self.lock().stopped {
                return error.clone();
            }
            stopped.await;
        }
    }

    /// Ends the log: every request that waits and every later one fails with the first error.
    pub(super) fn stop(&self, error: Error) {
        let mut state = self.lock();
        let error = state.stopped.get_or_insert(error).clone();
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.room.notify_waiters();
        self.upkeep.ring();
        self.stopped.notify_waiters();
        for request in queue {
            request.into_done()(Err(error.clone()));
        }
    }
}
