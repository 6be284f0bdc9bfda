//! Every acknowledged record is read at the offset it was acknowledged at, from every node, and all
//! readers see the same (I1); but for what was deleted at the log's beginning.

use std::collections::{BTreeMap, HashMap};

use super::{End, Invariant};
use crate::history::{Event, Reader, RecordId};
use crate::look::Look;

#[derive(Debug, Default)]
pub(super) struct AcknowledgedIsRead {
    acknowledged: BTreeMap<u64, RecordId>,
    /// What the first reader saw at an offset.
    read: BTreeMap<u64, RecordId>,
    /// Where each reader goes on.
    next: HashMap<Reader, u64>,
    /// Where a reader was told that the log begins.
    deleted: u64,
}

impl AcknowledgedIsRead {
    fn read(&mut self, reader: Reader, offset: u64, id: RecordId) -> Result<(), String> {
        let next = self.next.entry(reader).or_default();
        if *next != offset {
            return Err(format!(
                "reader {reader} was given {offset} instead of {next}"
            ));
        }
        *next = offset + 1;
        let known = self.read.entry(offset).or_insert(id);
        if *known != id {
            return Err(format!(
                "offset {offset} holds {id} for one, {known} for another"
            ));
        }
        self.compare(offset)
    }

    fn compare(&self, offset: u64) -> Result<(), String> {
        match (self.acknowledged.get(&offset), self.read.get(&offset)) {
            (Some(said), Some(read)) if said != read => Err(format!(
                "offset {offset} was acknowledged to {said}, but holds {read}"
            )),
            _ => Ok(()),
        }
    }
}

impl Invariant for AcknowledgedIsRead {
    fn name(&self) -> &'static str {
        "acknowledged-is-read"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for event in look.events {
            match *event {
                Event::Acknowledged { id, offset } => {
                    if let Some(other) = self.acknowledged.insert(offset, id) {
                        return Err(format!("offset {offset} was given to {other} and {id}"));
                    }
                    self.compare(offset)?;
                }
                Event::Read { reader, offset, id } => self.read(reader, offset, id)?,
                Event::Deleted { reader, before } => {
                    let next = self.next.entry(reader).or_default();
                    *next = before.max(*next);
                    self.deleted = before.max(self.deleted);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_at_end(&mut self, end: &End) -> Result<(), String> {
        if self.deleted > end.first_offset {
            return Err(format!(
                "a reader was told that the log begins at {}, but it begins at {}",
                self.deleted, end.first_offset
            ));
        }
        let Some((last, id)) = self.acknowledged.last_key_value() else {
            return Ok(());
        };
        for reader in &end.audits {
            // Without a gap so far, as every reader.
            if self.next.get(reader).copied().unwrap_or_default() <= *last {
                return Err(format!(
                    "{id}, acknowledged at {last}, was not read at last"
                ));
            }
        }
        Ok(())
    }
}
