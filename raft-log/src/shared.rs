//! What the state machine writes and everybody else reads: the applied state, where the records
//! stand, and the newest of them in memory.

mod recent;
pub(crate) mod samples;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use proto::rpc::command::Operation;
use proto::rpc::{Delivery, Envelope};
use proto::{Lane, Nanos, Offset, Origin, rpc};
use tokio::sync::watch;

use crate::index::{Index, IndexError};
use crate::raft::convert;
use crate::segment::{self, Segments};
use crate::state::{Applied, Placed, State};
use recent::Recent;
use samples::Samples;

/// So many entries have a sample among them, whatever time it is.
const SAMPLE_ENTRIES: u64 = 1024;
/// Envelopes looked up at once.
const LOOK_UP: usize = 256;

#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<State>,
    /// Offset after the last applied record: what tails wait for.
    end: watch::Sender<u64>,
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    recent: Mutex<Recent>,
    /// This node has no record below, whatever the state says: it began with a snapshot.
    begin: AtomicU64,
    pub(crate) samples: Samples,
    /// The state's time, for who can't wait for the state.
    time: AtomicI64,
    /// Whose state is altered, if the test says so.
    #[cfg(feature = "sabotage")]
    pub(crate) node_id: std::sync::atomic::AtomicU64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Segment(#[from] segment::Error),
    #[error("offset {offset}: entry {log_index} is not there or holds no such envelope")]
    Missing { offset: u64, log_index: u64 },
}

/// A stretch of the log.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    pub(crate) deliveries: Vec<Delivery>,
    /// Where reading goes on.
    pub next_offset: u64,
}

impl Stretch {
    pub(crate) fn nothing(Offset(next_offset): Offset) -> Stretch {
        Stretch {
            deliveries: Vec::new(),
            next_offset,
        }
    }
}

impl Shared {
    pub(crate) fn new(
        state: State,
        index: Index,
        segments: Segments,
        recent_bytes: usize,
    ) -> Arc<Shared> {
        let (end, _) = watch::channel(state.next_offset);
        let recent = Mutex::new(Recent::new(recent_bytes, state.next_offset));
        Arc::new(Shared {
            samples: Samples::default(),
            time: AtomicI64::new(state.time.0),
            #[cfg(feature = "sabotage")]
            node_id: Default::default(),
            state: RwLock::new(state),
            end,
            index,
            segments,
            recent,
            begin: AtomicU64::new(0),
        })
    }

    pub(crate) fn begins_at(&self, offset: u64) {
        self.begin.store(offset, Ordering::Release);
    }

    /// The first offset that can be read. A node that began with a snapshot may not have learned
    /// yet that what lies before it is deleted.
    pub(crate) fn first_offset(&self) -> u64 {
        let retained = self.state().retention.first_offset;
        retained.max(self.begin.load(Ordering::Acquire))
    }

    /// Index of the entry that holds an offset, or of the one that will.
    pub(crate) fn log_index(&self, offset: u64) -> Result<u64, IndexError> {
        let next = || Ok(self.index.applied()?.map_or(0, |applied| applied + 1));
        let found = self.index.from(offset, 1)?.pop();
        found.map_or_else(next, |(log_index, _)| Ok(log_index))
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch_end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Applies a command, the entry at `log_index`; keeps a sample of the state's hash where all
    /// nodes do.
    pub(crate) fn apply(&self, log_index: u64, command: rpc::Command) -> (Applied, Vec<Placed>) {
        let mut state = self.state_mut();
        let before = second(state.time);
        let applied = state.apply(command);
        #[cfg(feature = "sabotage")]
        state.alter_if_switched_on(self.node_id.load(Ordering::Relaxed));
        if second(state.time) != before || log_index.is_multiple_of(SAMPLE_ENTRIES) {
            self.samples.push((log_index, state.hash()));
        }
        self.time.store(state.time.0, Ordering::Release);
        applied
    }

    /// The time of the state.
    pub(crate) fn time(&self) -> Nanos {
        Nanos(self.time.load(Ordering::Acquire))
    }

    /// Makes an applied entry's envelopes visible to readers.
    pub(crate) fn publish(&self, operation: Option<&Operation>, placed: &[Placed]) {
        let Some(last) = placed.last() else { return };
        if let Some(operation) = operation {
            let state = self.state();
            let deliveries = placed.iter().filter_map(|p| delivery(&state, operation, p));
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            deliveries.for_each(|delivery| recent.push(delivery));
        }
        self.end.send_replace(last.offset + u64::from(last.count));
    }

    /// Another state was taken over: nothing that was remembered holds any more.
    pub(crate) fn replace(&self, state: State) {
        let end = state.next_offset;
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) =
            Recent::new(self.recent_budget(), end);
        self.samples.clear();
        self.time.store(state.time.0, Ordering::Release);
        *self.state_mut() = state;
        self.end.send_replace(end);
    }

