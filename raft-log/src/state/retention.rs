//! What is retained: everything from one offset on, and what stays known of the rest, so that the
//! chains of the origins can still be proven from there (I8).

use std::collections::{BTreeMap, VecDeque};

use proto::envelope::Chain;
use proto::rpc::{self, LostRange, Refusal, RefusalKind, Retain, RetainedHead};
use proto::{Nanos, Origin};
use serde::{Deserialize, Serialize};

use super::State;
use crate::refusal::refusal;

/// Lost ranges that are kept, the newest; how many there were in all is counted.
const LOST_KEPT: usize = 256;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Retention {
    /// Everything below is deleted.
    pub first_offset: u64,
    /// Where each origin begins that had records below.
    heads: BTreeMap<Origin, Head>,
    lost: VecDeque<Lost>,
    pub lost_ranges: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    first_sequence: u64,
    chain: Chain,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lost {
    name: String,
    from: u64,
    to: u64,
    time: Nanos,
}

impl Retention {
    /// What consumers lost, the newest last.
    pub fn lost(&self) -> impl Iterator<Item = LostRange> {
        self.lost.iter().map(|lost| LostRange {
            name: lost.name.clone(),
            from_offset: lost.from,
            to_offset: lost.to,
            time: lost.time.0,
        })
    }

    /// Where the retained part of each origin begins that had records below.
    pub fn heads(&self) -> impl Iterator<Item = RetainedHead> {
        self.heads.iter().map(|(origin, head)| RetainedHead {
            origin: Some(origin.into()),
            first_sequence: head.first_sequence,
            chain: head.chain.to_bytes(),
        })
    }

    /// Records what a consumer lost; what it lost just before it is the same range.
    fn record(&mut self, lost: Lost) {
        let adjoining = self
            .lost
            .iter_mut()
            .find(|known| known.name == lost.name && known.to == lost.from);
        if let Some(known) = adjoining {
            (known.to, known.time) = (lost.to, lost.time);
            return;
        }
        self.lost_ranges += 1;
        self.lost.push_back(lost);
        if self.lost.len() > LOST_KEPT {
            self.lost.pop_front();
        }
    }
}

impl State {
    /// Deletes everything below an offset. What was deleted before stays so: an older or equal
    /// offset changes nothing.
    pub(super) fn retain(&mut self, retain: &Retain) -> Result<(), Refusal> {
        let before = retain.before_offset;
        if before <= self.retention.first_offset {
            return Ok(());
        }
        let invalid = |message: String| refusal(RefusalKind::Invalid, message);
        if before > self.next_offset {
            let end = self.next_offset;
            return Err(invalid(format!(
                "offset {before} is beyond the log's end {end}"
            )));
        }
        // The leader looked before; a cursor may have been claimed since (I2).
        let pin = self.cursors.lowest_pinning();
        if let Some((name, at)) = pin.filter(|(_, at)| *at < before && !retains_anyway()) {
            return Err(invalid(format!(
                "cursor {name:?} has not passed offset {at}"
            )));
        }
        let heads: Option<BTreeMap<Origin, Head>> = retain.heads.iter().map(head).collect();
        self.retention.heads = heads.ok_or_else(|| invalid("a head that is none".into()))?;
        let first = std::mem::replace(&mut self.retention.first_offset, before);
        let passed = self.cursors.move_on(before);
        let passed = passed
            .into_iter()
            .chain(self.sessions.move_on(before, self.time));
        for (name, at) in passed {
            self.retention.record(Lost {
                name,
                from: at.max(first),
                to: before,
                time: self.time,
            });
        }
        Ok(())
    }

    /// What a `Retain` says when everything this state holds is deleted.
    pub fn heads(&self) -> Vec<RetainedHead> {
        let head = |(origin, state): (&Origin, rpc::OriginState)| RetainedHead {
            origin: Some(origin.into()),
            first_sequence: state.next_sequence,
            chain: state.chain,
        };
        self.origins.iter().map(head).collect()
    }
}

fn head(head: &RetainedHead) -> Option<(Origin, Head)> {
    let origin = Origin::try_from(head.origin.as_ref()?).ok()?;
    let known = Head {
        first_sequence: head.first_sequence,
        chain: Chain::from_bytes(&head.chain)?,
    };
    Some((origin, known))
}

/// A control of the tests: whether records are deleted that a pinning cursor has not passed.
pub(crate) fn retains_anyway() -> bool {
    #[cfg(feature = "sabotage")]
    return crate::sabotage::active("pins-off");
    #[cfg(not(feature = "sabotage"))]
    false
}

#[cfg(test)]
mod tests;
