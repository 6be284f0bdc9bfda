//! What the log deletes (I2). The leader looks every few seconds how far records may go and whether
//! room is wanted, and proposes it for all; each node then purges whole segments of its own.
//!
//! Records are kept for as long as there is room for them, and deleted oldest first:
//!
//! - never what a pinning cursor has not passed, or what is younger than `min_age`;
//! - what a session or another cursor has not passed up to `session_age` and a tenth of the disk;
//! - of the rest what is older than `max_age`, beyond `max_bytes`, or where the disk gets short.
//!
//! Segments end at checkpoints, so everything here is reckoned in log indexes of checkpoints: a
//! `Retain` carries what the one at its offset says of the origins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use proto::Nanos;
use proto::rpc::command::Operation;
use proto::rpc::{self, Pin, Retain};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Leader, Node};
use crate::checkpoint::{CheckpointError, Checkpoints};
use crate::environment::blocking;
use crate::index::IndexError;
use crate::segment::SegmentInfo;
use crate::state::State;
use crate::state::retention::retains_anyway;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long Raft may take for a snapshot; a checkpoint is only promoted.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(10);
/// What sessions may hold back: one of so many parts of the disk.
const SESSION_SHARE: u64 = 10;

/// `log.retention`.
#[derive(Clone, Copy, Debug)]
pub struct RetentionConfig {
    /// Nothing younger is deleted.
    pub min_age: Duration,
    /// Older records are deleted even if there is room; absent, they stay.
    pub max_age: Option<Duration>,
    /// What is beyond it is deleted even if there is room.
    pub max_bytes: Option<u64>,
    /// How long a session, or a cursor that does not pin, holds records back.
    pub session_age: Duration,
}

impl Default for RetentionConfig {
    fn default() -> RetentionConfig {
        RetentionConfig {
            min_age: Duration::from_secs(3600),
            max_age: None,
            max_bytes: None,
            session_age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The files of a node that retention works on.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) checkpoints: Checkpoints,
    /// See [`crate::raft::machine::Machine::retention_point`].
    pub(super) point: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
enum RetainError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("raft: {0}")]
    Raft(String),
    #[error("the task has ended")]
    Ended,
}

/// Log indexes that bound what may be deleted, and what should be: everything below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    /// The lowest of the pinning cursors and of what is younger than `min_age`.
    kept: u64,
    /// The session or other cursor that is furthest back.
    session: u64,
    /// Where what such a one may hold back begins.
    session_limit: u64,
    /// What is younger than `max_age` begins here.
    aged: u64,
    /// Bytes to free.
    wanted: u64,
}

/// The newest checkpoint up to which the log should be deleted. `checkpoints` and `segments` come
/// oldest first.
fn choose(bounds: Bounds, checkpoints: &[u64], segments: &[SegmentInfo]) -> Option<u64> {
    let allowed = bounds.kept.min(bounds.session.max(bounds.session_limit));
    let aged = checkpoints.iter().rev().find(|at| **at < bounds.aged);
    let freeing = freeing(bounds.wanted, checkpoints, segments);
    let wished = aged.copied().max(freeing)?;
    let chosen = checkpoints
        .iter()
        .rev()
        .find(|at| **at <= wished && **at < allowed);
    chosen.copied()
}

/// The oldest checkpoint that frees so many bytes, or the newest if none does. Files go up to the
/// checkpoint before.
fn freeing(bytes: u64, checkpoints: &[u64], segments: &[SegmentInfo]) -> Option<u64> {
    if bytes == 0 {
        return None;
    }
    let freed = |up_to: u64| -> u64 {
        let gone = segments
            .iter()
            .filter(|it| it.last_index.is_some_and(|last| last <= up_to));
        gone.map(|segment| segment.bytes).sum()
    };
    let pairs = checkpoints.iter().zip(checkpoints.iter().skip(1));
    let enough = pairs
        .into_iter()
        .find(|(before, _)| freed(**before) >= bytes);
    enough.map(|(_, at)| *at).or(checkpoints.last().copied())
}

