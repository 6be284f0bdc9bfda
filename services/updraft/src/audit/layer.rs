//! One hub's log, envelope by envelope: is it whole, in order and what its hash chains say (I3, I4,
//! I8)? Pure: it is fed with what a tail delivers.

use std::collections::BTreeMap;
use std::fmt;

use proto::envelope::Chain;
use proto::rpc::{Delivery, Envelope, EnvelopeKind, OriginState, RetainedHead};
use proto::{HubPath, Origin};

/// So many differences of a layer are kept; after that they only repeat what is wrong.
const KEPT: usize = 100;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) hub: String,
    pub(crate) origin: Option<Origin>,
    pub(crate) sequence: Option<u64>,
    pub(crate) what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.hub)?;
        if let Some(origin) = &self.origin {
            write!(f, "origin {origin}")?;
            if let Some(sequence) = self.sequence {
                write!(f, " at {sequence}")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.what)
    }
}

/// A hub's log as far as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) hub: HubPath,
    pub(crate) streams: BTreeMap<Origin, Stream>,
    pub(crate) differences: Vec<Difference>,
    /// The first offset that the log retains; what was before is taken for what it says of it.
    pub(crate) first_offset: u64,
    next_offset: Option<u64>,
}

/// What a log holds of one origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) links: Vec<Link>,
    /// With their data, without it because of their scope, and dropped by a policy.
    pub(crate) records: u64,
    pub(crate) withheld: u64,
    pub(crate) dropped: u64,
    chain: Chain,
    /// Where it ends although nothing of it is there any more.
    ended: u64,
    /// The log says where its retained part begins: at `ended`, with `chain` before it.
    has_begin: bool,
}

/// What must be equal at every layer that has an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) first_sequence: u64,
    pub(crate) count: u32,
    pub(crate) digest: Vec<u8>,
}

impl Link {
    pub(crate) fn end(&self) -> u64 {
        self.first_sequence + u64::from(self.count)
    }
}

impl Stream {
    /// The first sequence that is still there, and the one after the last.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        let first = self
            .links
            .first()
            .map_or(self.ended, |link| link.first_sequence);
        first..self.links.last().map_or(first, Link::end)
    }

    /// What of an envelope does not fit to what came before it.
    fn take(&mut self, envelope: &Envelope, delivered: &[u8]) -> Vec<String> {
        let mut problems = Vec::new();
        let next = self.range().end;
        let first = envelope.first_sequence;
        let known = self.has_begin || !self.links.is_empty();
        if known && first > next {
            problems.push(format!("{next} to {} are missing", first - 1));
        } else if known && first < next {
            problems.push(format!("it is there again; {next} was next"));
        }
        let computed = self.chain.next(first, envelope.count, &envelope.digest);
        let stored = Chain::from_bytes(delivered);
        // Without a known beginning, what came before the first envelope can't be computed again.
        let computable = known || first == 0;
        if computable && stored != Some(computed) {
            let stored = hex::encode(delivered);
            problems.push(format!(
                "the log says chain {stored}, computed {computed:?}"
            ));
        }
        self.chain = stored.unwrap_or(computed);
        let records = u64::from(envelope.count);
        match envelope.kind() {
            EnvelopeKind::Data => self.records += records,
            EnvelopeKind::Withheld => self.withheld += records,
            EnvelopeKind::Dropped => self.dropped += records,
        }
        let digest = envelope.digest.to_vec();
        self.links.push(Link {
            first_sequence: first,
            count: envelope.count,
            digest,
        });
        problems
    }
}

impl Layer {
    pub(crate) fn new(hub: HubPath) -> Layer {
        Layer {
            hub,
            streams: BTreeMap::new(),
            differences: Vec::new(),
            first_offset: 0,
            next_offset: None,
        }
    }

    /// From where the log begins to be retained, and the heads of its origins there.
    pub(crate) fn from_heads(hub: HubPath, first_offset: u64, heads: &[RetainedHead]) -> Layer {
        let stream = |head: &RetainedHead| {
            let origin = Origin::try_from(head.origin.as_ref()?).ok()?;
            let stream = Stream {
                chain: Chain::from_bytes(&head.chain)?,
                ended: head.first_sequence,
                has_begin: true,
                ..Stream::default()
            };
            Some((origin, stream))
        };
        Layer {
            streams: heads.iter().filter_map(stream).collect(),
            first_offset,
            next_offset: (first_offset > 0).then_some(first_offset),
            ..Layer::new(hub)
        }
    }

    /// Takes what the log has next.
    pub(crate) fn take(&mut self, delivery: &Delivery) {
        let envelope = delivery.envelope.clone().unwrap_or_default();
        let sequence = Some(envelope.first_sequence);
        let origin = Origin::try_from(&envelope.origin.clone().unwrap_or_default());
        let origin = match origin {
            Ok(origin) => origin,
            Err(error) => return self.differ(None, None, error.to_string()),
        };
        if let Some(next) = self.next_offset.filter(|next| *next != delivery.offset) {
            let what = format!("offset {} stands where {next} was next", delivery.offset);
            self.differ(Some(&origin), sequence, what);
        }
        self.next_offset = Some(delivery.offset + u64::from(envelope.count));
        // Computes the digest of the batch again.
        if let Err(error) = envelope.validate() {
            self.differ(Some(&origin), sequence, error.to_string());
        }
        let stream = self.streams.entry(origin.clone()).or_default();
        for problem in stream.take(&envelope, &delivery.chain) {
            self.differ(Some(&origin), sequence, problem);
        }
    }

    /// Compares with what the log said of its origins before it was read.
    pub(crate) fn finish(&mut self, states: &[OriginState]) {
        for state in states {
            let Some(Ok(origin)) = state.origin.as_ref().map(Origin::try_from) else {
                continue;
            };
            if let Some((sequence, what)) = self.head(&origin, state) {
                self.differ(Some(&origin), Some(sequence), what);
            }
        }
    }

    fn head(&mut self, origin: &Origin, state: &OriginState) -> Option<(u64, String)> {
        let says = state.next_sequence;
        let Some(stream) = self.streams.get(origin) else {
            // Every consumer has passed it, and it was deleted.
            let passed = Stream {
                ended: says,
                ..Stream::default()
            };
            self.streams.insert(origin.clone(), passed);
            return None;
        };
        let end = stream.range().end;
        let what = if says > end {
            format!("the log says it has all below {says}, but {end} is missing")
        } else if says == end && stream.chain.to_bytes() != state.chain {
            let says = hex::encode(&state.chain);
            format!(
                "the log says its chain's head is {says}, computed {:?}",
                stream.chain
            )
        } else {
            return None;
        };
        Some((end, what))
    }

    fn differ(&mut self, origin: Option<&Origin>, sequence: Option<u64>, what: String) {
        if self.differences.len() < KEPT {
            let hub = self.hub.to_string();
            self.differences.push(Difference {
                hub,
                origin: origin.cloned(),
                sequence,
                what,
            });
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
