//! What clients asked for and saw, in order.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use proto::{Batch, Record, Value};

/// The n-th record of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    pub producer: u32,
    pub number: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}.{}", self.producer, self.number)
    }
}

impl RecordId {
    pub(crate) fn payload(self, padding: usize) -> Bytes {
        let padding = "x".repeat(padding);
        format!("{}.{}.{padding}", self.producer, self.number).into()
    }

    /// Of a record that one of the simulation's producers made.
    fn of(record: &Record) -> Option<RecordId> {
        let Value::Payload(bytes) = &record.value else {
            return None;
        };
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.splitn(3, '.');
        Some(RecordId {
            producer: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        })
    }

    /// Of all records of a batch, in order.
    pub(crate) fn all_of(batch: &[u8]) -> Vec<RecordId> {
        let records = Batch::decode(batch).unwrap_or_default();
        records.iter().filter_map(RecordId::of).collect()
    }
}

/// Of who the hub's nodes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add(u64),
    Remove(u64),
    Replace(u64),
}

/// Who read it: readers are numbered, and start anew at any offset under a new number.
pub type Reader = u32;

#[derive(Clone, Debug)]
pub enum Event {
    /// A producer was given a record; before it, all of the same producer with lower numbers.
    Submitted { id: RecordId },
    /// The log said that it is durable.
    Acknowledged { id: RecordId, offset: u64 },
    /// It may or may not be in the log.
    Unknown { id: RecordId, why: String },
    Read {
        reader: Reader,
        offset: u64,
        id: RecordId,
    },
    /// A reader was told that everything before an offset is deleted, and went on there.
    Deleted { reader: Reader, before: u64 },
    /// A consumer was given a cursor; all that was committed when it asked ended at `floor`.
    Claimed {
        cursor: String,
        holder: String,
        epoch: u64,
        next_offset: u64,
        floor: u64,
    },
    /// The hub's nodes were changed, or that was given up.
    Changed { change: Change, done: bool },
    /// The log took the position of a cursor.
    Committed { cursor: String, next_offset: u64 },
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    /// The highest positions that were taken.
    cursors: BTreeMap<String, u64>,
    readers: Reader,
    /// Records that were submitted and neither acknowledged nor given up.
    pending: usize,
    acknowledged: u64,
    /// Changes of the hub's nodes that are asked for and not done.
    changes: VecDeque<Change>,
    /// Producers shall make no more records.
    closed: bool,
}

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Inner>>);

impl History {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut inner = self.inner();
        match &event {
            Event::Submitted { .. } => inner.pending += 1,
            Event::Acknowledged { .. } => {
                inner.pending -= 1;
                inner.acknowledged += 1;
            }
            Event::Unknown { .. } => inner.pending -= 1,
            Event::Committed {
                cursor,
                next_offset,
            } => {
                let known = inner.cursors.entry(cursor.clone()).or_default();
                *known = (*known).max(*next_offset);
            }
            Event::Changed { .. } => drop(inner.changes.pop_front()),
            Event::Read { .. } | Event::Deleted { .. } | Event::Claimed { .. } => {}
        }
        inner.events.push(event);
    }

    /// Events since this was called last.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.inner().events)
    }

    pub(crate) fn cursor(&self, name: &str) -> u64 {
        self.inner().cursors.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn new_reader(&self) -> Reader {
        let mut inner = self.inner();
        inner.readers += 1;
        inner.readers
    }

    /// Of the hub's operator, who sees to one after the other.
    pub(crate) fn ask(&self, change: Change) {
        self.inner().changes.push_back(change);
    }

    pub(crate) fn asked(&self) -> Option<Change> {
        self.inner().changes.front().copied()
    }

    pub(crate) fn close(&self) {
        self.inner().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner().closed
    }

    pub(crate) fn pending(&self) -> usize {
        self.inner().pending
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.inner().acknowledged
    }
}
