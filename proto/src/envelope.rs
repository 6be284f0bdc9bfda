//! What a batch travels in, and the hash chain over all envelopes of an origin (I8).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rpc::{self, EnvelopeKind};
use crate::{Batch, HubPath, Incarnation, Lane, Scope};

/// Envelopes of one lane that a hub sends up before it waits for an acknowledgement. The parent
/// remembers as many digests per origin, to tell a repeat from a fork.
pub const MAX_UNACKNOWLEDGED: usize = 64;

/// An independent stream of records: what one incarnation of a hub gave birth to on one lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    pub hub: HubPath,
    pub incarnation: Incarnation,
    pub lane: Lane,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.hub, self.incarnation, self.lane)
    }
}

impl From<&Origin> for rpc::Origin {
    fn from(origin: &Origin) -> rpc::Origin {
        rpc::Origin {
            hub: origin.hub.to_string(),
            incarnation: origin.incarnation.to_bytes(),
            lane: u32::from(origin.lane.number()),
        }
    }
}

/// What is wrong with a message that came from outside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {field}: {problem}")]
pub struct Invalid {
    pub field: &'static str,
    pub problem: String,
}

impl Invalid {
    pub fn new(field: &'static str, problem: impl fmt::Display) -> Invalid {
        Invalid {
            field,
            problem: problem.to_string(),
        }
    }
}

impl TryFrom<&rpc::Origin> for Origin {
    type Error = Invalid;

    fn try_from(origin: &rpc::Origin) -> Result<Origin, Invalid> {
        Ok(Origin {
            hub: origin
                .hub
                .parse()
                .map_err(|error| Invalid::new("origin.hub", error))?,
            incarnation: Incarnation::from_bytes(&origin.incarnation)
                .ok_or_else(|| Invalid::new("origin.incarnation", "not 16 bytes"))?,
            lane: lane("origin.lane", origin.lane)?,
        })
    }
}

fn lane(field: &'static str, number: u32) -> Result<Lane, Invalid> {
    Lane::from_number(number).ok_or_else(|| Invalid::new(field, format!("no lane {number}")))
}

impl rpc::Envelope {
    /// A new batch, before the log has given it its origin and sequence.
    pub fn birth(batch: &Batch, lane: Lane, scope: &Scope, retained: bool) -> rpc::Envelope {
        rpc::Envelope {
            kind: EnvelopeKind::Data.into(),
            lane: lane.number().into(),
            scope: scope.to_string(),
            origin: None,
            first_sequence: 0,
            count: batch.count,
            digest: batch.digest().to_vec().into(),
            batch: batch.bytes.clone(),
            retained,
        }
    }

    /// The same without its batch, for the hub above, because its scope keeps it here.
    pub fn withheld(mut self) -> rpc::Envelope {
        self.kind = EnvelopeKind::Withheld.into();
        self.batch.clear();
        self.retained = false;
        self
    }

    /// Checks what can be checked without decoding the batch.
    pub fn validate(&self) -> Result<(), Invalid> {
        lane("envelope.lane", self.lane)?;
        if self.count == 0 || self.first_sequence.checked_add(self.count.into()).is_none() {
            return Err(Invalid::new("envelope.count", self.count));
        }
        if self.digest.len() != 32 {
            return Err(Invalid::new("envelope.digest", "not 32 bytes"));
        }
        let kind = EnvelopeKind::try_from(self.kind)
            .map_err(|_| Invalid::new("envelope.kind", self.kind))?;
        match kind {
            EnvelopeKind::Data if blake3::hash(&self.batch).as_bytes()[..] != self.digest[..] => {
                Err(Invalid::new(
                    "envelope.digest",
                    "not the digest of the batch",
                ))
            }
            EnvelopeKind::Data
                if Batch::stated_count(&self.batch).is_some_and(|count| count != self.count) =>
            {
                Err(Invalid::new("envelope.count", "not the count of the batch"))
            }
            EnvelopeKind::Withheld | EnvelopeKind::Dropped if !self.batch.is_empty() => Err(
                Invalid::new("envelope.batch", "present in an envelope without data"),
            ),
            _ => Ok(()),
        }
    }

    /// The sequence after its last record.
    pub fn end_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.count)
    }

    pub fn carries_data(&self) -> bool {
        self.kind == i32::from(EnvelopeKind::Data)
    }
}

/// Head of an origin's hash chain; zero before the first envelope.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// `H(previous ‖ first sequence ‖ count ‖ digest)`, numbers as u64 little endian. The same for
    /// a batch and for what is left of it when it was withheld.
    pub fn next(self, first_sequence: u64, count: u32, digest: &[u8]) -> Chain {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&first_sequence.to_le_bytes());
        hasher.update(&u64::from(count).to_le_bytes());
        hasher.update(digest);
        Chain(*hasher.finalize().as_bytes())
    }

    pub fn to_bytes(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&self.0)
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Chain> {
        bytes.try_into().ok().map(Chain)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Nanos, Record};

    fn envelope() -> rpc::Envelope {
        let batch = Batch::encode(&[Record::message("a", "x", Nanos(1))]).unwrap();
        rpc::Envelope::birth(&batch, Lane::Bulk, &Scope::up(), false)
    }

    #[test]
    fn an_envelope_is_valid_with_and_without_its_batch() {
        assert_eq!(envelope().validate(), Ok(()));
        assert_eq!(envelope().withheld().validate(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Edit = fn(&mut rpc::Envelope);
        let table: [(Edit, &str); 7] = [
            (|e| e.lane = 7, "invalid envelope.lane: no lane 7"),
            (|e| e.count = 0, "invalid envelope.count: 0"),
            (
                |e| e.count = 2,
                "invalid envelope.count: not the count of the batch",
            ),
            (|e| e.first_sequence = u64::MAX, "invalid envelope.count: 1"),
            (|e| e.kind = 9, "invalid envelope.kind: 9"),
            (
                |e| e.digest = vec![0; 31].into(),
                "invalid envelope.digest: not 32 bytes",
            ),
            (
                |e| e.batch = "other".into(),
                "invalid envelope.digest: not the digest of the batch",
            ),
        ];
        for (edit, message) in table {
            let mut envelope = envelope();
            edit(&mut envelope);
            assert_eq!(envelope.validate().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_chain_depends_on_all_it_covers() {
        let start = Chain::default();
        let heads = [
            start.next(0, 1, &[1; 32]),
            start.next(1, 1, &[1; 32]),
            start.next(0, 2, &[1; 32]),
            start.next(0, 1, &[2; 32]),
            start.next(0, 1, &[1; 32]).next(1, 1, &[1; 32]),
        ];
        for (i, a) in heads.iter().enumerate() {
            assert!(heads[..i].iter().all(|b| a != b));
        }
    }
}
