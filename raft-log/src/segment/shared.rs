//! What the handles and the writer share: the logical log, the catalog, and the queue between.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::catalog::Catalog;
use super::disk::Disk;
use super::error::Error;
use super::frame::Frame;
use super::layout::{Identity, size};
use super::logical::{Logical, Stamped, Start};
use super::{LogPosition, Options};

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
    pub(super) committed: Option<LogPosition>,
    /// Changes with every truncation and purge, when it is asked for and again before the files
    /// change: a read that met such a change starts again.
    pub(super) epoch: u64,
    queue: VecDeque<Request>,
    waiting_bytes: usize,
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

    fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.closing
    }

    fn take(&mut self) -> Work {
        if !self.queue.is_empty() {
            Work::Requests(std::mem::take(&mut self.queue))
        } else if self.closing {
            Work::Close
        } else {
            Work::Idle
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) identity: Identity,
    /// Told when appends that waited may try again.
    pub(super) room: Notify,
    /// Told when the log has stopped.
    stopped: Notify,
    state: Mutex<State>,
    /// There is work: for a writer that is a thread, and for one that is a task.
    work: Condvar,
    work_for_task: Notify,
    waiting_max: usize,
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
    ) -> Self {
        let log = Logical::new(start, options.segment_bytes, options.cache_bytes);
        let state = State {
            log,
            catalog,
            committed: None,
            epoch: 0,
            queue: VecDeque::new(),
            waiting_bytes: 0,
            stopped: None,
            closing: false,
        };
        Self {
            disk,
            identity: options.identity(),
            room: Notify::new(),
            stopped: Notify::new(),
            state: Mutex::new(state),
            work: Condvar::new(),
            work_for_task: Notify::new(),
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
        self.wake_writer();
    }

    fn wake_writer(&self) {
        self.work.notify_one();
        self.work_for_task.notify_one();
    }

    /// Takes everything that waits; blocks until there is something, or for `idle`.
    pub(super) fn take(&self, idle: Option<Duration>) -> Work {
        let nothing = |state: &mut State| !state.has_work();
        let state = self.lock();
        let mut state = match idle {
            Some(idle) => {
                let waited = self.work.wait_timeout_while(state, idle, nothing);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self
                .work
                .wait_while(state, nothing)
                .unwrap_or_else(PoisonError::into_inner),
        };
        state.take()
    }

    /// The same for a writer that is a task.
    pub(super) async fn wait(&self, idle: Option<Duration>) -> Work {
        let has_work = async {
            while !self.lock().has_work() {
                self.work_for_task.notified().await;
            }
        };
        match idle {
            // Whether in time or not: what there is by now is taken.
            Some(idle) => tokio::time::timeout(idle, has_work).await.unwrap_or(()),
            None => has_work.await,
        }
        self.lock().take()
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
        self.wake_writer();
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
        self.stopped.notify_waiters();
        for request in queue {
            request.into_done()(Err(error.clone()));
        }
    }
}
