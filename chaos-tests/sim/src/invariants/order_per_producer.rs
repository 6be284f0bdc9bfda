//! The records of a producer are in the log in the order they were given to it.

use std::collections::{BTreeMap, HashMap};

use super::Invariant;
use crate::history::{Event, RecordId};
use crate::look::Look;

#[derive(Debug, Default)]
pub(super) struct OrderPerProducer {
    /// Offset of each record read, per producer.
    offsets: HashMap<u32, BTreeMap<u64, u64>>,
}

impl OrderPerProducer {
    fn read(&mut self, offset: u64, id: RecordId) -> Result<(), String> {
        let offsets = self.offsets.entry(id.producer).or_default();
        // The same one again has its offset still, or `exactly_once` says so.
        if offsets.insert(id.number, offset).is_some() {
            return Ok(());
        }
        let before = offsets.range(..id.number).next_back();
        let after = offsets.range(id.number + 1..).next();
        let is_ordered =
            before.is_none_or(|(_, at)| *at < offset) && after.is_none_or(|(_, at)| *at > offset);
        if is_ordered {
            return Ok(());
        }
        Err(format!(
            "{id} at offset {offset} stands between {before:?} and {after:?}"
        ))
    }
}

impl Invariant for OrderPerProducer {
    fn name(&self) -> &'static str {
        "order-per-producer"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for event in look.events {
            if let Event::Read { offset, id, .. } = *event {
                self.read(offset, id)?;
            }
        }
        Ok(())
    }
}
