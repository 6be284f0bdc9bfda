//! Cursors: durable positions of consumers, each claimed by one holder at a time.

use std::collections::BTreeMap;

use proto::Nanos;
use proto::rpc::{ClaimCursor, CommitCursors, CursorState, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

use crate::refusal::refusal;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cursors(BTreeMap<String, Cursor>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Cursor {
    holder: String,
    epoch: u64,
    lease_until: Nanos,
    next_offset: u64,
    pinning: bool,
}

impl Cursors {
    /// Grants the cursor when it is free, its lease is over, or the same holder asks again.
    pub(super) fn claim(&mut self, claim: ClaimCursor, now: Nanos) -> Result<CursorState, Refusal> {
        let cursor = self.0.entry(claim.name.clone()).or_default();
        if cursor.holder != claim.holder {
            if now < cursor.lease_until {
                let message = format!("cursor {:?} is held by {}", claim.name, cursor.holder);
                return Err(refusal(RefusalKind::Fenced, message));
            }
            cursor.epoch += 1;
            cursor.holder = claim.holder;
        }
        cursor.lease_until = Nanos(now.0.saturating_add(claim.lease_nanos.max(0)));
        // Who holds it says so; given up like this, it keeps nothing for ever.
        cursor.pinning = claim.pinning;
        Ok(state(&claim.name, cursor))
    }

    /// Moves cursors forward; refused whole when one of them was claimed by another since.
    pub(super) fn commit(&mut self, commit: &CommitCursors, end: u64) -> Result<(), Refusal> {
        for position in &commit.cursors {
            let epoch = self.0.get(&position.name).map(|cursor| cursor.epoch);
            if epoch != Some(position.epoch) {
                let message = format!("cursor {:?} has another holder", position.name);
                return Err(refusal(RefusalKind::Fenced, message));
            }
            if position.next_offset > end {
                let message = format!(
                    "cursor {:?}: offset {} is beyond the log's end {end}",
                    position.name, position.next_offset
                );
                return Err(refusal(RefusalKind::Invalid, message));
            }
        }
        for position in &commit.cursors {
            if let Some(cursor) = self.0.get_mut(&position.name) {
                cursor.next_offset = cursor.next_offset.max(position.next_offset);
            }
        }
        Ok(())
    }

    /// The pinning cursor that is furthest back.
    pub fn lowest_pinning(&self) -> Option<(&str, u64)> {
        lowest(self.0.iter().filter(|(_, cursor)| cursor.pinning))
    }

    /// The cursor that is furthest back among those that don't pin without limit.
    pub fn lowest_limited(&self) -> Option<(&str, u64)> {
        lowest(self.0.iter().filter(|(_, cursor)| !cursor.pinning))
    }

    /// Moves cursors that don't pin without limit to `offset`; which ones, and from where.
    pub(super) fn move_on(&mut self, offset: u64) -> Vec<(String, u64)> {
        let limited = self.0.iter_mut().filter(|(_, cursor)| !cursor.pinning);
        let behind = limited.filter(|(_, cursor)| cursor.next_offset < offset);
        let moved = behind.map(|(name, cursor)| {
            let from = std::mem::replace(&mut cursor.next_offset, offset);
            (format!("cursor/{name}"), from)
        });
        moved.collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = CursorState> {
        self.0.iter().map(|(name, cursor)| state(name, cursor))
    }
}

fn lowest<'a>(cursors: impl Iterator<Item = (&'a String, &'a Cursor)>) -> Option<(&'a str, u64)> {
    let lowest = cursors.min_by_key(|(_, cursor)| cursor.next_offset);
    lowest.map(|(name, cursor)| (name.as_str(), cursor.next_offset))
}

fn state(name: &str, cursor: &Cursor) -> CursorState {
    CursorState {
        name: name.into(),
        holder: cursor.holder.clone(),
        epoch: cursor.epoch,
        next_offset: cursor.next_offset,
        pinning: cursor.pinning,
    }
}
