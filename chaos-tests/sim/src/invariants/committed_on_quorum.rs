//! What is acknowledged is durable on a quorum of disks at that very moment (I1): of those who voted
//! when it was appended, or since.

use super::Invariant;
use crate::history::Event;
use crate::look::{Look, Voters, is_quorum};

#[derive(Debug)]
pub(super) struct CommittedOnQuorum;

impl Invariant for CommittedOnQuorum {
    fn name(&self) -> &'static str {
        "committed-on-quorum"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for event in look.events {
            let Event::Acknowledged { id, offset } = event else {
                continue;
            };
            let disks = look.those(|node| look.has(node, *id));
            let voters = voters_since(look, look.places.get(id).copied());
            if !voters.iter().any(|voters| is_quorum(voters, &disks)) {
                return Err(format!(
                    "{id} was acknowledged at offset {offset}, but is on the disks {disks:?} of \
                     {voters:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Who voted when an entry was appended, and all who did since, as any disk has it.
fn voters_since(look: &Look<'_>, index: Option<u64>) -> Vec<Voters> {
    let mut all = Vec::new();
    for node in &look.nodes {
        let known = &node.durable.memberships;
        let before = |at: u64| index.is_none_or(|index| at <= index);
        let is_before = |it: &&(Option<_>, Voters)| {
            it.0.is_none_or(|at: raft_log::segment::LogPosition| before(at.index))
        };
        let passed = known.iter().take_while(is_before).count();
        let since = known.iter().skip(passed.saturating_sub(1));
        all.extend(since.map(|(_, voters)| voters.clone()));
    }
    if all.is_empty() {
        all.push(look.everybody());
    }
    all
}
