//! openraft's state machine over our [`State`]: applies committed entries, answers who proposed
//! them, and takes a checkpoint at the end of every segment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use opentelemetry::KeyValue;
use prost::Message as _;
use proto::Nanos;
use proto::rpc::command::Operation;
use proto::rpc::{Checkpoint, Command, RefusalKind};

use crate::checkpoint::{self, CheckpointError, Checkpoints};
use crate::index::{Index, IndexError};
use crate::raft::convert;
use crate::raft::types::{
    Entry, LogId, Proposal, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::refusal::refusal;
use crate::segment::Segments;
use crate::shared::{Shared, envelope};
use crate::state::{Applied, Placed, State};
use crate::trace;

/// No retention point is set: a snapshot is the state as it is.
pub(crate) const NOW: u64 = u64::MAX;
/// Batches that are older are not traced any more.
const TRACED_WITHIN: Duration = Duration::from_secs(60);

/// The state machine of one node; only openraft's own task changes it.
#[derive(Debug)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
    pub(crate) checkpoints: Checkpoints,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// Log index of the checkpoint that is the Raft snapshot.
    snapshot: Option<u64>,
    /// The next snapshot is the newest checkpoint that is not beyond it.
    pub(crate) retention_point: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("checkpoint at {log_index}: {problem}")]
    State { log_index: u64, problem: String },
    #[error(
        "the log begins at {first}, but no checkpoint before it is left; wipe this node and run \
         `updraft cluster replace`"
    )]
    NoCheckpoint { first: u64 },
}

impl Machine {
    /// Goes on from the newest checkpoint that the offset index is not behind of; openraft applies
    /// the rest.
    pub(crate) fn open(
        checkpoints: Checkpoints,
        index: Index,
        segments: Segments,
        recent_bytes: usize,
    ) -> Result<Machine, MachineError> {
        let bounds = segments.bounds();
        let purged = bounds.purged.map(|position| position.index);
        // One beyond the log's end was taken when entries were applied that never reached this
        // disk: to start from it would throw away what did.
        let last = bounds.last.map(|position| position.index);
        let known: Vec<u64> = checkpoints
            .list()?
            .into_iter()
            .filter(|at| Some(*at) >= purged && Some(*at) <= last)
            .collect();
        let indexed = index.applied()?;
        // With an index that knows too little everything retained is applied again.
        let usable = known.iter().rev().filter(|at| Some(**at) <= indexed);
        let start = usable.chain(known.iter().filter(|_| purged.is_some()));
        let start = first_whole(&checkpoints, start);
        // Where a follower is begun that lacks more than this log still has.
        let snapshot = purged.and_then(|_| first_whole(&checkpoints, known.iter()));
        let began = snapshot.as_ref().map_or(0, |(_, it)| it.0.next_offset);
        let snapshot = snapshot.map(|(at, _)| at);
        let (state, last_applied, membership) = match start {
            Some((_, restored)) => restored,
            None if purged.is_none() => Default::default(),
            None => {
                return Err(MachineError::NoCheckpoint {
                    first: bounds.first,
                });
            }
        };
        let shared = Shared::new(state, index, segments, recent_bytes);
        shared.begins_at(began);
        Ok(Machine {
            shared,
            checkpoints,
            last_applied,
            membership,
            snapshot,
            retention_point: Arc::new(AtomicU64::new(snapshot.unwrap_or(NOW))),
        })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    fn apply_entry(&mut self, entry: Entry) -> io::Result<Applied> {
        let began = Instant::now();
        let log_id = entry.log_id();
        let mut operation = None;
        let (applied, placed) = match entry.payload {
            EntryPayload::Blank => (self.done(), Vec::new()),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id), membership);
                (self.done(), Vec::new())
            }
            EntryPayload::Normal(Proposal(body)) => match Command::decode(body) {
                Ok(command) => {
                    operation = command.operation.clone();
                    self.shared.apply(log_id.index(), command)
                }
                Err(error) => {
                    let refusal = refusal(RefusalKind::Invalid, format!("command: {error}"));
                    (Applied::Refused(refusal), Vec::new())
                }
            },
        };
        self.shared
            .index
            .record(log_id.index(), &placed)
            .map_err(io::Error::other)?;
        self.last_applied = Some(log_id);
        self.shared.publish(operation.as_ref(), &placed);
        trace_applied(operation.as_ref(), &placed, began.elapsed());
        if self.shared.segments.segment_end(log_id.index()) == Some(log_id.index()) {
            self.checkpoints
                .save(&self.checkpoint()?)
                .map_err(io::Error::other)?;
        }
        Ok(applied)
    }

    fn done(&self) -> Applied {
        Applied::Done {
            next_offset: self.shared.state().next_offset,
        }
    }

    /// The state as it is now.
    fn checkpoint(&self) -> io::Result<Checkpoint> {
        let state = self.shared.state();
        let (state, state_hash) = (state.to_bytes().map_err(io::Error::other)?, state.hash());
        let meta = convert::snapshot_meta_message(self.last_applied.as_ref(), &self.membership);
        Ok(Checkpoint {
            meta: Some(meta),
            state: state.into(),
            state_hash: state_hash.to_vec().into(),
        })
    }

    /// The checkpoint that becomes the snapshot, on disk when this returns.
    fn snapshot_checkpoint(&self) -> io::Result<Checkpoint> {
        let point = self.retention_point.load(Ordering::Acquire);
        let known = self.checkpoints.list().map_err(io::Error::other)?;
        match known.into_iter().rev().find(|at| *at <= point) {
            Some(at) if point != NOW => self.checkpoints.load(at).map_err(io::Error::other),
            _ => {
                let checkpoint = self.checkpoint()?;
                self.checkpoints
                    .save(&checkpoint)
                    .map_err(io::Error::other)?;
                Ok(checkpoint)
            }
        }
    }
}

