//! The writer: the only one that changes files, on a thread of its own (where disks are simulated, a
//! task).
//!
//! It takes all requests that wait. Appends that follow each other become one vectored write and
//! one fdatasync, whatever their number, up to the end of a segment or [`CHUNK_BYTES`]; then
//! their callbacks fire, in order. A vote, truncation or purge waits for the appends before it
//! and holds up those after it. The first error ends the thread and the log: after a failed
//! fdatasync the kernel may have dropped what it could not write, so a retry proves nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opentelemetry::global;
use opentelemetry::metrics::Histogram;
use tracing::{debug, error};

use super::LogPosition;
use super::catalog::{Entry, Kind};
use super::cut::Cut;
use super::error::Error;
use super::header::Header;
use super::logical::Stamped;
use super::open::Open;
use super::shared::{Append, Request, Shared, Work};
use super::slots::Slots;
use crate::environment::Environment;

/// About how much is written at once. More would delay the first callback for little gain.
const CHUNK_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    slots: Slots,
    open: Open,
    idle: Duration,
    round: VecDeque<Request>,
    /// How many frames of the first append in `round` are on the disk.
    written: usize,
    /// The newest vote is in one slot only.
    vote_is_single: bool,
    /// Files that hold nothing of the log any more.
    doomed: Vec<String>,
    write_seconds: Histogram<f64>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, slots: Slots, open: Open, idle: Duration) -> Self {
        Self {
            shared,
            slots,
            open,
            idle,
            round: VecDeque::new(),
            written: 0,
            vote_is_single: true,
            doomed: Vec::new(),
            write_seconds: global::meter("updraft_log")
                .f64_histogram("updraft_log_write_seconds")
                .with_unit("s")
                .with_description("One write of entries to the disk and its fdatasync")
                .build(),
        }
    }

    /// Starts a thread that runs until the log is closed or an error stops it; where the disk does
    /// not block, a task.
    pub(super) fn start(
        self,
        environment: Arc<dyn Environment>,
        lock: Box<dyn Any + Send>,
    ) -> io::Result<Option<JoinHandle<()>>> {
        if environment.disk_delay().is_some() {
            tokio::spawn(async move {
                self.run_as_task(&*environment).await;
                drop(lock);
            });
            return Ok(None);
        }
        let thread = std::thread::Builder::new().name("log-writer".into());
        let run = move || {
            self.run();
            drop(lock);
        };
        thread.spawn(run).map(Some)
    }

    fn run(mut self) {
        let mut goes_on = true;
        while goes_on {
            let work = self.shared.take(self.patience());
            goes_on = self.serve(work);
        }
    }

    async fn run_as_task(mut self, environment: &dyn Environment) {
        let mut goes_on = true;
        while goes_on {
            let work = self.shared.wait(self.patience()).await;
            tokio::time::sleep(environment.disk_delay().unwrap_or_default()).await;
            goes_on = self.serve(work);
        }
    }

    /// How long it may be idle.
    fn patience(&self) -> Option<Duration> {
        self.mark_is_due().then_some(self.idle)
    }

    /// Whether there is more to come.
    fn serve(&mut self, work: Work) -> bool {
        let is_last = matches!(work, Work::Close) && !self.mark_is_due();
        let served = match work {
            Work::Requests(requests) => self.serve_round(requests),
            Work::Close if is_last => Ok(()),
            Work::Idle | Work::Close => self.mark(),
        };
        let Err(error) = served else { return !is_last };
        error!(%error, "the log stops: a write failed");
        self.stop(error);
        false
    }

    fn serve_round(&mut self, requests: VecDeque<Request>) -> Result<(), Error> {
        self.round = requests;
        while let Some(request) = self.round.pop_front() {
            let (done, result) = match request {
                Request::Append(append) => {
                    self.round.push_front(Request::Append(append));
                    self.append()?;
                    continue;
                }
                Request::Vote { vote, done } => (done, self.vote(vote)),
                Request::Truncate { end, last, done } => (done, self.truncate(end, last)),
                Request::Purge { to, done } => (done, self.purge(to)),
                Request::Nothing { done } => (done, Ok(())),
            };
            done(result.clone());
            result?;
        }
        self.unlink_doomed()
    }

    /// Writes the next frames that can go in one write.
    fn append(&mut self) -> Result<(), Error> {
        #[cfg(feature = "sabotage")]
        self.acknowledge_early();
        let chunk = next_chunk(&self.round, self.written);
        let Some(first) = chunk.first() else {
            self.complete(0);
            return Ok(());
        };
        if first.frame.index != self.open.end() {
            self.restart(first.frame.index, None)?;
        }
        let began = Instant::now();
        let points = self.open.write(&chunk)?;
        self.write_seconds
            .record(began.elapsed().as_secs_f64(), &[]);
        if let Some(last) = self.open.last() {
            let (base, offset) = (self.open.base(), self.open.offset());
            self.shared.lock().catalog.grow(base, last, offset, points);
        }
        self.complete(chunk.len());
        if chunk.last().is_some_and(|stamped| stamped.last_of_segment) {
            self.roll()?;
        }
        Ok(())
    }

    /// `frames` more are on the disk: answers the appends that are complete with them.
    fn complete(&mut self, frames: usize) {
        self.written += frames;
        while let Some(Request::Append(append)) = self.round.front() {
            if append.frames.len() > self.written {
                break;
            }
            self.written -= append.frames.len();
            if let Some(Request::Append(append)) = self.round.pop_front() {
                self.shared.flushed(&append);
                (append.done)(Ok(()));
            }
        }
    }

    /// Seals the full segment and begins the next.
    fn roll(&mut self) -> Result<(), Error> {
        let base = self.open.base();
        let points = match self
            .shared
            .lock()
            .catalog
            .get(base)
            .map(|entry| &entry.kind)
        {
            Some(Kind::Open { points, .. }) => points.clone(),
            _ => Vec::new(),
        };
        let bytes = self.open.seal(&points)?;
        self.shared.lock().catalog.seal(base, bytes);
        self.begin(self.open.next_header())?;
        debug!(segment = self.open.base(), "began a segment");
        self.mark()
    }

    fn begin(&mut self, header: Header) -> Result<(), Error> {
        self.open = Open::create(&self.shared.disk, header)?;
        self.shared
            .lock()
            .catalog
            .insert(self.open.entry(Vec::new()));
        Ok(())
    }

    /// Leaves everything behind and goes on at `base`.
    fn restart(&mut self, base: u64, previous: Option<LogPosition>) -> Result<(), Error> {
        let header = Header {
            base,
            previous,
            ..self.open.next_header()
        };
        self.open = Open::create(&self.shared.disk, header)?;
        let mut state = self.shared.lock();
        let old = state.catalog.split_off(0);
        state.catalog.insert(self.open.entry(Vec::new()));
        state.epoch += 1;
        self.doomed.extend(old.into_iter().map(|entry| entry.name));
        Ok(())
    }

    fn vote(&mut self, vote: Vec<u8>) -> Result<(), Error> {
        self.slots.record.vote = Some(vote);
        self.write_slot()?;
        self.vote_is_single = true;
        Ok(())
    }

    /// The slot decides: once it is durable, a start finishes what is left undone here.
    fn truncate(&mut self, end: u64, last: Option<LogPosition>) -> Result<(), Error> {
        let generation = self.open.generation() + 1;
        let record = &mut self.slots.record;
        record.durable_end = end.min(self.open.end());
        record.cut_end = end;
        record.cut_generation = generation;
        self.slots.write()?;
        self.cut_files(end)?;
        let header = Header {
            base: end,
            generation,
            previous: last,
            ..self.open.next_header()
        };
        self.begin(header)
    }

    fn cut_files(&mut self, end: u64) -> Result<(), Error> {
        let disk = self.shared.disk.clone();
        let spanning = self.shared.lock().catalog.before(end).cloned();
        let cut = match spanning.filter(|entry| entry.end() > end || !entry.is_sealed()) {
            Some(Entry {
                base,
                generation,
                frames_end,
                ..
            }) => Some(Cut::plan(&disk, (base, generation), Some(frames_end), end)?),
            None => None,
        };
        // No read may look behind the cut from here on.
        let mut state = self.shared.lock();
        let beyond = state.catalog.split_off(end);
        if let Some(cut) = &cut {
            state.catalog.insert(cut.entry());
        }
        state.epoch += 1;
        drop(state);
        for entry in beyond.iter().rev() {
            disk.unlink(&entry.name)
                .map_err(|e| Error::io("unlink", disk.path(&entry.name), e))?;
        }
        cut.map_or(Ok(()), Cut::execute)
    }

    fn purge(&mut self, to: LogPosition) -> Result<(), Error> {
        let end = to.index + 1;
        self.slots.record.purged = Some(to);
        if end > self.open.end() {
            self.slots.record.durable_end = end;
            self.slots.write()?;
            return self.restart(end, Some(to));
        }
        self.write_slot()?;
        let mut state = self.shared.lock();
        let below = state.catalog.take_below(end);
        state.epoch += 1;
        self.doomed
            .extend(below.into_iter().map(|entry| entry.name));
        Ok(())
    }

    /// After the callbacks, since unlinking a large file takes milliseconds. A crash before it
    /// leaves files that the next start removes.
    fn unlink_doomed(&mut self) -> Result<(), Error> {
        if self.doomed.is_empty() {
            return Ok(());
        }
        let disk = &self.shared.disk;
        for name in self.doomed.drain(..) {
            disk.unlink(&name)
                .map_err(|e| Error::io("unlink", disk.path(&name), e))?;
        }
        disk.sync_directory()
            .map_err(|e| Error::io("sync", disk.path(""), e))
    }

    /// Whether the slots are behind what is known, or the vote could be lost with one of them.
    fn mark_is_due(&self) -> bool {
        self.vote_is_single
            || self.slots.record.durable_end != self.open.end()
            || self.slots.record.committed != self.committed()
    }

    /// The newest committed position that is durable.
    fn committed(&self) -> Option<LogPosition> {
        let durable = |c: &LogPosition| c.index < self.open.end();
        self.shared
            .lock()
            .committed
            .filter(durable)
            .or(self.slots.record.committed)
    }

    /// Writes the durable mark, without which a damaged last frame would look like a torn write.
    fn mark(&mut self) -> Result<(), Error> {
        self.write_slot()?;
        self.vote_is_single = false;
        Ok(())
    }

    fn write_slot(&mut self) -> Result<(), Error> {
        self.slots.record.durable_end = self.open.end();
        self.slots.record.committed = self.committed();
        self.slots.write()
    }

    /// Answers everything with `error`, now and later.
    fn stop(&mut self, error: Error) {
        self.shared.stop(error.clone());
        for request in self.round.drain(..) {
            request.into_done()(Err(error.clone()));
        }
    }

    /// Breaks I1 on purpose, so that a test can see a lost write noticed.
    #[cfg(feature = "sabotage")]
    fn acknowledge_early(&mut self) {
        if !crate::sabotage::active("ack-before-fsync") {
            return;
        }
        for request in &mut self.round {
            if let Request::Append(append) = request {
                std::mem::replace(&mut append.done, Box::new(|_| ()))(Ok(()));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl Drop for Writer {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.stop(Error::Closed);
    }
}

/// The frames of the leading appends, without the first `written`, up to the end of a segment or
/// about [`CHUNK_BYTES`].
fn next_chunk(round: &VecDeque<Request>, written: usize) -> Vec<Stamped> {
    let appends = round.iter().map_while(|request| match request {
        Request::Append(Append { frames, .. }) => Some(frames),
        _ => None,
    });
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for stamped in appends.flatten().skip(written) {
        bytes += stamped.frame.stored_bytes();
        chunk.push(stamped.clone());
        if stamped.last_of_segment || bytes >= CHUNK_BYTES {
            break;
        }
    }
    chunk
}
