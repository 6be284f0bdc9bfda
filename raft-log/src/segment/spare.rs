//! Files that wait to become segments: what keeps a full disk from stopping the log.
//!
//! ```text
//!              keeper: zeros, fsync, rename
//!   (nothing) ─────────────────────────────▶ spare ──writer: header, rename──▶ segment
//!                                              ▲                                  │ purge,
//!                                              └──────keeper: rename──────────────┘ truncation
//!                                                     (more than are kept: unlink)
//! ```
//!
//! A file is used again as it is, old frames included. They can't be taken for new ones: the
//! checksums of a segment are seeded with its generation, and every segment gets a generation
//! that is higher than any before (see [`Pool::next_generation`]).

use std::collections::VecDeque;

use super::error::Error;
use super::layout::prewritten_bytes;

/// A file that is no segment, or no longer one. All of its bytes were written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// Shared by the writer, which takes from it, and the keeper, which fills it.
#[derive(Debug)]
pub(super) struct Pool {
    segment_bytes: u64,
    /// How many are kept.
    kept: usize,
    ready: Vec<Spare>,
    /// Files that hold nothing of the log any more, under their old names.
    retired: VecDeque<Spare>,
    retired_bytes: u64,
    /// The highest that was given out.
    generation: u32,
    /// The writer waits for one.
    pub(super) wanted: bool,
    /// Why the last attempt to make one failed.
    problem: Option<Error>,
    /// Something waits for disk space.
    pub(super) stalled: bool,
    /// Something has changed for a writer that waits.
    pub(super) changed: bool,
}

impl Pool {
    pub(super) fn new(segment_bytes: u64, kept: usize, generation: u32) -> Self {
        Self {
            segment_bytes,
            kept,
            ready: Vec::new(),
            retired: VecDeque::new(),
            retired_bytes: 0,
            generation,
            wanted: false,
            problem: None,
            stalled: false,
            changed: false,
        }
    }

    /// Higher than that of every frame that was ever written here. It holds over restarts,
    /// because a start continues from the highest generation among the names of all files and
    /// the last truncation, and the file with the highest is never unlinked: it is the open
    /// segment, or a truncation has put it on record.
    pub(super) fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.saturating_add(1);
        self.generation
    }

    /// How many are ready.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// A file for the next segment. `None` while there is none; then
    /// the keeper is asked for one.
    pub(super) fn take(&mut self) -> Result<Option<Spare>, Error> {
        let spare = self.ready.pop();
        self.wanted = spare.is_none();
        match &self.problem {
            Some(error) if self.wanted && !matches!(error, Error::DiskFull { .. }) => {
                Err(error.clone())
            }
            _ => Ok(spare),
        }
    }

    /// One that could not be used after all.
    pub(super) fn give_back(&mut self, spare: Spare) {
        self.ready.push(spare);
    }

    /// Whether a file of this length can be used again.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        (self.segment_bytes..=2 * prewritten_bytes(self.segment_bytes)).contains(&bytes)
    }

    /// Whether one more is to be kept. `far` says that the open segment is far enough for the
    /// next to be thought of: a log that begins does not take its space at once.
    pub(super) fn lacks(&self, far: bool) -> bool {
        self.ready.is_empty() && self.wanted || far && self.ready.len() < self.kept
    }

    pub(super) fn retire(&mut self, name: String, bytes: u64) {
        self.retired_bytes += bytes;
        self.retired.push_back(Spare { name, bytes });
    }

    pub(super) fn next_retired(&mut self) -> Option<Spare> {
        let retired = self.retired.pop_front()?;
        self.retired_bytes -= retired.bytes;
        Some(retired)
    }

    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// A file is ready.
    pub(super) fn add(&mut self, spare: Spare) {
        self.ready.push(spare);
        self.wanted = false;
        self.problem = None;
        self.changed = true;
    }

    /// None can be made. Returns whether that is new.
    pub(super) fn fail(&mut self, error: Error) -> bool {
        self.changed = true;
        self.problem.replace(error).is_none()
    }

    /// No space is left to make one: what is pre-written now is all there is.
    pub(super) fn is_short(&self) -> bool {
        self.problem.is_some()
    }

    /// Whether a writer that lacks space does so because the disk is full, and not because a file
    /// is still being made.
    pub(super) fn is_full(&self) -> bool {
        self.is_short() || !self.wanted
    }

    pub(super) fn problem(&self) -> Option<&Error> {
        self.problem.as_ref()
    }

    /// Bytes of the files that are ready.
    pub(super) fn ready_bytes(&self) -> u64 {
        self.ready.iter().map(|spare| spare.bytes).sum()
    }

    /// Bytes of all files that are no segments.
    pub(super) fn bytes(&self) -> u64 {
        self.ready_bytes() + self.retired_bytes
    }
}
