//! Recomputes the hash chains of a log's origins and compares the heads with what others say (I8).
//! Pure: it is fed with what a tail delivers and with what hubs report.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use proto::envelope::Chain;
use proto::rpc::{Delivery, Envelope, OriginState, RetentionStatus};
use proto::{Origin, Sequence};

/// Heads of each origin that are remembered, for who is that far behind.
const HEADS: usize = 512;

/// The origins of one log, as far as they were verified.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verifier {
    pub(crate) streams: BTreeMap<Origin, Stream>,
    /// Of what belongs to no origin, or stands where it should not.
    pub(crate) stray: Option<String>,
    pub(crate) next_offset: Option<u64>,
}

/// One origin.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// The first sequence whose batch was read and fits, and the one after the last.
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) first_difference: Option<Difference>,
    /// By the name of who says it.
    pub(crate) witnesses: BTreeMap<String, Witness>,
    /// The head at `from`.
    base: Chain,
    chain: Chain,
    /// Ends of envelopes and the heads there, the oldest first.
    heads: VecDeque<(u64, Chain)>,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) sequence: Sequence,
    pub(crate) what: String,
}

/// What somebody else says of an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witness {
    /// The sequence after the last that it has.
    pub(crate) has: u64,
    /// Up to here, its head is the one that was computed.
    pub(crate) agrees_to: Option<u64>,
    pub(crate) first_difference: Option<Difference>,
    /// Said of a sequence that is not reached yet. The oldest one is kept: who is always ahead
    /// would never be compared otherwise.
    ahead: Option<(u64, Chain)>,
}

impl Verifier {
    /// Goes on from known heads; what comes from `next_offset` on is verified.
    pub(crate) fn from_heads(heads: &[OriginState], next_offset: u64) -> Verifier {
        let streams = heads.iter().filter_map(|state| {
            let (origin, chain) = said(state)?;
            Some((origin, Stream::new(state.next_sequence, chain)))
        });
        Verifier {
            streams: streams.collect(),
            stray: None,
            next_offset: Some(next_offset),
        }
    }

    /// From where the log begins; of what is deleted it keeps the heads.
    pub(crate) fn from_retained(retention: &RetentionStatus) -> Verifier {
        let heads = retention.heads.iter().map(|head| OriginState {
            origin: head.origin.clone(),
            next_sequence: head.first_sequence,
            chain: head.chain.clone(),
        });
        match retention.first_offset {
            0 => Verifier::default(),
            first => Verifier::from_heads(&heads.collect::<Vec<_>>(), first),
        }
    }

    /// Takes what the log has next.
    pub(crate) fn take(&mut self, delivery: &Delivery) {
        let envelope = delivery.envelope.clone().unwrap_or_default();
        if let Some(next) = self.next_offset.filter(|next| *next != delivery.offset) {
            let what = format!("offset {} stands where {next} was next", delivery.offset);
            self.stray.get_or_insert(what);
        }
        self.next_offset = Some(delivery.offset + u64::from(envelope.count));
        let origin = envelope.origin.clone().unwrap_or_default();
        match Origin::try_from(&origin) {
            Ok(origin) => match self.streams.entry(origin) {
                Entry::Occupied(mut known) => known.get_mut().take(&envelope, &delivery.chain),
                Entry::Vacant(new) => drop(new.insert(Stream::begin(&envelope, &delivery.chain))),
            },
            Err(error) => {
                self.stray.get_or_insert(error.to_string());
            }
        }
    }

    /// Compares with what `witness` says of its heads.
    pub(crate) fn hear(&mut self, witness: &str, states: &[OriginState]) {
        for state in states {
            let Some((origin, chain)) = said(state) else {
                continue;
            };
            if let Some(stream) = self.streams.get_mut(&origin) {
                stream.hear(witness, state.next_sequence, chain);
            }
        }
    }

    pub(crate) fn differs(&self) -> bool {
        self.stray.is_some() || self.streams.values().any(Stream::differs)
    }

    /// Where each origin was taken over: what who verified the part before must agree with.
    pub(crate) fn begins(&self) -> Vec<OriginState> {
        let state = |(origin, stream): (&Origin, &Stream)| OriginState {
            origin: Some(origin.into()),
            next_sequence: stream.from,
            chain: stream.base.to_bytes(),
        };
        self.streams.iter().map(state).collect()
    }

