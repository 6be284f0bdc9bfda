//! Producers: which append of each comes next, so that a retry is never taken twice.
//!
//! An id is issued once and never again, so a producer that is forgotten stays unknown for ever: a
//! late retry of its appends is refused instead of taken as something new.

use std::collections::BTreeSet;

use proto::rpc::{Envelope, ProducerStamp, Refusal, RefusalKind};
use proto::{Nanos, ProducerId};
use serde::{Deserialize, Serialize};

use super::hash::{Content, Ring, Sum, Table};
use crate::refusal::refusal;

/// Answers kept per producer. A client has never more appends under way, so whatever it may have to
/// send again is known.
pub(crate) const RECENT_APPENDS: usize = 64;
/// One that appends nothing for this long is forgotten.
pub(super) const IDLE_NANOS: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Beyond so many, those that have been idle for longest are forgotten sooner.
pub(super) const MOST: usize = 20_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Producers {
    issued: u128,
    producers: Table<ProducerId, Producer>,
    /// Follows from `producers`: who was idle for longest comes first.
    #[serde(skip)]
    by_use: BTreeSet<(Nanos, ProducerId)>,
}

#[derive(Deserialize)]
struct Stored {
    issued: u128,
    producers: Table<ProducerId, Producer>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Producer {
    epoch: u32,
    next_sequence: u64,
    /// Leader time of its opening or its last append.
    last_used: Nanos,
    /// Digest and first offset of the appends before `next_sequence`.
    recent: Ring<(u64, u64)>,
}

impl Content for Producer {
    fn content(&self) -> impl Serialize {
        let Producer {
            epoch,
            next_sequence,
            last_used,
            recent,
        } = self;
        (epoch, next_sequence, last_used, recent.sum())
    }
}

impl From<Stored> for Producers {
    fn from(stored: Stored) -> Producers {
        let Stored { issued, producers } = stored;
        let rows = producers.iter();
        let by_use = rows.map(|(id, producer)| (producer.last_used, *id));
        Producers {
            issued,
            by_use: by_use.collect(),
            producers,
        }
    }
}

/// What is compared when an append comes again.
pub(super) fn digest(envelopes: &[Envelope]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    envelopes.iter().for_each(|envelope| {
        hasher.update(&envelope.digest);
    });
    let bytes = hasher.finalize();
    bytes.as_bytes()[..8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Producers {
    /// What is hashed of them.
    pub(super) fn sum(&self) -> (u128, Sum) {
        (self.issued, self.producers.sum())
    }

    pub(super) fn settle(&mut self) {
        self.producers.settle();
    }

    pub(super) fn open(&mut self, now: Nanos) -> ProducerStamp {
        self.issued += 1;
        let id = ProducerId(self.issued);
        let producer = Producer {
            last_used: now,
            ..Producer::default()
        };
        self.producers.insert(id, producer);
        self.by_use.insert((now, id));
        while self.producers.len() > MOST {
            self.forget_first();
        }
        ProducerStamp {
            producer_id: id.to_bytes(),
            epoch: 0,
            sequence: 0,
        }
    }

    /// Forgets who has been idle for too long.
    pub(super) fn expire(&mut self, now: Nanos) {
        let is_over = |last_used: &Nanos| now.0.saturating_sub(last_used.0) >= IDLE_NANOS;
        while self.by_use.first().is_some_and(|(used, _)| is_over(used)) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.by_use.pop_first() {
            self.producers.remove(&id);
        }
    }

    /// `Some(first offset)` when the append was committed before.
    pub(super) fn check(&self, stamp: &ProducerStamp, digest: u64) -> Result<Option<u64>, Refusal> {
        let producer = ProducerId::from_bytes(&stamp.producer_id)
            .and_then(|id| self.producers.get(&id))
            .filter(|producer| producer.epoch == stamp.epoch);
        let Some(producer) = producer else {
            return Err(refusal(
                RefusalKind::UnknownProducer,
                "unknown or expired producer",
            ));
        };
        let next = producer.next_sequence;
        if stamp.sequence == next || cfg_dedupe_off() {
            return Ok(None);
        }
        if stamp.sequence > next {
            let message = format!("append {} came before {next}", stamp.sequence);
            return Err(Refusal {
                expected: next,
                ..refusal(RefusalKind::Gap, message)
            });
        }
        let recent = producer.recent.items();
        let age = usize::try_from(next - stamp.sequence).unwrap_or(usize::MAX);
        let at = recent.len().checked_sub(age);
        match at.and_then(|at| recent.get(at)) {
            Some((known, first_offset)) if *known == digest => Ok(Some(*first_offset)),
            Some(_) => {
                let message = format!("append {} was another one before", stamp.sequence);
                Err(refusal(RefusalKind::Forked, message))
            }
            None => {
                let message = format!("append {} is too old to be answered", stamp.sequence);
                Err(refusal(RefusalKind::UnknownProducer, message))
            }
        }
    }

    pub(super) fn committed(
        &mut self,
        stamp: &ProducerStamp,
        digest: u64,
        first_offset: u64,
        now: Nanos,
    ) {
        let Some(id) = ProducerId::from_bytes(&stamp.producer_id) else {
            return;
        };
        let used = self.producers.change(&id, |producer| {
            producer.next_sequence = stamp.sequence + 1;
            producer.recent.push((digest, first_offset), RECENT_APPENDS);
            std::mem::replace(&mut producer.last_used, now)
        });
        if let Some(used) = used.filter(|used| *used != now) {
            self.by_use.remove(&(used, id));
            self.by_use.insert((now, id));
        }
    }
}

/// A control of the tests: whether retries are taken again, as they must never be.
fn cfg_dedupe_off() -> bool {
    #[cfg(feature = "sabotage")]
    return crate::sabotage::active("dedupe-off");
    #[cfg(not(feature = "sabotage"))]
    false
}
