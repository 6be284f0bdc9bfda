//! What a node of the log is opened with, and what can go wrong when it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;
use proto::ids::NodeIdentity;
use proto::{HubPath, NodeId};
use tonic::transport::ClientTlsConfig;

use super::retention::RetentionConfig;
use super::space::DiskConfig;
use crate::checkpoint::CheckpointError;
use crate::environment::Environment;
use crate::index::IndexError;
use crate::raft::machine::MachineError;
use crate::segment;

#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub node_id: NodeId,
    pub group: u32,
    pub hub: HubPath,
    /// This node's alone; made when it is missing.
    pub data_dir: PathBuf,
    /// host:port of every node of the hub, this one included.
    pub nodes: BTreeMap<NodeId, String>,
    pub segment_bytes: u64,
    pub heartbeat: Duration,
    /// Followers wait for a leader this long, and up to twice as long.
    pub election_timeout: Duration,
    /// For what the log keeps in memory to be fast; its other memory is small and bounded.
    pub memory_bytes: usize,
    pub retention: RetentionConfig,
    pub disk: DiskConfig,
    /// What one producer may append; absent, as much as it can.
    pub quota_bytes_per_second: Option<u64>,
    /// For connections to the peers; clear text when absent.
    pub tls: Option<ClientTlsConfig>,
    /// The machine it runs on.
    pub environment: Arc<dyn Environment>,
}

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Segment(#[from] segment::Error),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("log identity {}: {problem}", path.display())]
    Identity { path: PathBuf, problem: String },
    #[error("{reason} ({})", path.display())]
    StateDiffers { path: PathBuf, reason: String },
    #[error("raft: {0}")]
    Raft(String),
}

/// Index pages beyond this are read from the disk's cache as fast.
const MAX_INDEX_BYTES: usize = 8 << 20;
/// More that waits for the disk makes nothing faster.
const MAX_WAITING_BYTES: usize = 16 << 20;

impl NodeConfig {
    /// The newest records, for those who read near the end.
    pub(super) fn recent_bytes(&self) -> usize {
        self.memory_bytes / 3
    }

    pub(super) fn index_cache_bytes(&self) -> usize {
        (self.memory_bytes / 6).min(MAX_INDEX_BYTES)
    }

    /// What the segment files in `data_dir` are opened with.
    pub fn segment_options(&self, identity: NodeIdentity) -> segment::Options {
        let directory = self.data_dir.join("segments");
        // A directory that was copied to another hub is refused.
        let cluster = blake3::hash(self.hub.as_str().as_bytes());
        let cluster = cluster.as_bytes()[..16]
            .iter()
            .fold(0, |id, b| id << 8 | u128::from(*b));
        let mut options = segment::Options::new(directory, cluster, identity.0);
        options.segment_bytes = self.segment_bytes;
        options.cache_bytes = self.memory_bytes / 3;
        options.waiting_bytes = (self.memory_bytes / 6).min(MAX_WAITING_BYTES);
        options.environment = self.environment.clone();
        options
    }

    pub(super) fn raft_config(&self) -> Result<Arc<openraft::Config>, NodeError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: self.hub.to_string(),
            heartbeat_interval: millis(self.heartbeat),
            // A follower honours the lease of a leader that it has heard, which is the larger of
            // these, and waits for a random time between them after it.
            election_timeout_min: millis(self.election_timeout).saturating_mul(11) / 20,
            election_timeout_max: millis(self.election_timeout).saturating_mul(9) / 10,
            install_snapshot_timeout: 60_000,
            // Snapshots are checkpoints that the retention point makes, nothing else does.
            snapshot_policy: SnapshotPolicy::Never,
            // Our entries are batches.
            replication_lag_threshold: 64,
            // What is below a snapshot is purged by retention alone.
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true),
            // A leader sends entries before they are on its own disk. One that lost such entries
            // with its power must not go on in its old term: it would give their log ids to others.
            enable_leader_restore: Some(false),
            ..Default::default()
        };
        let config = config
            .validate()
            .map_err(|error| NodeError::Raft(error.to_string()))?;
        Ok(Arc::new(config))
    }
}
