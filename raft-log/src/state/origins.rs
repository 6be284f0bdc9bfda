//! Origins: how far each is accounted for, and the head of its hash chain.

use std::collections::BTreeMap;

use proto::Origin;
use proto::envelope::Chain;
use proto::rpc::{self, Refusal, RefusalKind};
use serde::{Deserialize, Serialize, Serializer};

use super::hash::{Content, Ring, Sum, Table};
use crate::refusal::refusal;

/// Envelopes of an origin whose digest is kept, so that a repeat can be told from a fork.
const RECENT_ENVELOPES: usize = proto::envelope::MAX_UNACKNOWLEDGED;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Table<u32, OriginState>")]
pub struct Origins {
    /// By id; ids are dense from 0.
    states: Table<u32, OriginState>,
    /// Follows from `states`.
    ids: BTreeMap<Origin, u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OriginState {
    origin: Origin,
    next_sequence: u64,
    chain: Chain,
    recent: Ring<RecentEnvelope>,
}

impl Content for OriginState {
    fn content(&self) -> impl Serialize {
        let OriginState {
            origin,
            next_sequence,
            chain,
            recent,
        } = self;
        (origin, next_sequence, chain, recent.sum())
    }
}

impl From<Table<u32, OriginState>> for Origins {
    fn from(states: Table<u32, OriginState>) -> Origins {
        let rows = states.iter();
        let ids = rows
            .map(|(id, state)| (state.origin.clone(), *id))
            .collect();
        Origins { states, ids }
    }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.states.serialize(serializer)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RecentEnvelope {
    first_sequence: u64,
    count: u32,
    digest: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Continues,
    Repeats,
}

impl Origins {
    pub(super) fn sum(&self) -> Sum {
        self.states.sum()
    }

    pub(super) fn settle(&mut self) {
        self.states.settle();
    }

    pub(super) fn next_sequence(&self, origin: &Origin) -> u64 {
        self.get(origin).map_or(0, |state| state.next_sequence)
    }

    /// Whether an envelope from below continues its origin, repeats what is there, leaves a gap or
    /// contradicts.
    pub(super) fn check(
        &self,
        origin: &Origin,
        envelope: &rpc::Envelope,
    ) -> Result<Check, Refusal> {
        let next = self.next_sequence(origin);
        let first = envelope.first_sequence;
        if first == next {
            return Ok(Check::Continues);
        }
        if first > next {
            let message = format!("origin {origin}: {next} to {} are missing", first - 1);
            return Err(Refusal {
                expected: next,
                ..refusal(RefusalKind::Gap, message)
            });
        }
        let oldest = self.get(origin);
        let oldest = oldest.and_then(|state| state.recent.items().front());
        if oldest.is_some_and(|oldest| envelope.end_sequence() <= oldest.first_sequence) {
            let message = format!("origin {origin}: the batch at {first} was taken long ago");
            return Err(Refusal {
                expected: next,
                ..refusal(RefusalKind::Outdated, message)
            });
        }
        let repeats = self.get(origin).is_some_and(|state| {
            state.recent.items().iter().any(|recent| {
                recent.first_sequence == first
                    && recent.count == envelope.count
                    && recent.digest[..] == envelope.digest[..]
            })
        });
        if repeats {
            return Ok(Check::Repeats);
        }
        let message = format!(
            "origin {origin}: the batch at {first} is another one than was taken before; the hub \
             below lost or changed data"
        );
        Err(Refusal {
            expected: next,
            ..refusal(RefusalKind::Forked, message)
        })
    }

    /// Accounts for an envelope; returns the origin's id and its chain's new head.
    pub(super) fn extend(
        &mut self,
        origin: &Origin,
        first_sequence: u64,
        count: u32,
        digest: &[u8],
    ) -> (u32, Chain) {
        let id = self.id(origin);
        let extended = self.states.change(&id, |state| {
            state.next_sequence = first_sequence + u64::from(count);
            state.chain = state.chain.next(first_sequence, count, digest);
            if let Ok(digest) = digest.try_into() {
                let envelope = RecentEnvelope {
                    first_sequence,
                    count,
                    digest,
                };
                state.recent.push(envelope, RECENT_ENVELOPES);
            }
            state.chain
        });
        (id, extended.unwrap_or_default())
    }

    fn id(&mut self, origin: &Origin) -> u32 {
        if let Some(id) = self.ids.get(origin) {
            return *id;
        }
        // More origins than fit into memory long before this many.
        let id = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
        self.ids.insert(origin.clone(), id);
        let state = OriginState {
            origin: origin.clone(),
            next_sequence: 0,
            chain: Chain::default(),
            recent: Ring::default(),
        };
        self.states.insert(id, state);
        id
    }

    fn get(&self, origin: &Origin) -> Option<&OriginState> {
        self.ids.get(origin).and_then(|id| self.states.get(id))
    }

    /// The origin an id stands for.
    pub fn origin(&self, id: u32) -> Option<&Origin> {
        self.states.get(&id).map(|state| &state.origin)
    }

    /// All zero when nothing of it was seen.
    pub fn state(&self, origin: &Origin) -> rpc::OriginState {
        let (next_sequence, chain) = self
            .get(origin)
            .map_or_else(Default::default, |s| (s.next_sequence, s.chain));
        rpc::OriginState {
            origin: Some(origin.into()),
            next_sequence,
            chain: chain.to_bytes(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Origin, rpc::OriginState)> {
        let states = self.states.values();
        states.map(|state| (&state.origin, self.state(&state.origin)))
    }
}
