//! Election safety (Raft §5.2): a leader was elected by a quorum that keeps its votes.
//!
//! openraft orders leaders by (term, node), so that a node may vote twice within a term, for a
//! higher one; what must never happen is that a vote is forgotten. So from the moment a node leads,
//! a quorum of disks holds its vote or a higher one for ever after, whatever crashes.

use std::collections::BTreeSet;

use super::Invariant;
use crate::look::Look;

#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    /// Term and node.
    leaders: BTreeSet<(u64, u64)>,
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election-safety"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for node in &look.nodes {
            if let Some(running) = node.running.as_ref().filter(|running| running.leads) {
                self.leaders.insert((running.term, node.id));
            }
        }
        // A vote for the highest is one for all below it.
        let Some(highest) = self.leaders.last().copied() else {
            return Ok(());
        };
        let votes = look.count(|node| node.durable.vote >= Some(highest));
        if votes >= look.quorum() {
            return Ok(());
        }
        let (term, leader) = highest;
        let kept: Vec<_> = look.nodes.iter().map(|n| (n.id, n.durable.vote)).collect();
        Err(format!(
            "node {leader} was elected in term {term}, but only {votes} disks know that: {kept:?}"
        ))
    }
}
