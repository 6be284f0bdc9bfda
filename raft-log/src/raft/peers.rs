//! What the followers say of themselves in their answers to a leader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::rpc::SpaceShort;
use tokio::time::Instant;

/// By node id; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(Arc<Mutex<BTreeMap<u64, (SpaceShort, Instant)>>>);

impl Peers {
    pub(crate) fn heard(&self, node_id: u64, space: SpaceShort) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.insert(node_id, (space, Instant::now()));
    }

    /// The disks of those that were heard within `patience`: one that is away keeps nobody from
    /// anything.
    pub(crate) fn space(&self, now: Instant, patience: Duration) -> BTreeMap<u64, SpaceShort> {
        let peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = peers
            .iter()
            .filter(|(_, (_, at))| now.saturating_duration_since(*at) <= patience);
        recent
            .map(|(node_id, (space, _))| (*node_id, *space))
            .collect()
    }
}
