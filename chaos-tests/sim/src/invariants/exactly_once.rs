//! No record is in the log twice, and none that nobody appended.

use std::collections::{HashMap, HashSet};

use super::Invariant;
use crate::history::{Event, RecordId};
use crate::look::Look;

#[derive(Debug, Default)]
pub(super) struct ExactlyOnce {
    submitted: HashSet<RecordId>,
    offsets: HashMap<RecordId, u64>,
}

impl Invariant for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly-once"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for event in look.events {
            let (offset, id) = match *event {
                Event::Submitted { id } => {
                    self.submitted.insert(id);
                    continue;
                }
                Event::Acknowledged { id, offset } | Event::Read { offset, id, .. } => (offset, id),
                _ => continue,
            };
            if !self.submitted.contains(&id) {
                return Err(format!("{id} at offset {offset} was never appended"));
            }
            let known = *self.offsets.entry(id).or_insert(offset);
            if known != offset {
                return Err(format!("{id} is at offset {known} and at {offset}"));
            }
        }
        Ok(())
    }
}
