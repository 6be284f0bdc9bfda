//! How much of its disk the log may still use, and when it takes no more data (I5).
//!
//! What frees space are entries too: a cursor that moves, an acknowledgement, a `Retain`. A reserve
//! is kept for them; below it only data is refused.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::rpc;
use tokio::time::Instant;

use super::NodeConfig;
use crate::raft::peers::Peers;
use crate::segment::{self, Disk, Segments};

/// Cursors and acknowledgements need no more, however large the disk is.
const MOST_RESERVED: u64 = 1 << 30;

/// How far what a look has found is trusted while data is taken: others write to the disk as well.
/// To ask costs microseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// `log.disk`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskConfig {
    /// Bytes that the log's directory may take; absent, what the file system has.
    pub budget: Option<u64>,
    /// Bytes that are kept for what frees space; absent, 5 % of the whole but not more than
    /// [`MOST_RESERVED`], and two segments at least.
    pub reserve: Option<u64>,
}

/// The disk as it stands, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub used: u64,
    pub total: u64,
    pub left: u64,
    pub reserve: u64,
}

impl Room {
    /// Bytes to free so that appends don't come near the reserve.
    fn wanted(&self) -> u64 {
        self.reserve.saturating_mul(2).saturating_sub(self.left)
    }

    /// It is full below the reserve, and stays so until there is half of it more.
    fn is_full(&self, was_full: bool) -> bool {
        let needed = if was_full {
            self.reserve.saturating_add(self.reserve / 2)
        } else {
            self.reserve
        };
        self.left < needed
    }
}

/// What a look at the disk has found.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    /// What the file system still gives, and its size.
    available: u64,
    size: u64,
    /// Segment files then, and everything beside them.
    segments: u64,
    beside: u64,
}

/// The disk of one node, and what its peers say of theirs.
#[derive(Debug)]
pub(crate) struct Space {
    config: DiskConfig,
    segment_bytes: u64,
    directory: Arc<dyn Disk>,
    /// What takes room beside the segments.
    beside: Vec<Arc<dyn Disk>>,
    segments: Segments,
    peers: Peers,
    /// Bytes of data that were taken and may not be on the disk yet.
    under_way: AtomicU64,
    inner: Mutex<Inner>,
}

/// Data that is under way to the disk, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    bytes: u64,
    space: Arc<Space>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.space.under_way.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[derive(Debug, Default)]
struct Inner {
    looked: Looked,
    looked_at: Option<Instant>,
    full: bool,
    /// That the file system does not answer.
    told: bool,
}

