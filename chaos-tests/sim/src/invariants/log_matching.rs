//! Log matching (Raft §5.3) and state machine safety (§5.4.3): an entry of one position is the same
//! on every disk, with the same before it; and what one node has applied no other one has applied
//! differently.

use std::collections::HashMap;
use std::rc::Rc;

use raft_log::segment::LogPosition;

use super::Invariant;
use crate::look::{Entry, Look, NodeLook};

#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// Each entry ever seen.
    entries: HashMap<LogPosition, Rc<Entry>>,
    /// What was before it, if that was still there.
    before: HashMap<LogPosition, LogPosition>,
    /// What was applied, by index.
    applied: HashMap<u64, LogPosition>,
    /// What each disk held the last time.
    old: HashMap<u64, Vec<Rc<Entry>>>,
    /// Up to where each node was compared with it.
    compared: HashMap<u64, u64>,
}

impl LogMatching {
    fn check_entries(&mut self, node: &NodeLook) -> Result<(), String> {
        // What was compared and is still the same is not compared again.
        let entries = &node.durable.entries;
        let old = self
            .old
            .insert(node.id, entries.clone())
            .unwrap_or_default();
        let same = entries
            .iter()
            .zip(&old)
            .take_while(|(a, b)| Rc::ptr_eq(a, b))
            .count();
        let mut previous: Option<LogPosition> = None;
        for entry in &entries[same.saturating_sub(1)..] {
            let position = entry.position;
            let known = self
                .entries
                .entry(position)
                .or_insert_with(|| entry.clone());
            if known.digest != entry.digest {
                let id = node.id;
                return Err(format!("node {id} holds {entry:?}, another one {known:?}"));
            }
            if let Some(before) = previous {
                let known = *self.before.entry(position).or_insert(before);
                if known != before {
                    let id = node.id;
                    return Err(format!(
                        "node {id}: {before:?} before {position:?}, {known:?} elsewhere"
                    ));
                }
            }
            previous = Some(position);
        }
        Ok(())
    }

    fn check_applied(&mut self, node: &NodeLook) -> Result<(), String> {
        let Some(running) = &node.running else {
            // After a crash all is compared again: its log may have become another one.
            self.compared.remove(&node.id);
            return Ok(());
        };
        let compared = self.compared.entry(node.id).or_default();
        *compared = node.durable.purged.max(*compared);
        for index in *compared + 1..=running.applied_index {
            // What it has applied may not be on its own disk yet.
            let Some(entry) = node.durable.entry(index) else {
                break;
            };
            let known = *self.applied.entry(index).or_insert(entry.position);
            if known != entry.position {
                return Err(format!(
                    "node {} has applied {:?}, another one {known:?}",
                    node.id, entry.position
                ));
            }
            *compared = index;
        }
        Ok(())
    }
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log-matching"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for node in &look.nodes {
            self.check_entries(node)?;
            self.check_applied(node)?;
        }
        Ok(())
    }
}