    fn recent_budget(&self) -> usize {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .budget()
    }

    /// Envelopes of some lanes from the one that holds `offset` on, about `max_bytes` of them;
    /// `None` when the offset is no longer in memory.
    pub(crate) fn read_recent(
        &self,
        offset: Offset,
        lanes: &[Lane],
        max_bytes: usize,
    ) -> Option<Stretch> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.read(offset.0, lanes, max_bytes)
    }

    /// The same from the disk, which blocks.
    pub(crate) fn read_disk(
        &self,
        Offset(offset): Offset,
        lanes: &[Lane],
        max_bytes: usize,
    ) -> Result<Stretch, ReadError> {
        let end = self.state().next_offset;
        let mut stretch = Stretch::nothing(Offset(offset));
        let mut bytes = 0;
        let mut entry: Option<(u64, Operation)> = None;
        for (log_index, placed) in self.index.from(offset, LOOK_UP)? {
            // The index may be ahead of the state just after a start.
            if placed.offset >= end || bytes >= max_bytes {
                break;
            }
            stretch.next_offset = placed.offset + u64::from(placed.count);
            if !wanted(lanes, placed.lane) {
                continue;
            }
            if entry.as_ref().is_none_or(|(index, _)| *index != log_index) {
                entry = self
                    .operation(log_index)?
                    .map(|operation| (log_index, operation));
            }
            let state = self.state();
            let delivery = entry
                .as_ref()
                .and_then(|(_, op)| delivery(&state, op, &placed));
            let missing = ReadError::Missing {
                offset: placed.offset,
                log_index,
            };
            let delivery = delivery.ok_or(missing)?;
            bytes += size(&delivery);
            stretch.deliveries.push(delivery);
        }
        Ok(stretch)
    }

    /// Where records begin that were committed at `time` or later. Blocks.
    pub(crate) fn offset_at(&self, time: Nanos) -> Result<u64, IndexError> {
        let end = self.state().next_offset;
        self.index.at_time(time, end)
    }

    fn operation(&self, log_index: u64) -> Result<Option<Operation>, ReadError> {
        let frames = self.segments.read(log_index..log_index + 1, usize::MAX)?;
        let frame = frames.first().filter(|frame| frame.index == log_index);
        Ok(frame
            .and_then(convert::command_of_frame)
            .and_then(|command| command.operation))
    }
}

fn second(time: Nanos) -> i64 {
    time.0.div_euclid(1_000_000_000)
}

/// Empty means all.
fn wanted(lanes: &[Lane], lane: Lane) -> bool {
    lanes.is_empty() || lanes.contains(&lane)
}

fn size(delivery: &Delivery) -> usize {
    delivery
        .envelope
        .as_ref()
        .map_or(0, |envelope| envelope.batch.len())
        + 128
}

pub(crate) fn envelope<'a>(operation: &'a Operation, placed: &Placed) -> Option<&'a Envelope> {
    match operation {
        Operation::Append(append) => append.envelopes.get(placed.part as usize),
        Operation::Relay(relay) => relay.envelope.as_ref(),
        _ => None,
    }
}

/// An envelope as consumers see it: with its origin and sequence, without what concerned only its
/// birth.
fn delivery(state: &State, operation: &Operation, placed: &Placed) -> Option<Delivery> {
    let envelope = envelope(operation, placed)?;
    let origin: &Origin = state.origins.origin(placed.origin_id)?;
    Some(Delivery {
        offset: placed.offset,
        leader_time: placed.leader_time.0,
        chain: placed.chain.to_bytes(),
        envelope: Some(rpc::Envelope {
            origin: Some(origin.into()),
            first_sequence: placed.first_sequence,
            ..envelope.clone()
        }),
    })
}
