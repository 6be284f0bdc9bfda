//! Checkpoints: the replicated state as it was exactly at one log index, each a file of its own.
//!
//! One is taken when the last entry of a segment is applied, so that a restart applies one
//! segment at most; the one at the retention point is the Raft snapshot.
//!
//! ```text
//! offset size
//!      0    4  magic "UPCK"
//!      4    4  format version, now 1, little endian
//!      8    4  CRC32C of the rest
//!     12       a `Checkpoint` message
//! ```
//! File name: `<log index, 20 digits>.ckpt`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::rpc::Checkpoint;

use crate::segment::{Disk, read_file, replace_file};

const MAGIC: &[u8; 4] = b"UPCK";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 12;
/// Checkpoints that are kept: retention can free this part of the log at a time.
const MOST: usize = 32;

/// The directory of a node's checkpoints.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    disk: Arc<dyn Disk>,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("checkpoint {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("checkpoint {} is damaged: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
}

impl Checkpoints {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Checkpoints {
        Checkpoints { disk }
    }

    /// Durable when it returns, or as if it had never been called.
    pub(crate) fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let name = name(log_index(checkpoint));
        let body = checkpoint.encode_to_vec();
        let mut content = MAGIC.to_vec();
        content.extend(VERSION.to_le_bytes());
        content.extend(crc32c::crc32c(&body).to_le_bytes());
        content.extend(body);
        replace_file(&*self.disk, &name, &content).map_err(self.at(&name))
    }

    /// Log indexes of the checkpoints, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<u64>, CheckpointError> {
        let names = self.disk.list().map_err(self.at(""))?;
        let stems = names.iter().filter_map(|name| name.strip_suffix(".ckpt"));
        let mut indexes: Vec<u64> = stems.filter_map(|stem| stem.parse().ok()).collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    pub(crate) fn load(&self, log_index: u64) -> Result<Checkpoint, CheckpointError> {
        let name = name(log_index);
        let bytes = read_file(&*self.disk, &name).map_err(self.at(&name))?;
        let path = self.disk.path(&name);
        decode(&bytes.into()).map_err(|problem| CheckpointError::Damaged { path, problem })
    }

    /// Removes those that lead nowhere any more: below `from`, where the log begins, and of those
    /// beyond `snapshot` so many that few remain. The newest two stay.
    pub(crate) fn thin(&self, from: u64, snapshot: u64) -> Result<(), CheckpointError> {
        let known = self.list()?;
        let (old, mut known) = known.into_iter().partition::<Vec<_>, _>(|at| *at < from);
        for at in old {
            self.remove(at)?;
        }
        while known.len() > MOST {
            // The one whose neighbours are closest is missed least.
            let inner = 1..known.len().saturating_sub(2);
            let spare = inner.filter(|at| known[*at] > snapshot);
            let Some(least) = spare.min_by_key(|at| known[at + 1] - known[at - 1]) else {
                break;
            };
            self.remove(known.remove(least))?;
        }
        Ok(())
    }

    pub(crate) fn remove(&self, log_index: u64) -> Result<(), CheckpointError> {
        let name = name(log_index);
        self.disk.unlink(&name).map_err(self.at(&name))
    }

    fn at(&self, name: &str) -> impl FnOnce(io::Error) -> CheckpointError {
        let path = self.disk.path(name);
        move |source| CheckpointError::Io { path, source }
    }
}

fn name(log_index: u64) -> String {
    format!("{log_index:020}.ckpt")
}

/// 0 for a checkpoint of nothing.
pub(crate) fn log_index(checkpoint: &Checkpoint) -> u64 {
    let last = checkpoint
        .meta
        .as_ref()
        .and_then(|meta| meta.last_log_id.as_ref());
    last.map_or(0, |log_id| log_id.index)
}

fn decode(bytes: &Bytes) -> Result<Checkpoint, String> {
    if bytes.len() < HEADER_BYTES || &bytes[..4] != MAGIC {
        return Err("not a checkpoint".into());
    }
    let number = |from: usize| {
        bytes[from..from + 4]
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    };
    if number(4) != VERSION {
        return Err(format!("format version {} is not known", number(4)));
    }
    let body = bytes.slice(HEADER_BYTES..);
    if number(8) != crc32c::crc32c(&body) {
        return Err("checksum differs".into());
    }
    Checkpoint::decode(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proto::rpc::{LogId, SnapshotMeta};

    use super::*;
    use crate::segment::Directory;

    fn open(directory: &Path) -> Checkpoints {
        Checkpoints::new(Arc::new(Directory::open(directory).unwrap()))
    }

    fn checkpoint(index: u64) -> Checkpoint {
        let last_log_id = Some(LogId {
            term: 1,
            node_id: 2,
            index,
        });
        let meta = SnapshotMeta {
            last_log_id,
            ..Default::default()
        };
        Checkpoint {
            meta: Some(meta),
            state: "state".into(),
            state_hash: "hash".into(),
        }
    }

    #[test]
    fn what_is_saved_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = open(&directory.path().join("new"));
        for index in [7, 300] {
            checkpoints.save(&checkpoint(index)).unwrap();
        }
        assert_eq!(checkpoints.list().unwrap(), [7, 300]);
        assert_eq!(checkpoints.load(300).unwrap(), checkpoint(300));
        checkpoints.remove(7).unwrap();
        assert_eq!(checkpoints.list().unwrap(), [300]);
    }

    #[test]
    fn what_leads_nowhere_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = open(directory.path());
        for index in (1..=100).map(|at| at * 10) {
            checkpoints.save(&checkpoint(index)).unwrap();
        }
        checkpoints.thin(300, 350).unwrap();
        let left = checkpoints.list().unwrap();
        assert_eq!(left.len(), MOST);
        assert_eq!(left[..6], [300, 310, 320, 330, 340, 350]);
        assert_eq!(left[MOST - 2..], [990, 1000]);
        // Spread over the rest.
        let widest = left.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest <= Some(60), "{left:?}");
        checkpoints.thin(1000, 1000).unwrap();
        assert_eq!(checkpoints.list().unwrap(), [1000]);
    }

    #[test]
    fn every_flipped_byte_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = open(directory.path());
        checkpoints.save(&checkpoint(7)).unwrap();
        let path = checkpoints.disk.path(&name(7));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let error = checkpoints.load(7).unwrap_err();
            assert!(
                matches!(error, CheckpointError::Damaged { .. }),
                "{at}: {error}"
            );
        }
    }
}
