//! What a pinning cursor has not passed is not deleted (I2), and what is deleted stays so.

use std::collections::HashMap;

use super::Invariant;
use crate::look::{Look, NodeLook, Running};

#[derive(Debug, Default)]
pub(super) struct PinnedIsKept {
    /// First offset and pinning cursors, by node, while it runs.
    seen: HashMap<u64, (u64, Vec<String>)>,
}

impl PinnedIsKept {
    fn check_node(&mut self, node: &NodeLook, running: &Running) -> Result<(), String> {
        let first = running.first_offset;
        let pinning = running.cursors.iter().filter(|cursor| cursor.pinning);
        let names = pinning.clone().map(|cursor| cursor.name.clone()).collect();
        let Some((before, pins)) = self.seen.insert(node.id, (first, names)) else {
            return Ok(());
        };
        if first < before {
            let id = node.id;
            return Err(format!("node {id} begins at {first}, after {before}"));
        }
        // One that was claimed since may begin below what was deleted by then.
        let mut old = pinning.filter(|cursor| pins.contains(&cursor.name));
        match old.find(|cursor| first > before && cursor.next_offset < first) {
            Some(cursor) => Err(format!(
                "node {} has deleted everything below {first}, but cursor {} pins {}",
                node.id, cursor.name, cursor.next_offset
            )),
            None => Ok(()),
        }
    }
}

impl Invariant for PinnedIsKept {
    fn name(&self) -> &'static str {
        "pinned-is-kept"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for node in &look.nodes {
            match &node.running {
                Some(running) => self.check_node(node, running)?,
                None => drop(self.seen.remove(&node.id)),
            }
        }
        Ok(())
    }
}
