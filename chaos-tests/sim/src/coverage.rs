//! What really happened in a simulation, counted: a fault that never comes about proves nothing.

use std::collections::BTreeMap;

use crate::history::Change;
use crate::look::Look;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Records that the hub deleted.
    pub deleted: u64,
    /// How often a node was seen to have dropped log that it had.
    pub purges: u64,
    /// How often one went on from a snapshot that it was sent.
    pub snapshots: u64,
    /// Looks at a leader that took no data because a disk was full.
    pub refusals: u64,
    /// Nodes that joined the hub, left it, and were replaced.
    pub joined: u64,
    pub removed: u64,
    pub replaced: u64,
    /// Durable end of each node's log, and what it had dropped.
    seen: BTreeMap<u64, (u64, u64)>,
}

impl Coverage {
    pub(crate) fn take_in(&mut self, look: &Look<'_>) {
        for node in &look.nodes {
            if let Some(running) = &node.running {
                self.deleted = self.deleted.max(running.first_offset);
                self.refusals += u64::from(running.leads && running.refuses);
            }
            let durable = &node.durable;
            let last = durable.entries.last().map(|entry| entry.position.index);
            let now = (last.unwrap_or(durable.purged), durable.purged);
            let (last, purged) = self.seen.insert(node.id, now).unwrap_or_default();
            // What was never there was not dropped, but left out.
            if durable.purged > last {
                self.snapshots += 1;
            } else if durable.purged > purged {
                self.purges += 1;
            }
        }
    }

    pub(crate) fn changed(&mut self, change: Change) {
        let count = match change {
            Change::Add(_) => &mut self.joined,
            Change::Remove(_) => &mut self.removed,
            Change::Replace(_) => &mut self.replaced,
        };
        *count += 1;
    }

    /// By name.
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("deleted", self.deleted),
            ("purges", self.purges),
            ("snapshots", self.snapshots),
            ("refusals", self.refusals),
            ("joined", self.joined),
            ("removed", self.removed),
            ("replaced", self.replaced),
        ]
    }
}