/// The first of some checkpoints that is not damaged. The others are named and left where they
/// are: with the log before them, nothing is lost.
fn first_whole<'a>(
    checkpoints: &Checkpoints,
    indexes: impl Iterator<Item = &'a u64>,
) -> Option<(u64, Restored)> {
    indexes.copied().find_map(|at| {
        let loaded = checkpoints.load(at).map_err(MachineError::from);
        match loaded.and_then(|checkpoint| restore(checkpoint, at)) {
            Ok(restored) => Some((at, restored)),
            Err(error) => {
                tracing::warn!(%error, "this checkpoint can't be used, taking another one");
                None
            }
        }
    })
}

/// Shows when the batches of an entry were committed and applied. Those that are applied again
/// after a start went their way long ago.
fn trace_applied(operation: Option<&Operation>, placed: &[Placed], took: Duration) {
    let Some(operation) = operation else { return };
    for place in placed {
        let age = Nanos::now().0.saturating_sub(place.leader_time.0).max(0);
        let age = Duration::from_nanos(age.unsigned_abs());
        let digest = envelope(operation, place).map(|envelope| envelope.digest.as_ref().try_into());
        let Some(Ok(digest)) = digest else { continue };
        if age < TRACED_WITHIN {
            let offset = i64::try_from(place.offset).unwrap_or(i64::MAX);
            let attributes = || [KeyValue::new("offset", offset)];
            let commit = age.saturating_sub(took);
            trace::emit("commit", digest, took, commit, attributes());
            trace::emit("apply", digest, Duration::ZERO, took, attributes());
        }
    }
}

type Restored = (State, Option<LogId>, StoredMembership);

fn restore(checkpoint: Checkpoint, log_index: u64) -> Result<Restored, MachineError> {
    let problem = |problem: String| MachineError::State { log_index, problem };
    let state = State::from_bytes(&checkpoint.state).map_err(problem)?;
    if state.hash()[..] != checkpoint.state_hash[..] {
        return Err(problem(
            "the state in it is not the one that it was made of; wipe this node and run `updraft \
             cluster replace` for it"
                .into(),
        ));
    }
    let meta = convert::snapshot_meta(&checkpoint.meta.unwrap_or_default());
    let meta = meta.map_err(|error| problem(error.to_string()))?;
    Ok((state, meta.last_log_id, meta.last_membership))
}

fn snapshot_of(checkpoint: &Checkpoint) -> io::Result<Snapshot> {
    let meta = convert::snapshot_meta(&checkpoint.meta.clone().unwrap_or_default());
    let meta = meta.map_err(io::Error::other)?;
    Ok(Snapshot {
        meta,
        snapshot: checkpoint.encode_to_vec().into(),
    })
}

/// A snapshot that was made when openraft asked for its builder.
#[derive(Debug)]
pub(crate) struct Built(io::Result<Snapshot>);

impl RaftSnapshotBuilder<TypeConfig> for Built {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        std::mem::replace(
            &mut self.0,
            Err(io::Error::other("the snapshot was taken already")),
        )
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Built;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let applied = self.apply_entry(entry)?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Built {
        let built = self.snapshot_checkpoint().and_then(|checkpoint| {
            self.snapshot = Some(checkpoint::log_index(&checkpoint));
            snapshot_of(&checkpoint)
        });
        Built(built)
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        let checkpoint = Checkpoint::decode(data).map_err(io::Error::other)?;
        let log_index = checkpoint::log_index(&checkpoint);
        let restored = restore(checkpoint.clone(), log_index).map_err(io::Error::other)?;
        // The index first: without it the checkpoint is started from and fills it again.
        self.shared.index.clear().map_err(io::Error::other)?;
        self.checkpoints
            .save(&checkpoint)
            .map_err(io::Error::other)?;
        self.snapshot = Some(log_index);
        self.retention_point.store(log_index, Ordering::Release);
        let (state, last_applied, membership) = restored;
        self.shared.begins_at(state.next_offset);
        self.shared.replace(state);
        self.last_applied = last_applied;
        self.membership = membership;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(at) = self.snapshot else {
            return Ok(None);
        };
        let checkpoint = self.checkpoints.load(at).map_err(io::Error::other)?;
        snapshot_of(&checkpoint).map(Some)
    }
}
