//! The writer: the only one that changes files, on a thread of its own (where disks are simulated, a
//! task).
//!
//! It takes all requests that wait. Appends that follow each other become one vectored write and
//! one fdatasync, whatever their number, up to the end of a segment or [`CHUNK_BYTES`]; then
//! their callbacks fire, in order. A vote, truncation or purge waits for the appends before it
//! and holds up those after it. The first error ends the thread and the log: after a failed
//! fdatasync the kernel may have dropped what it could not write, so a retry proves nothing.
//!
//! A full disk is no such error. Segments begin with files that are pre-written, so only what
//! needs the next file can lack space; it waits, with all behind it, and is tried again until it
//! gets it. A purge goes first then, since it is what frees a file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::global;
use opentelemetry::metrics::Histogram;
use tracing::{debug, error, info, warn};

use super::catalog::{Entry, Kind};
use super::cut::Cut;
use super::disk::Disk;
use super::error::Error;
use super::header::Header;
use super::layout::spare_name;
use super::logical::Stamped;
use super::open::Open;
use super::shared::{Append, Request, Shared, Wait, Work};
use super::slots::Slots;
use super::spare::Spare;
use super::{LogPosition, Options};
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
    /// The open segment is full, and the next has not begun.
    roll_is_due: bool,
    /// What a truncation has decided on and not done yet.
    cut: Option<Cut>,
    beyond: Vec<Entry>,
    retry: Duration,
    /// Why the first request has to wait.
    stalled: Option<Error>,
    write_seconds: Histogram<f64>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        (slots, open): (Slots, Open),
        roll_is_due: bool,
        options: &Options,
    ) -> Self {
        Self {
            shared,
            slots,
            open,
            idle: options.idle,
            retry: options.space_retry,
            stalled: None,
            round: VecDeque::new(),
            written: 0,
            vote_is_single: true,
            roll_is_due,
            cut: None,
            beyond: Vec::new(),
            write_seconds: global::meter("updraft_log")
                .f64_histogram("updraft_log_write_seconds")
                .with_unit("s")
                .with_description("One write of entries to the disk and its fdatasync")
                .build(),
        }
    }

    /// Runs until the log is closed or an error stops it.
    pub(super) fn run(mut self) {
        while let Some(wait) = self.work() {
            let work = self.shared.take(wait);
            if !self.takes(work) {
                break;
            }
        }
    }

    /// The same as a task, where the disk does not block.
    pub(super) async fn run_as_task(mut self, environment: Arc<dyn Environment>) {
        while let Some(wait) = self.work() {
            let work = self.shared.take_as_task(wait).await;
            tokio::time::sleep(environment.disk_delay().unwrap_or_default()).await;
            if !self.takes(work) {
                break;
            }
        }
    }

    /// Does what can be done; says what to wait for, unless the log has stopped.
    fn work(&mut self) -> Option<Wait> {
        match self.try_work() {
            Ok(wait) => Some(wait),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    fn try_work(&mut self) -> Result<Wait, Error> {
        self.stalled = self.serve_round()?;
        self.note_stall();
        if self.stalled.is_none() {
            return Ok(Wait::Work(self.mark_is_due().then_some(self.idle)));
        }
        self.mark_stalled()?;
        Ok(Wait::Space(self.retry))
    }

    /// Takes what it waited for; whether there is more to come.
    fn takes(&mut self, work: Work) -> bool {
        match (work, self.stalled.take()) {
            (Work::Requests(requests), _) => self.round.extend(requests),
            (_, Some(error)) => {
                self.stop(error);
                return false;
            }
            (Work::Close, None) if !self.mark_is_due() => return false,
            (Work::Idle | Work::Close, None) => {
                if let Err(error) = self.mark() {
                    self.fail(error);
                    return false;
                }
            }
        }
        true
    }

    fn fail(&mut self, error: Error) {
        error!(%error, "the log stops: a write failed");
        self.stop(error);
    }

    /// Carries out what was asked for, in order; returns why the first that is left has to wait.
    fn serve_round(&mut self) -> Result<Option<Error>, Error> {
        loop {
            let result = match self.next() {
                Ok(true) => continue,
                Ok(false) => return Ok(None),
                Err(error) => error,
            };
            if !matches!(result, Error::DiskFull { .. }) {
                return Err(result);
            }
            if !self.purge_ahead()? {
                return Ok(Some(result));
            }
        }
    }

    /// Carries out the first request, or a part of it. After [`Error::DiskFull`] it is still the
    /// first, and can be carried out again.
    fn next(&mut self) -> Result<bool, Error> {
        let Some(request) = self.round.front() else {
            if self.roll_is_due {
                self.roll()?;
            }
            return Ok(false);
        };
        match request {
            Request::Append(_) => {
                self.append()?;
                return Ok(true);
            }
            Request::Vote { vote, .. } => {
                let vote = vote.clone();
                self.vote(vote)?;
            }
            &Request::Truncate { end, last, .. } => self.truncate(end, last)?,
            &Request::Purge { to, .. } => self.purge(to)?,
            Request::Nothing { .. } => {}
        }
        if let Some(request) = self.round.pop_front() {
            request.into_done()(Ok(()));
        }
        Ok(true)
    }

    /// An append waits for space: carries out a later purge of what is durable, which may free
    /// some. It is the same before and after frames that lie behind it.
    fn purge_ahead(&mut self) -> Result<bool, Error> {
        let waits = matches!(self.round.front(), Some(Request::Append(_)));
        if !waits || !self.shared.lock().pool.is_full() {
            return Ok(false);
        }
        let end = self.open.end();
        let ahead =
            |request: &Request| matches!(request, Request::Purge { to, .. } if to.index < end);
        let stays = |request: &Request| !matches!(request, Request::Truncate { .. });
        let at = self.round.iter().take_while(|r| stays(r)).position(ahead);
        let Some(request) = at.and_then(|at| self.round.remove(at)) else {
            return Ok(false);
        };
        if let Request::Purge { to, .. } = &request {
            self.purge(*to)?;
        }
        request.into_done()(Ok(()));
        Ok(true)
    }

    /// The disk may stay full for long: what is durable is marked as if the writer was idle,
    /// unless the open segment is one that is being left.
    fn mark_stalled(&mut self) -> Result<(), Error> {
        let leaves = |r: &Request| matches!(r, Request::Truncate { .. } | Request::Purge { .. });
        if self.round.front().is_some_and(leaves) || !self.mark_is_due() {
            return Ok(());
        }
        match self.mark() {
            Err(Error::DiskFull { .. }) => Ok(()),
            marked => marked,
        }
    }

    fn note_stall(&self) {
        let stalled = self.stalled.as_ref();
        let mut state = self.shared.lock();
        // A file that is being made is not worth a word.
        let full = stalled.is_some() && state.pool.is_full();
        if full == state.pool.stalled {
            return;
        }
        state.pool.stalled = full;
        drop(state);
        match stalled.filter(|_| full) {
            Some(error) => warn!(%error, "the log waits for disk space"),
            None => info!("the log goes on: there is disk space again"),
        }
    }

    /// Writes the next frames that can go in one write.
    fn append(&mut self) -> Result<(), Error> {
        if self.roll_is_due {
            self.roll()?;
        }
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
        let grown = self.open.write(&chunk)?;
        self.write_seconds
            .record(began.elapsed().as_secs_f64(), &[]);
        if let Some(last) = self.open.last() {
            let base = self.open.base();
            self.shared.lock().catalog.grow(base, last, grown);
        }
        self.complete(chunk.len());
        self.roll_is_due = chunk.last().is_some_and(|stamped| stamped.last_of_segment);
        self.shared.think_ahead();
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
        let spare = self.take_spare()?;
        let base = self.open.base();
        let points = match self.shared.lock().catalog.get(base).map(|e| &e.kind) {
            Some(Kind::Open { points, .. }) => points.clone(),
            _ => Vec::new(),
        };
        let sealed = self.open.seal(&points);
        if let Err(error) = sealed {
            self.shared.lock().pool.give_back(spare);
            return Err(error);
        }
        let bytes = self.open.bytes();
        let next = self.open.next_header(self.next_generation());
        self.open = self.begin(spare, next)?;
        let mut state = self.shared.lock();
        state.catalog.seal(base, bytes);
        state.catalog.insert(self.open.entry(Vec::new()));
        drop(state);
        self.roll_is_due = false;
        debug!(segment = self.open.base(), "began a segment");
        self.mark()
    }

    /// A file for a segment. While there is none, that counts as a full disk, if only for as
    /// long as the keeper needs to make one.
    fn take_spare(&self) -> Result<Spare, Error> {
        if let Some(spare) = self.shared.take_spare()? {
            return Ok(spare);
        }
        let state = self.shared.lock();
        Err(state.pool.problem().cloned().unwrap_or_else(|| {
            let path = self.shared.disk.path("");
            Error::io(
                "begin a segment in",
                path,
                std::io::ErrorKind::StorageFull.into(),
            )
        }))
    }

    fn next_generation(&self) -> u32 {
        self.shared.lock().pool.next_generation()
    }

    fn begin(&self, spare: Spare, header: Header) -> Result<Open, Error> {
        Open::begin(&self.shared.disk, header, &spare).inspect_err(|error| {
            if matches!(error, Error::DiskFull { .. }) {
                self.shared.lock().pool.give_back(spare.clone());
            }
        })
    }

    /// Leaves everything behind and goes on at `base`.
    fn restart(&mut self, base: u64, previous: Option<LogPosition>) -> Result<(), Error> {
        let spare = self.take_spare()?;
        let header = Header {
            base,
            previous,
            ..self.open.next_header(self.next_generation())
        };
        self.open = self.begin(spare, header)?;
        self.roll_is_due = false;
        let mut state = self.shared.lock();
        let old = state.catalog.split_off(0);
        state.catalog.insert(self.open.entry(Vec::new()));
        state.epoch += 1;
        drop(state);
        self.retire(old);
        Ok(())
    }

    fn retire(&self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            let files = entries.into_iter().map(|entry| (entry.name, entry.bytes));
            self.shared.retire(files);
        }
    }

    fn vote(&mut self, vote: Vec<u8>) -> Result<(), Error> {
        self.slots.record.vote = Some(vote);
        self.write_slot()?;
        self.vote_is_single = true;
        Ok(())
    }

    /// The slot decides: once it is durable, a start finishes what is left undone here.
    fn truncate(&mut self, end: u64, last: Option<LogPosition>) -> Result<(), Error> {
        let generation = self.next_generation();
        let record = &mut self.slots.record;
        record.durable_end = end.min(self.open.end());
        record.cut_end = end;
        record.cut_generation = generation;
        self.slots.write()?;
        self.cut_files(end)?;
        let spare = self.take_spare()?;
        let header = Header {
            base: end,
            generation,
            previous: last,
            ..self.open.next_header(generation)
        };
        self.open = self.begin(spare, header)?;
        self.roll_is_due = false;
        let entry = self.open.entry(Vec::new());
        self.shared.lock().catalog.insert(entry);
        Ok(())
    }

    fn cut_files(&mut self, end: u64) -> Result<(), Error> {
        let disk = self.shared.disk.clone();
        if self.cut.is_none() {
            let spanning = self.shared.lock().catalog.before(end).cloned();
            let spanning = spanning.filter(|entry| entry.end() > end || !entry.is_sealed());
            if let Some(entry) = spanning {
                let segment = (entry.base, entry.generation);
                self.cut = Some(Cut::plan(&disk, segment, Some(entry.frames_end), end)?);
            }
        }
        // No read may look behind the cut from here on.
        let mut state = self.shared.lock();
        self.beyond.extend(state.catalog.split_off(end));
        if let Some(cut) = &self.cut {
            state.catalog.insert(cut.entry());
        }
        state.epoch += 1;
        drop(state);
        if let Some(cut) = &self.cut {
            cut.execute()?;
        }
        self.cut = None;
        self.retire_beyond(&*disk)
    }

    /// Segments that were cut off are gone, durably, before another truncation could take them
    /// for its own.
    fn retire_beyond(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        let mut gone = Vec::new();
        while let Some(entry) = self.beyond.last() {
            let spare = spare_name(entry.base, entry.generation);
            disk.rename(&entry.name, &spare)
                .map_err(|e| Error::io("rename", disk.path(&entry.name), e))?;
            gone.push((spare, entry.bytes));
            self.beyond.pop();
        }
        disk.sync_directory()
            .map_err(|e| Error::sync(disk.path(""), e))?;
        self.shared.retire(gone);
        Ok(())
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
        drop(state);
        self.retire(below);
        Ok(())
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
