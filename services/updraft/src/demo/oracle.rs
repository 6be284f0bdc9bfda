//! Compares what the machines know with what is found in one place: a hub's log, or a historian.

use std::collections::HashMap;

use proto::wave::WaveBlock;
use proto::{HubPath, Nanos};
use serde::Serialize;

use super::ledger::{Digest, Expected, Ledger, Message, Topic};

/// So many differences are described; all are counted.
const DESCRIBED: usize = 5;

/// What a comparison found. All but `records` are 0 when nothing is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Found in this place.
    pub(super) records: u64,
    /// Acknowledged, but not there.
    pub(super) missing: u64,
    /// There once more than it was published.
    pub(super) duplicate: u64,
    /// There after one of its topic that was published later.
    pub(super) reordered: u64,
    /// There, but never published in this form.
    pub(super) altered: u64,
}

impl Tally {
    pub(super) fn is_clean(&self) -> bool {
        self.missing + self.duplicate + self.reordered + self.altered == 0
    }
}

/// What was found, without its identity.
#[derive(Clone, Debug)]
pub(super) enum Found<'a> {
    Payload(&'a [u8]),
    /// Its f64, bit for bit.
    Number(f64),
    Bool(bool),
    Wave(Box<WaveBlock>),
    /// A row that no machine's message may become; says what it is.
    Other(&'static str),
}

impl Found<'_> {
    fn is(&self, message: &Message) -> bool {
        match (self, message.value) {
            (Found::Payload(payload), _) => Digest::of(payload) == message.payload,
            (Found::Number(number), Expected::Number(bits)) => number.to_bits() == bits,
            (Found::Bool(value), Expected::Bool(expected)) => *value == expected,
            (Found::Wave(block), Expected::Wave) => block
                .encode()
                .is_ok_and(|payload| Digest::of(&payload) == message.payload),
            _ => false,
        }
    }
}

/// One place under comparison.
#[derive(Debug)]
pub(super) struct Oracle<'a> {
    topics: HashMap<&'a str, Progress<'a>>,
    tally: Tally,
    described: Vec<String>,
}

#[derive(Debug)]
struct Progress<'a> {
    topic: &'a Topic,
    /// Which messages were found.
    found: Vec<bool>,
    /// One more than the latest message that was found.
    next: usize,
}

impl<'a> Oracle<'a> {
    /// For the place of a hub: it holds what was published there and below, and nothing else.
    pub(super) fn new(ledger: &'a Ledger, hub: &HubPath) -> Oracle<'a> {
        let below = ledger
            .topics
            .iter()
            .filter(|(_, topic)| hub.covers(&topic.hub));
        let topics = below.map(|(name, topic)| {
            let found = vec![false; topic.messages.len()];
            (
                name.as_str(),
                Progress {
                    topic,
                    found,
                    next: 0,
                },
            )
        });
        Oracle {
            topics: topics.collect(),
            tally: Tally::default(),
            described: Vec::new(),
        }
    }

    /// Takes what is found next, in the order of the place.
    pub(super) fn take(&mut self, topic: &str, time: Nanos, found: &Found<'_>) {
        self.tally.records += 1;
        let position = self.topics.get(topic).and_then(|progress| {
            progress
                .topic
                .messages
                .binary_search_by_key(&time, |message| message.time)
                .ok()
        });
        let (Some(progress), Some(position)) = (self.topics.get_mut(topic), position) else {
            self.tally.altered += 1;
            return self.describe("never published", topic, time);
        };
        if !found.is(&progress.topic.messages[position]) {
            // It is there, if not as it was: it does not count as missing, too.
            progress.found[position] = true;
            self.tally.altered += 1;
            let what = match found {
                Found::Other(what) => what,
                _ => "altered",
            };
            return self.describe(what, topic, time);
        }
        if std::mem::replace(&mut progress.found[position], true) {
            self.tally.duplicate += 1;
            return self.describe("duplicate", topic, time);
        }
        if position < progress.next {
            self.tally.reordered += 1;
            return self.describe("reordered", topic, time);
        }
        progress.next = position + 1;
    }

    /// Counts what should have been there; returns the first differences in words.
    pub(super) fn finish(mut self) -> (Tally, Vec<String>) {
        let mut missing: Vec<(&str, Nanos)> = Vec::new();
        for (name, progress) in &self.topics {
            let messages = progress.topic.messages.iter().zip(&progress.found);
            let absent = messages.filter(|(message, found)| message.acknowledged && !**found);
            missing.extend(absent.map(|(message, _)| (*name, message.time)));
        }
        missing.sort_unstable_by_key(|(name, time)| (*time, *name));
        self.tally.missing = missing.len() as u64;
        for (topic, time) in missing.into_iter().take(DESCRIBED) {
            self.describe("missing", topic, time);
        }
        (self.tally, self.described)
    }

    fn describe(&mut self, what: &str, topic: &str, time: Nanos) {
        if self.described.len() < 2 * DESCRIBED {
            self.described
                .push(format!("{what}: {topic} at {} ms", time.0 / 1_000_000));
        }
    }
}

#[cfg(test)]
mod tests;
