//! Handing the leadership to another node before this one stops or leaves the hub: its clients wait
//! for milliseconds then, not for an election.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use tokio::time::{Instant, timeout_at};

use super::{Leader, Node};

/// One node that was asked may have died with it.
const ONE_NODE: Duration = Duration::from_millis(400);

impl Node {
    /// Hands over to the voter that has most of the log, if this node leads and there is one that
    /// answers. Returns when another node leads, at the latest after `limit`. From the first attempt
    /// on this node takes no more appends.
    pub(super) async fn hand_over(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for heir in self.heirs() {
            if self.leader() != Leader::This || Instant::now() >= deadline {
                return;
            }
            tracing::info!(to = heir, "handing over the leadership");
            if self.raft.trigger().transfer_leader(heir).await.is_err() {
                return;
            }
            let until = deadline.min(Instant::now() + ONE_NODE);
            let _ = timeout_at(until, self.until_led_by_another()).await;
        }
    }

    /// Before the node is stopped: it takes no leadership any more and hands over the one it has,
    /// within `limit`. If nobody took it, those who follow this node are left to find another leader.
    pub async fn leave(&self, limit: Duration) {
        self.stopping.cancel();
        self.hand_over(limit).await;
        self.leaving.cancel();
    }

    async fn until_led_by_another(&self) {
        let mut metrics = self.raft.metrics();
        loop {
            if matches!(self.leader(), Leader::Other(_)) || metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Other voters that answered lately, the one with most of the log first.
    fn heirs(&self) -> Vec<u64> {
        let members = self.members();
        let patience = u64::try_from(self.patience().as_millis()).unwrap_or(u64::MAX);
        let mut heirs: Vec<_> = members
            .members
            .iter()
            .filter(|member| member.voter && member.node_id != self.config.node_id.0)
            .filter(|member| member.silent_ms.is_some_and(|silent| silent <= patience))
            .collect();
        heirs.sort_by_key(|member| std::cmp::Reverse(member.matched_index));
        heirs.into_iter().map(|member| member.node_id).collect()
    }
}
