//! Election safety (Raft §5.2): a leader was elected by a quorum that keeps its votes.
//!
//! openraft orders leaders by (term, node), so that a node may vote twice within a term, for a
//! higher one; what must never happen is that a vote is forgotten. So from the moment a node leads,
//! a quorum of disks holds its vote or a higher one for ever after, whatever crashes.

//!
//! Of the quorum of those who voted then, as the leader's own log has it. A disk that was lost took
//! its votes with it: what was elected until then is not asked about any more.

use std::collections::BTreeMap;

use super::Invariant;
use crate::look::{Look, NodeLook, Voters, is_quorum};

#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    /// Who voted, by term and node.
    leaders: BTreeMap<(u64, u64), Voters>,
    wiped: u64,
    /// The highest leader before a disk was lost.
    excused: Option<(u64, u64)>,
}

/// Who votes before a leader has said anything else.
fn electors(look: &Look<'_>, node: &NodeLook, leader: (u64, u64)) -> Voters {
    let mut known = node.durable.memberships.iter().rev();
    let earlier = known.find(|(at, _)| at.is_none_or(|at| (at.term, at.leader) != leader));
    earlier.map_or_else(|| look.everybody(), |(_, voters)| voters.clone())
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election-safety"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        if std::mem::replace(&mut self.wiped, look.wiped.times) != look.wiped.times {
            self.excused = self.leaders.last_key_value().map(|(leader, _)| *leader);
        }
        for node in &look.nodes {
            if let Some(running) = node.running.as_ref().filter(|running| running.leads) {
                let leader = (running.term, node.id);
                let voters = || electors(look, node, leader);
                self.leaders.entry(leader).or_insert_with(voters);
            }
        }
        // A vote for the highest is one for all below it.
        let Some((highest, voters)) = self.leaders.last_key_value() else {
            return Ok(());
        };
        let votes = look.those(|node| node.durable.vote >= Some(*highest));
        if Some(*highest) <= self.excused || is_quorum(voters, &votes) {
            return Ok(());
        }
        let (term, leader) = highest;
        let kept: Vec<_> = look.nodes.iter().map(|n| (n.id, n.durable.vote)).collect();
        Err(format!(
            "node {leader} was elected in term {term} by {voters:?}, but only the disks {votes:?} \
             know that: {kept:?}"
        ))
    }
}