impl Node {
    /// Deletes what need not be kept, for as long as the node runs.
    pub async fn retain(&self) -> std::convert::Infallible {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "retention could not do its work, trying again");
            }
        }
    }

    async fn look(&self) -> Result<(), RetainError> {
        let node = self.clone();
        let leads = self.leader() == Leader::This;
        let retain = self.blocking(move || {
            node.space.look();
            if leads { node.plan() } else { Ok(None) }
        });
        if let Some(retain) = retain.await? {
            let before = retain.before_offset;
            match self.propose(Operation::Retain(retain)).await {
                Ok(crate::state::Applied::Refused(refusal)) | Err(refusal) => {
                    tracing::info!(before, reason = refusal.message, "nothing is deleted yet");
                }
                Ok(_) => tracing::info!(before, "records below this offset are deleted"),
            }
        }
        self.purge().await
    }

    /// What to propose, if there is something to delete; blocks.
    fn plan(&self) -> Result<Option<Retain>, RetainError> {
        let segments = self.shared.segments.segments();
        // What was deleted before needs not be looked at again.
        let begin = self.shared.log_index(self.shared.first_offset())?;
        let mut checkpoints = self.usable_checkpoints()?;
        checkpoints.retain(|at| *at >= begin);
        let mut limit = choose(self.bounds(&segments)?, &checkpoints, &segments);
        while let Some(at) = limit {
            match self.files.checkpoints.load(at) {
                Ok(checkpoint) => return Ok(self.retain_at(&checkpoint.state)),
                Err(error) => tracing::warn!(%error, "retention goes by an older checkpoint"),
            }
            limit = checkpoints.iter().rev().find(|older| **older < at).copied();
        }
        Ok(None)
    }

    fn retain_at(&self, state: &[u8]) -> Option<Retain> {
        let state = State::from_bytes(state)
            .inspect_err(|problem| {
                tracing::warn!(
                    problem,
                    "a checkpoint can't be read: nothing is deleted by it"
                )
            })
            .ok()?;
        (state.next_offset > self.shared.first_offset()).then(|| Retain {
            before_offset: state.next_offset,
            heads: state.heads(),
        })
    }

    /// Checkpoints within the log, oldest first.
    fn usable_checkpoints(&self) -> Result<Vec<u64>, CheckpointError> {
        let purged = self.purged();
        let known = self.files.checkpoints.list()?.into_iter();
        Ok(known.filter(|at| Some(*at) >= purged).collect())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RetainError> + Send + 'static,
    ) -> Result<T, RetainError> {
        blocking(&*self.config.environment, work)
            .await
            .map_err(|_| RetainError::Ended)?
    }

    /// Records bear leader time, so only by it can be said how old they are.
    fn leader_time(&self) -> Nanos {
        let wall = self.config.environment.now();
        self.clock.time(self.shared.time(), wall, Instant::now())
    }

    fn purged(&self) -> Option<u64> {
        self.shared.segments.bounds().purged.map(|it| it.index)
    }

    fn bounds(&self, segments: &[SegmentInfo]) -> Result<Bounds, IndexError> {
        let config = &self.config.retention;
        let now = self.leader_time();
        let first = self.shared.first_offset();
        let (pinning, session) = {
            let state = self.shared.state();
            let at = |pin: Option<(&str, u64)>| pin.map_or(u64::MAX, |(_, offset)| offset);
            let limited = at(state.cursors.lowest_limited());
            let pinning = at(state.cursors.lowest_pinning().filter(|_| !retains_anyway()));
            (pinning, limited.min(at(state.sessions.lowest(now))))
        };
        let index = |offset: u64| match offset {
            u64::MAX => Ok(u64::MAX),
            offset => self.shared.log_index(offset.max(first)),
        };
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let beyond = config
            .max_bytes
            .map_or(0, |most| bytes.saturating_sub(most));
        let share = self.space.room().total / SESSION_SHARE;
        let aged = config.max_age.map(|age| self.younger_than(age, now));
        Ok(Bounds {
            kept: index(pinning)?.min(self.younger_than(config.min_age, now)?),
            session: index(session)?,
            session_limit: newest_bytes(share, segments)
                .max(self.younger_than(config.session_age, now)?),
            aged: aged.transpose()?.unwrap_or(0),
            wanted: beyond.max(self.space.wanted(self.patience())),
        })
    }

    /// Log index of the first entry with records that is younger, by leader time.
    fn younger_than(&self, age: Duration, now: Nanos) -> Result<u64, IndexError> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let since = Nanos(now.0.saturating_sub(age));
        let end = self.shared.state().next_offset;
        let offsets = self.shared.first_offset()..end;
        let old = |_, placed: &crate::state::Placed| placed.leader_time <= since;
        match self.shared.index.first_not(offsets, old)? {
            Some((log_index, _)) => Ok(log_index),
            None => self.shared.log_index(end),
        }
    }

    /// Purges whole segments below what is retained. One checkpoint more than the snapshot is kept,
    /// and the log from there: one can be damaged, and a follower that is just being told of the
    /// log is not cut off (openraft #1706).
    async fn purge(&self) -> Result<(), RetainError> {
        let node = self.clone();
        let target = self.blocking(move || {
            let first = node.shared.first_offset();
            while node.shared.index.forget_below(first)? {}
            let below = node.shared.log_index(first)?;
            let mut known = node.usable_checkpoints()?;
            known.retain(|at| *at < below);
            let current = node.snapshot();
            let usable = |at: u64| Some(at) == current || node.files.checkpoints.load(at).is_ok();
            while known.pop_if(|at| !usable(*at)).is_some() {}
            Ok((known.pop(), known.pop()))
        });
        let (Some(snapshot), before) = target.await? else {
            return self.thin(self.snapshot().unwrap_or(0)).await;
        };
        if self.snapshot() < Some(snapshot) {
            self.files.point.store(snapshot, Ordering::Release);
            self.take_snapshot(snapshot).await?;
        }
        if let Some(before) = before.filter(|before| Some(*before) > self.purged()) {
            let purge = self.raft.trigger().purge_log(before).await;
            purge.map_err(|error| RetainError::Raft(error.to_string()))?;
        }
        self.thin(snapshot).await
    }

    /// Removes checkpoints that lead nowhere, and some of those that stand close together.
    async fn thin(&self, snapshot: u64) -> Result<(), RetainError> {
        let (checkpoints, purged) = (self.files.checkpoints.clone(), self.purged());
        self.blocking(move || Ok(checkpoints.thin(purged.unwrap_or(0), snapshot)?))
            .await
    }

    /// Log index of Raft's snapshot.
    fn snapshot(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.snapshot.map(|log_id| log_id.index())
    }

    async fn take_snapshot(&self, index: u64) -> Result<(), RetainError> {
        let raft = |error: &dyn std::fmt::Display| RetainError::Raft(error.to_string());
        let mut metrics = self.raft.metrics();
        self.raft.trigger().snapshot().await.map_err(|e| raft(&e))?;
        let taken = async {
            while self.snapshot() < Some(index) {
                metrics.changed().await.map_err(|e| raft(&e))?;
            }
            Ok(())
        };
        match timeout(SNAPSHOT_PATIENCE, taken).await {
            Ok(taken) => taken,
            Err(_) => Err(raft(&format!("no snapshot at {index} yet"))),
        }
    }

    fn pinned_by(&self) -> String {
        match self.lowest_pin() {
            Some(pin) => format!(
                "{} keeps everything from offset {} on, {} old",
                pin.name,
                pin.offset,
                age(pin.age)
            ),
            None => "nothing keeps old records: they are deleted a segment at a time".into(),
        }
    }

    /// What keeps the oldest records; `None` when nothing does.
    fn lowest_pin(&self) -> Option<Pin> {
        let now = self.leader_time();
        let (end, mut pins) = {
            let state = self.shared.state();
            let pin = |kind: &str, limit: bool, pin: Option<(&str, u64)>| {
                let (name, offset) = pin?;
                Some((format!("{kind}/{name}"), offset, limit))
            };
            let pins = [
                pin("cursor", true, state.cursors.lowest_pinning()),
                pin("cursor", false, state.cursors.lowest_limited()),
                pin("session", false, state.sessions.lowest(now)),
            ];
            (
                state.next_offset,
                pins.into_iter().flatten().collect::<Vec<_>>(),
            )
        };
        let young = self.first_younger(self.config.retention.min_age, now);
        pins.extend(young.map(|offset| ("min_age".to_owned(), offset, true)));
        let lowest = pins.into_iter().min_by_key(|(_, offset, _)| *offset);
        let (name, offset, without_limit) = lowest.filter(|(_, offset, _)| *offset < end)?;
        let since = self.time_of(offset.max(self.shared.first_offset()));
        Some(Pin {
            name,
            offset,
            age: since.map_or(0, |since| now.0.saturating_sub(since.0).max(0)),
            without_limit,
        })
    }

    fn first_younger(&self, age: Duration, now: Nanos) -> Option<u64> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let since = Nanos(now.0.saturating_sub(age));
        let offsets = self.shared.first_offset()..self.shared.state().next_offset;
        let old = |_, placed: &crate::state::Placed| placed.leader_time <= since;
        let found = self.shared.index.first_not(offsets, old).ok()?;
        found.map(|(_, placed)| placed.offset)
    }

    /// When the record at an offset was committed.
    fn time_of(&self, offset: u64) -> Option<Nanos> {
        let found = self.shared.index.from(offset, 1).ok()?.pop();
        found.map(|(_, placed)| placed.leader_time)
    }

    /// Retention and disk, for people.
    pub(super) fn retention_status(&self) -> rpc::RetentionStatus {
        let first_offset = self.shared.first_offset();
        let lowest_pin = self.lowest_pin();
        let first_time = self.time_of(first_offset).map_or(0, |time| time.0);
        let room = self.space.room();
        let refused = self.refuses_data();
        let state = self.shared.state();
        rpc::RetentionStatus {
            first_offset,
            first_time,
            lowest_pin,
            lost: state.retention.lost().collect(),
            lost_ranges: state.retention.lost_ranges,
            heads: state.retention.heads().collect(),
            space: Some(rpc::Space {
                used: room.used,
                total: room.total,
                left: room.left,
                reserve: room.reserve,
                refused: refused.unwrap_or_default(),
            }),
        }
    }

    /// Why this node, if it leads, takes no data.
    pub fn refuses_data(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let voters: Vec<u64> = {
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().voter_ids().collect()
        };
        let reason = self.space.refuses(&voters, self.patience())?;
        let pinned_by = self.pinned_by();
        Some(format!(
            "{reason}; {pinned_by}; let the consumer catch up (or, if it is gone for good, `updraft cursor release`), raise \
             log.disk.budget or give the \
             disk more room"
        ))
    }
}

/// Where the newest so many bytes begin.
fn newest_bytes(bytes: u64, segments: &[SegmentInfo]) -> u64 {
    let mut left = bytes;
    let mut begin = u64::MAX;
    for segment in segments.iter().rev() {
        let Some(rest) = left.checked_sub(segment.bytes) else {
            break;
        };
        (left, begin) = (rest, segment.first_index);
    }
    begin.min(segments.last().map_or(u64::MAX, |open| open.first_index))
}

fn age(nanos: i64) -> String {
    let seconds = nanos.unsigned_abs() / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
