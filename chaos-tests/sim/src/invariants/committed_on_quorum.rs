//! What is acknowledged is durable on a quorum of disks at that very moment (I1).

use super::Invariant;
use crate::history::Event;
use crate::look::Look;

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
            let disks = look.count(|node| look.has(node, *id));
            if disks < look.quorum() {
                return Err(format!(
                    "{id} was acknowledged at offset {offset}, but is on {disks} of {} disks",
                    look.nodes.len()
                ));
            }
        }
        Ok(())
    }
}
