//! How far this node is with what its hub has committed.

use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;

use super::Node;

/// What this node knows of its own place in the hub; see [`Node::progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether it leads, or hears from a node that does.
    pub led: bool,
    /// If it leads others: how long ago a majority of the hub answered it last.
    pub unanswered: Option<Duration>,
    /// Index up to which a leader has told it that entries are committed, since it was started.
    pub committed: Option<u64>,
    /// Index up to which it has applied them.
    pub applied: Option<u64>,
}

impl Node {
    /// An election takes up to this long; whoever is silent for longer is gone.
    pub(super) fn patience(&self) -> Duration {
        2 * self.config.election_timeout
    }

    /// It hears from a leader, or leads and was answered by a majority within [`Node::patience`].
    pub(super) fn has_quorum(&self) -> bool {
        let progress = self.progress();
        let silent = progress
            .unanswered
            .is_some_and(|since| since > self.patience());
        progress.led && !silent
    }

    pub fn progress(&self) -> Progress {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        // A hub of one node has nobody to ask, and so no time of an answer.
        let others = membership.voter_ids().count() > 1;
        let answered = metrics.last_quorum_acked.as_ref().filter(|_| others);
        Progress {
            led: match metrics.current_leader {
                Some(leader) if leader == self.config.node_id.0 => true,
                Some(_) => self.heard.within(self.patience()),
                None => false,
            },
            unanswered: answered.map(|at| at.elapsed()),
            // The commit as this node has it on disk may be older than its last start.
            committed: metrics.cluster_committed.map(|id| id.index()),
            applied: metrics.last_applied.map(|id| id.index()),
        }
    }
}
