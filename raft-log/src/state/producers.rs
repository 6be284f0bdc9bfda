//! Producers: which append of each comes next, so that a retry is never taken twice.

use std::collections::{BTreeMap, VecDeque};

use proto::ProducerId;
use proto::rpc::{Envelope, ProducerStamp, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

use crate::refusal::refusal;

/// Answers kept per producer; a client has fewer appends under way.
const RECENT_APPENDS: usize = 64;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Producers {
    issued: u128,
    producers: BTreeMap<ProducerId, Producer>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Producer {
    epoch: u32,
    next_sequence: u64,
    /// Digest and first offset of the appends before `next_sequence`, oldest first.
    recent: VecDeque<(u64, u64)>,
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
    pub(super) fn open(&mut self) -> ProducerStamp {
        self.issued += 1;
        let id = ProducerId(self.issued);
        self.producers.insert(id, Producer::default());
        ProducerStamp {
            producer_id: id.to_bytes(),
            epoch: 0,
            sequence: 0,
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
        let age = usize::try_from(next - stamp.sequence).unwrap_or(usize::MAX);
        let at = producer.recent.len().checked_sub(age);
        match at.and_then(|at| producer.recent.get(at)) {
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

    pub(super) fn committed(&mut self, stamp: &ProducerStamp, digest: u64, first_offset: u64) {
        let id = ProducerId::from_bytes(&stamp.producer_id);
        let Some(producer) = id.and_then(|id| self.producers.get_mut(&id)) else {
            return;
        };
        producer.next_sequence = stamp.sequence + 1;
        producer.recent.push_back((digest, first_offset));
        if producer.recent.len() > RECENT_APPENDS {
            producer.recent.pop_front();
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
