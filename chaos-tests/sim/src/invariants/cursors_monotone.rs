//! A cursor never goes back: not on a node that runs, not for a consumer that takes it over, and in
//! the end no position is lost that was taken. One claim of it has one holder.

use std::collections::HashMap;

use super::{End, Invariant};
use crate::history::Event;
use crate::look::{Look, NodeLook};

#[derive(Debug, Default)]
pub(super) struct CursorsMonotone {
    /// Epoch and position, by node and cursor. A node that was started anew may know less first.
    seen: HashMap<(u64, String), (u64, u64)>,
    holders: HashMap<(String, u64), String>,
    committed: HashMap<String, u64>,
}

impl CursorsMonotone {
    fn check_node(&mut self, node: &NodeLook) -> Result<(), String> {
        let Some(running) = &node.running else {
            self.seen.retain(|(id, _), _| *id != node.id);
            return Ok(());
        };
        for cursor in &running.cursors {
            let now = (cursor.epoch, cursor.next_offset);
            let before = self.seen.insert((node.id, cursor.name.clone()), now);
            let went_back = before.is_some_and(|(epoch, at)| now.0 < epoch || now.1 < at);
            if went_back {
                return Err(format!(
                    "cursor {} on node {} went from {before:?} to {now:?}",
                    cursor.name, node.id
                ));
            }
        }
        Ok(())
    }

    fn check_event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Claimed {
                cursor,
                holder,
                epoch,
                next_offset,
                floor,
            } => {
                if next_offset < floor {
                    return Err(format!(
                        "cursor {cursor} was claimed at {next_offset}, below {floor}"
                    ));
                }
                let key = (cursor.clone(), *epoch);
                let known = self.holders.entry(key).or_insert_with(|| holder.clone());
                if known != holder {
                    return Err(format!(
                        "cursor {cursor}: {known} and {holder} both have epoch {epoch}"
                    ));
                }
            }
            Event::Committed {
                cursor,
                next_offset,
            } => {
                let committed = self.committed.entry(cursor.clone()).or_default();
                *committed = (*committed).max(*next_offset);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Invariant for CursorsMonotone {
    fn name(&self) -> &'static str {
        "cursors-monotone"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        look.events
            .iter()
            .try_for_each(|event| self.check_event(event))?;
        look.nodes.iter().try_for_each(|node| self.check_node(node))
    }

    fn check_at_end(&mut self, end: &End) -> Result<(), String> {
        // A node that was taken from the hub, and runs on, stands where it stood.
        let is_member = |id: u64| end.states.iter().any(|(node, ..)| *node == id);
        let members = self.seen.iter().filter(|((id, _), _)| is_member(*id));
        for ((node, cursor), (_, at)) in members {
            let committed = self.committed.get(cursor).copied().unwrap_or_default();
            if *at < committed {
                return Err(format!(
                    "cursor {cursor} stands at {at} on node {node}, {committed} was taken"
                ));
            }
        }
        Ok(())
    }
}
