//! Publishes of a client that wait for their commit, and their acknowledgements in the order of
//! the PUBLISHes \[MQTT-4.6.0-2\].

use std::collections::{HashMap, VecDeque};

use crate::reason::Reason;

#[derive(Debug)]
pub(super) struct Inbound {
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    unacknowledged: usize,
    max_in_flight: usize,
    /// Packet ids and digests whose PUBACK may not have arrived in an earlier connection.
    recent: HashMap<u16, u64>,
}

#[derive(Debug)]
struct Slot {
    /// Absent with `QoS` 0.
    packet_id: Option<u16>,
    /// Absent until it is known.
    outcome: Option<Reason>,
    /// Kept when it matters whose message it is.
    topic: Option<String>,
}

impl Inbound {
    pub(super) fn new(max_in_flight: usize, recent: HashMap<u16, u64>) -> Inbound {
        Inbound {
            slots: VecDeque::new(),
            first: 0,
            unacknowledged: 0,
            max_in_flight,
            recent,
        }
    }

    /// Publishes of either `QoS` that are not done.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether another `QoS` 1 publish is more than was offered \[MQTT-3.3.4-9\].
    pub(super) fn is_full(&self) -> bool {
        self.unacknowledged >= self.max_in_flight
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Number of the first slot that is not done, and of the next one to come.
    pub(super) fn pending(&self) -> (u64, u64) {
        (self.first, self.first + self.slots.len() as u64)
    }

    /// Whether the message was committed in an earlier connection. Asked once for each publish:
    /// from then on the packet id stands for a message of this connection.
    pub(super) fn is_repeat(
        &mut self,
        packet_id: u16,
        dup: bool,
        digest: impl Fn() -> u64,
    ) -> bool {
        if self.recent.is_empty() {
            return false;
        }
        let earlier = self.recent.remove(&packet_id);
        dup && earlier.is_some_and(|earlier| earlier == digest())
    }

    /// A publish that waits for its commit; its number is what [`Inbound::finish`] wants.
    pub(super) fn push(&mut self, packet_id: Option<u16>, topic: Option<String>) -> u64 {
        self.unacknowledged += usize::from(packet_id.is_some());
        self.slots.push_back(Slot {
            packet_id,
            outcome: None,
            topic,
        });
        self.first + self.slots.len() as u64 - 1
    }

    /// The topic kept with a slot.
    pub(super) fn take_topic(&mut self, slot: u64) -> Option<String> {
        self.slot(slot)?.topic.take()
    }

    /// The outcome of a publish; returns the acknowledgements that are due now.
    pub(super) fn finish(&mut self, slot: u64, outcome: Reason) -> Vec<(u16, Reason)> {
        if let Some(slot) = self.slot(slot) {
            slot.outcome = Some(outcome);
        }
        let mut due = Vec::new();
        while let Some(Slot {
            outcome: Some(outcome),
            packet_id,
            ..
        }) = self.slots.front()
        {
            due.extend(packet_id.map(|id| (id, *outcome)));
            self.slots.pop_front();
            self.first += 1;
        }
        self.unacknowledged -= due.len();
        due
    }

    fn slot(&mut self, slot: u64) -> Option<&mut Slot> {
        let at = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(at)
    }
}

/// What tells a repeated PUBLISH from a new one under the same packet id.
pub(super) fn digest(topic: &str, payload: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(topic.as_bytes());
    hasher.update(&[0]);
    hasher.update(payload);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_keep_the_order_of_the_publishes() {
        let mut inbound = Inbound::new(3, HashMap::new());
        let slots = [Some(5), None, Some(4), Some(9)].map(|id| inbound.push(id, None));
        assert!(inbound.is_full());
        assert!(inbound.finish(slots[2], Reason::Success).is_empty());
        assert_eq!(
            inbound.finish(slots[0], Reason::Success),
            [(5, Reason::Success)]
        );
        let due = inbound.finish(slots[1], Reason::Success);
        assert_eq!(due, [(4, Reason::Success)]);
        assert!(!inbound.is_full());
        assert_eq!(
            inbound.finish(slots[3], Reason::Unspecified),
            [(9, Reason::Unspecified)]
        );
        assert_eq!((inbound.len(), inbound.pending()), (0, (4, 4)));
    }

    #[test]
    fn a_repeat_is_known_by_id_and_digest_and_only_once() {
        let (x, y) = (digest("t", b"x"), digest("t", b"y"));
        for (dup, sent, expected) in [(true, x, true), (true, y, false), (false, x, false)] {
            let mut inbound = Inbound::new(9, HashMap::from([(1, x)]));
            assert!(!inbound.is_repeat(2, true, || x), "another packet id");
            assert_eq!(inbound.is_repeat(1, dup, || sent), expected);
            assert!(
                !inbound.is_repeat(1, true, || x),
                "the id was used in this connection"
            );
        }
    }

    #[test]
    fn topic_and_payload_do_not_run_into_one_another() {
        assert_ne!(digest("ab", b"c"), digest("a", b"bc"));
        assert_eq!(
            digest("t", b"").to_le_bytes(),
            blake3::hash(b"t\0").as_bytes()[..8]
        );
    }
}
