//! Nodes that have applied the same have the same state: their checkpoints at one index are equal to
//! the byte, and in the end their hashes.

use std::collections::HashMap;

use super::{End, Invariant};
use crate::look::Look;

#[derive(Debug, Default)]
pub(super) struct EqualState {
    /// Digest of the checkpoint at an index, and the node it was seen on first.
    checkpoints: HashMap<u64, (u64, u64)>,
}

impl Invariant for EqualState {
    fn name(&self) -> &'static str {
        "equal-state"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for node in &look.nodes {
            for (index, digest) in &node.durable.checkpoints {
                let seen = (*digest, node.id);
                let (known, first) = *self.checkpoints.entry(*index).or_insert(seen);
                if known != *digest {
                    return Err(format!(
                        "nodes {first} and {} differ in their checkpoints at {index}",
                        node.id
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_at_end(&mut self, end: &End) -> Result<(), String> {
        let mut states = end.states.iter();
        let Some((first, index, hash)) = states.next() else {
            return Ok(());
        };
        for (node, other_index, other_hash) in states {
            if (index, hash) != (other_index, other_hash) {
                return Err(format!(
                    "nodes {first} and {node} differ in their states at {index} and {other_index}"
                ));
            }
        }
        Ok(())
    }
}