impl Space {
    /// The directories are there already.
    pub(crate) fn new(
        config: &NodeConfig,
        segments: Segments,
        peers: Peers,
    ) -> Result<Space, segment::Error> {
        let directory = |name| config.environment.directory(&config.data_dir.join(name));
        let space = Space {
            config: config.disk,
            segment_bytes: config.segment_bytes,
            directory: config.environment.directory(&config.data_dir)?,
            beside: vec![directory("checkpoints")?, directory("index")?],
            segments,
            peers,
            under_way: AtomicU64::new(0),
            inner: Mutex::default(),
        };
        space.look();
        Ok(space)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the segment files, those for the next segments included.
    fn segment_files(&self) -> u64 {
        self.segments.space().used_bytes
    }

    /// What is pre-written is all that can still be written, and it is not much.
    fn is_stalling(&self) -> bool {
        let space = self.segments.space();
        space.stalled || (space.short && space.spare_bytes < self.segment_bytes)
    }

    /// Counts data that is about to be written; asks the file system when that is long ago.
    pub(super) fn admit(space: &Arc<Space>, bytes: usize) -> Admitted {
        let is_old = |at: Instant| at.elapsed() > LOOK_AGAIN;
        if space.inner().looked_at.is_none_or(is_old) {
            space.look();
        }
        let bytes = bytes as u64;
        space.under_way.fetch_add(bytes, Ordering::AcqRel);
        let space = space.clone();
        Admitted { bytes, space }
    }

    /// Asks the file system.
    pub(crate) fn look(&self) {
        let segments = self.segment_files();
        let beside = self.beside.iter().map(|disk| disk.used_bytes());
        let beside = beside.filter_map(Result::ok).sum();
        let found = match available(&*self.directory) {
            Ok((available, size)) => Looked {
                available,
                size,
                segments,
                beside,
            },
            // Only the budget counts then.
            Err(error) => {
                if !std::mem::replace(&mut self.inner().told, true) {
                    let directory = self.directory.path("");
                    tracing::warn!(%error, directory = %directory.display(), "can't tell how full the disk is");
                }
                Looked {
                    available: u64::MAX,
                    size: u64::MAX,
                    segments,
                    beside,
                }
            }
        };
        {
            let mut inner = self.inner();
            (inner.looked, inner.looked_at) = (found, Some(Instant::now()));
        }
        self.is_full();
    }

    /// As it is now: since the last look only segments were written.
    pub(crate) fn room(&self) -> Room {
        let looked = self.inner().looked;
        let segments = self.segment_files();
        let grown = segments.saturating_sub(looked.segments);
        let shrunk = looked.segments.saturating_sub(segments);
        let used = segments + looked.beside;
        let available = looked
            .available
            .saturating_sub(grown)
            .saturating_add(shrunk);
        let total = self.config.budget.unwrap_or(looked.size).min(looked.size);
        let left = match self.config.budget {
            Some(budget) => budget.saturating_sub(used).min(available),
            None => available,
        };
        let usual = (total / 20).min(MOST_RESERVED).max(2 * self.segment_bytes);
        Room {
            used,
            total,
            left: left.saturating_sub(self.under_way.load(Ordering::Acquire)),
            reserve: self.config.reserve.unwrap_or(usual),
        }
    }

    /// Whether this node's own disk takes no more data.
    pub(crate) fn is_full(&self) -> bool {
        let room = self.room();
        let mut inner = self.inner();
        let full = room.is_full(inner.full) || self.is_stalling();
        if full != inner.full {
            let Room { used, left, .. } = room;
            if full {
                tracing::warn!(used, left, "the log's disk is full: data is refused");
            } else {
                tracing::info!(used, left, "the log's disk has room again");
            }
        }
        inner.full = full;
        full
    }

    /// Bytes that should be freed here or on one of the peers heard within `patience`.
    pub(crate) fn wanted(&self, patience: Duration) -> u64 {
        let peers = self.peers.space(Instant::now(), patience);
        let wanted = peers.values().map(|short| short.wanted);
        wanted.chain([self.room().wanted()]).max().unwrap_or(0)
    }

    /// What is told to the leader.
    pub(crate) fn short(&self) -> rpc::SpaceShort {
        rpc::SpaceShort {
            wanted: self.room().wanted(),
            full: self.is_full(),
        }
    }

    /// Why a leader takes no data, if it does not: its own disk is full, or so many of the others
    /// are that those with room are no quorum of `voters`.
    pub(crate) fn refuses(&self, voters: &[u64], patience: Duration) -> Option<String> {
        if self.is_full() {
            return Some(self.reason("of this node"));
        }
        let peers = self.peers.space(Instant::now(), patience);
        let is_full = |id: &&u64| peers.get(id).is_some_and(|it| it.full);
        let full: Vec<u64> = voters.iter().filter(is_full).copied().collect();
        let with_room = voters.len() - full.len();
        (with_room < voters.len() / 2 + 1).then(|| self.reason(&format!("of the nodes {full:?}")))
    }

    fn reason(&self, whose: &str) -> String {
        let Room {
            used,
            total,
            left,
            reserve,
        } = self.room();
        format!(
            "the log's disk {whose} is full: here {used} of {total} bytes are used and {left} left, \
             {reserve} of them in reserve"
        )
    }
}

/// What the file system still gives to a process without privileges, and its size.
fn available(disk: &dyn Disk) -> io::Result<(u64, u64)> {
    Ok((disk.free_bytes()?, disk.size_bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_below_the_reserve_until_there_is_half_of_it_more() {
        let table = [
            (101, false, false),
            (100, false, false),
            (99, false, true),
            (100, true, true),
            (149, true, true),
            (150, true, false),
        ];
        for (left, was, is) in table {
            let room = Room {
                left,
                reserve: 100,
                ..Room::default()
            };
            assert_eq!(room.is_full(was), is, "{left}, was {was}");
        }
    }

    #[test]
    fn freeing_begins_before_the_reserve_is_touched() {
        let room = |left| Room {
            left,
            reserve: 100,
            ..Room::default()
        };
        assert_eq!(
            [0, 99, 199, 200, 900].map(|left| room(left).wanted()),
            [200, 101, 1, 0, 0]
        );
    }

    #[test]
    fn the_file_system_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), [0; 10]).unwrap();
        std::fs::write(directory.path().join("b"), [0; 5]).unwrap();
        std::fs::create_dir(directory.path().join("c")).unwrap();
        let disk = segment::Directory::open(directory.path()).unwrap();
        assert_eq!(disk.used_bytes().unwrap(), 15);
        let (available, size) = available(&disk).unwrap();
        assert!(0 < available && available < size, "{available} of {size}");
    }
}
