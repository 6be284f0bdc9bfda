//! The keeper thread: keeps pre-written files ready, gets rid of those nobody needs, and scrubs.
//!
//! It never touches a segment that holds something of the log, and nobody waits for it unless
//! the log has grown faster than it writes. What it fails at, it tries again: it can't stop the
//! log, but a writer that needs a file and gets none may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Options;
use super::disk::{DiskFile, write_zeros};
use super::error::Error;
use super::layout::{
    parse_segment_name, parse_spare_name, prewritten_bytes, spare_name, unfinished_name,
};
use super::scrub::Scrub;
use super::shared::Shared;
use super::spare::Spare;
use crate::environment::Environment;

/// Zeros that are written and synced at once, so that the writer never waits for many.
const PIECE_BYTES: u64 = 1 << 20;
const RETRY_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    making: Option<Making>,
    scrub: Scrub,
    retry: Duration,
    /// How long it waits after another failure that `free_bytes` did not foresee.
    backoff: Duration,
}

/// A file that is being pre-written.
#[derive(Debug)]
struct Making {
    name: String,
    file: Arc<dyn DiskFile>,
    written: u64,
}

/// When there is more to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    /// When something has changed, or so much later.
    Later(Option<Duration>),
    /// It failed; so much later.
    Retry(Duration),
    End,
}

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Task {
    Retire(Spare),
    Make,
    Nothing,
    End,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, options: &Options) -> Self {
        Self {
            scrub: Scrub::new(shared.clone(), options.scrub_every),
            shared,
            making: None,
            retry: options.space_retry,
            backoff: options.space_retry,
        }
    }

    /// Runs until the log has ended.
    pub(super) fn run(mut self) {
        loop {
            match self.step(Instant::now()) {
                Next::Now => {}
                Next::Later(wait) => self.shared.rest(wait, false),
                Next::Retry(wait) => self.shared.rest(Some(wait), true),
                Next::End => break,
            }
        }
        self.give_up();
    }

    /// The same as a task, where the disk does not block.
    pub(super) async fn run_as_task(mut self, environment: Arc<dyn Environment>) {
        loop {
            match self.step(tokio::time::Instant::now().into_std()) {
                Next::Now => tokio::time::sleep(environment.disk_delay().unwrap_or_default()).await,
                Next::Later(wait) => self.shared.rest_as_task(wait, false).await,
                Next::Retry(wait) => self.shared.rest_as_task(Some(wait), true).await,
                Next::End => break,
            }
        }
        self.give_up();
    }

    /// Does one thing: at most one file, or one piece of it.
    pub(super) fn step(&mut self, now: Instant) -> Next {
        match self.shared.task() {
            Task::Retire(file) => {
                self.retire(&file);
                Next::Now
            }
            Task::Make => match self.make() {
                Ok(()) => Next::Now,
                Err(error) => Next::Retry(self.failed(error)),
            },
            Task::Nothing => {
                self.give_up();
                Next::Later(self.scrub.step(now))
            }
            Task::End => Next::End,
        }
    }

    /// Keeps a file for the next segment, or unlinks it. A failure leaves it to the next start.
    fn retire(&mut self, file: &Spare) {
        if let Err(error) = self.try_retire(file) {
            let path = self.shared.disk.path(&file.name);
            warn!(file = %path.display(), %error, "can't remove a log file that is not needed");
        }
    }

    fn try_retire(&mut self, file: &Spare) -> std::io::Result<()> {
        let disk = &self.shared.disk;
        let numbers = parse_segment_name(&file.name).or_else(|| parse_spare_name(&file.name));
        let keep = self.shared.keeps(file.bytes);
        if let Some((base, generation)) = numbers.filter(|_| keep) {
            let name = spare_name(base, generation);
            if name != file.name {
                disk.rename(&file.name, &name)?;
                disk.sync_directory()?;
            }
            debug!(name, "kept a file for the next segment");
            self.give_up();
            let bytes = file.bytes;
            self.shared.ready(Spare { name, bytes });
            return Ok(());
        }
        disk.unlink(&file.name)?;
        disk.sync_directory()?;
        self.shared.wake_writer();
        Ok(())
    }

    /// Writes the next piece of a new file.
    fn make(&mut self) -> Result<(), Error> {
        let shared = self.shared.clone();
        let disk = &shared.disk;
        let target = prewritten_bytes(shared.segment_bytes);
        let mut making = match self.making.take() {
            Some(making) => making,
            None => self.begin(target)?,
        };
        let path = disk.path(&making.name);
        let to = target.min(making.written + PIECE_BYTES);
        let written =
            write_zeros(&*making.file, making.written, to).and_then(|()| making.file.sync_data());
        if let Err(error) = written {
            self.making = Some(making);
            return Err(Error::io("pre-write", path, error));
        }
        making.written = to;
        if to < target {
            self.making = Some(making);
            return Ok(());
        }
        self.finish(making).map_err(|e| Error::io("make", path, e))
    }

    fn begin(&self, target: u64) -> Result<Making, Error> {
        let disk = &self.shared.disk;
        let name = spare_name(0, self.shared.lock().pool.next_generation());
        let path = disk.path(&name);
        let begin = || {
            // A file system that can't say what is free will say so when it is written to.
            if disk.free_bytes().unwrap_or(u64::MAX) < target + target / 8 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            disk.create(&unfinished_name(&name))
        };
        let file = begin().map_err(|e| Error::io("make", path, e))?;
        Ok(Making {
            name,
            file,
            written: 0,
        })
    }

    fn finish(&mut self, making: Making) -> std::io::Result<()> {
        let disk = &self.shared.disk;
        making.file.sync_all()?;
        disk.rename(&unfinished_name(&making.name), &making.name)?;
        disk.sync_directory()?;
        if self.shared.lock().pool.is_short() {
            info!("there is space for the next log segment again");
        }
        self.backoff = self.retry;
        self.shared.ready(Spare {
            name: making.name,
            bytes: making.written,
        });
        Ok(())
    }

    /// Notes a failure, warning once until the next success, and says when to try again.
    fn failed(&mut self, error: Error) -> Duration {
        let begun = self.making.is_some();
        self.give_up();
        let text = error.to_string();
        if self.shared.lock().pool.fail(error) {
            warn!(
                error = text,
                "can't pre-write the next log segment; trying again"
            );
        }
        self.shared.wake_writer();
        if !begun {
            return self.retry;
        }
        // Writing until the disk is full and removing it again is not to be done all the time.
        let wait = self.backoff;
        self.backoff = (2 * wait).min(RETRY_MAX.max(self.retry));
        wait
    }

    /// Removes what is half made.
    fn give_up(&mut self) {
        if let Some(making) = self.making.take() {
            let name = unfinished_name(&making.name);
            if let Err(error) = self.shared.disk.unlink(&name) {
                debug!(name, %error, "can't remove a half-made file");
            }
        }
    }
}