    /// `earlier` has verified what lies before this one's beginning.
    pub(crate) fn extend(&mut self, earlier: &Verifier, witness: &str) {
        for (origin, stream) in &mut self.streams {
            let before = earlier.streams.get(origin);
            let meets = before.filter(|before| {
                let agrees = before.witnesses.get(witness).and_then(|it| it.agrees_to);
                !before.differs() && agrees == Some(stream.from)
            });
            if let Some(before) = meets {
                (stream.from, stream.base) = (before.from, before.base);
            }
        }
    }
}

fn said(state: &OriginState) -> Option<(Origin, Chain)> {
    let origin = Origin::try_from(state.origin.as_ref()?).ok()?;
    Some((origin, Chain::from_bytes(&state.chain)?))
}

impl Stream {
    fn new(from: u64, chain: Chain) -> Stream {
        Stream {
            from,
            to: from,
            first_difference: None,
            witnesses: BTreeMap::new(),
            base: chain,
            chain,
            heads: VecDeque::from([(from, chain)]),
        }
    }

    /// Of an origin that begins with `envelope`, as far as we know: a chain whose beginning is not
    /// there can't be computed, and its first head is taken for what it says.
    fn begin(envelope: &Envelope, delivered: &[u8]) -> Stream {
        if envelope.first_sequence > 0 {
            let chain = Chain::from_bytes(delivered).unwrap_or_default();
            return Stream::new(envelope.end_sequence(), chain);
        }
        let mut stream = Stream::new(0, Chain::default());
        stream.take(envelope, delivered);
        stream
    }

    pub(crate) fn differs(&self) -> bool {
        let others = self.witnesses.values();
        self.first_difference.is_some()
            || others.into_iter().any(|it| it.first_difference.is_some())
    }

    fn take(&mut self, envelope: &Envelope, delivered: &[u8]) {
        let first = envelope.first_sequence;
        if let Some(what) = self.problem(envelope, delivered) {
            self.differ(first, what);
        }
        let computed = self.chain.next(first, envelope.count, &envelope.digest);
        // Goes on with what the log says, so that one difference is told once.
        self.chain = Chain::from_bytes(delivered).unwrap_or(computed);
        self.to = envelope.end_sequence();
        self.heads.push_back((self.to, self.chain));
        if self.heads.len() > HEADS {
            self.heads.pop_front();
        }
        self.settle();
    }

    fn problem(&self, envelope: &Envelope, delivered: &[u8]) -> Option<String> {
        let (first, next) = (envelope.first_sequence, self.to);
        if first > next {
            return Some(format!("{next} to {} are missing", first - 1));
        }
        if first < next {
            return Some(format!("{first} is there again; {next} was next"));
        }
        // Computes the digest of the batch again.
        if let Err(error) = envelope.validate() {
            return Some(error.to_string());
        }
        let computed = self.chain.next(first, envelope.count, &envelope.digest);
        (Chain::from_bytes(delivered) != Some(computed)).then(|| {
            let delivered = hex::encode(delivered);
            format!("the log says chain {delivered}, computed {computed:?}")
        })
    }

    fn differ(&mut self, sequence: u64, what: String) {
        let sequence = Sequence(sequence);
        self.first_difference
            .get_or_insert(Difference { sequence, what });
    }

    fn hear(&mut self, name: &str, has: u64, chain: Chain) {
        let witness = self.witnesses.entry(name.to_owned()).or_default();
        witness.has = has;
        if has > self.to {
            witness.ahead.get_or_insert((has, chain));
        } else {
            witness.compare(&self.heads, has, chain);
        }
    }

    /// Compares what was said of sequences that are reached now.
    fn settle(&mut self) {
        for witness in self.witnesses.values_mut() {
            if let Some((has, chain)) = witness.ahead.filter(|(has, _)| *has <= self.to) {
                witness.ahead = None;
                witness.compare(&self.heads, has, chain);
            }
        }
    }
}

impl Witness {
    fn compare(&mut self, heads: &VecDeque<(u64, Chain)>, has: u64, chain: Chain) {
        let oldest = heads.front().map_or(0, |(end, _)| *end);
        if has < oldest {
            // Too long ago to be remembered, or before what was verified.
            return;
        }
        let head = heads.iter().rev().find(|(end, _)| *end == has);
        let what = match head {
            Some((_, computed)) if *computed == chain => {
                self.agrees_to = self.agrees_to.max(Some(has));
                return;
            }
            Some((_, computed)) => format!("its chain is {chain:?}, computed {computed:?}"),
            None => "it has a batch that ends where none ends here".to_owned(),
        };
        let sequence = Sequence(has);
        self.first_difference
            .get_or_insert(Difference { sequence, what });
    }
}

#[cfg(test)]
mod tests;
