//! What the machines know by themselves: each message they published, in order, and which of them
//! were acknowledged. Nothing here comes from a service.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::{HubPath, Nanos};

/// Messages of one account: about 700 MB, and what a refrigerator publishes in nine hours.
const MOST: usize = 12_000_000;

/// First half of a payload's BLAKE3: enough to know it again, and small enough to keep for hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest([u8; 16]);

impl Digest {
    pub(super) fn of(payload: &[u8]) -> Digest {
        let mut half = [0; 16];
        half.copy_from_slice(&blake3::hash(payload).as_bytes()[..16]);
        Digest(half)
    }
}

/// What a historian's row must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The bits of an f64.
    Number(u64),
    Bool(bool),
    /// A block that encodes to the very payload.
    Wave,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    /// What the payload says; strictly increasing within a topic, and so the message's identity.
    pub(super) time: Nanos,
    pub(super) payload: Digest,
    pub(super) value: Expected,
    /// Without it the outcome is unknown: it may be there once, or not at all.
    pub(super) acknowledged: bool,
}

/// The messages of one topic in the order of their publishing.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    /// Where its machine is connected.
    pub(super) hub: HubPath,
    pub(super) messages: Vec<Message>,
}

/// All accounts together, by topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) topics: BTreeMap<String, Topic>,
}

impl Ledger {
    pub(super) fn of(accounts: &[Arc<Account>]) -> Ledger {
        let mut ledger = Ledger::default();
        for account in accounts {
            ledger.add(account);
        }
        ledger
    }

    pub(super) fn add(&mut self, account: &Account) {
        let entries = account.entries();
        for (name, messages) in account.topics.iter().zip(&entries.messages) {
            let topic = Topic {
                hub: account.hub.clone(),
                messages: messages.clone(),
            };
            self.topics.insert(name.clone(), topic);
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        let messages = self.topics.values().flat_map(|topic| &topic.messages);
        messages.filter(|message| message.acknowledged).count() as u64
    }
}

/// One machine's account, kept while it runs.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) machine: String,
    pub(super) hub: HubPath,
    topics: Vec<String>,
    entries: Mutex<Entries>,
    /// Which of the brokers it was given it talks to.
    pub(super) broker: AtomicUsize,
    /// How often a broker had forgotten the machine's session.
    pub(super) sessions_lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Entries {
    /// By topic.
    messages: Vec<Vec<Message>>,
    /// Where the n-th publish stands: topic, position in it.
    order: Vec<(u32, u32)>,
    acknowledged: u64,
    /// One more than the highest publish that was acknowledged.
    acknowledged_to: u64,
}

/// How far a machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) acknowledged_to: u64,
}

impl Standing {
    /// Published and not acknowledged yet.
    pub(super) fn under_way(self) -> u64 {
        self.published - self.acknowledged
    }
}

impl Account {
    pub(super) fn new(machine: &str, hub: HubPath, topics: Vec<String>) -> Account {
        let messages = vec![Vec::new(); topics.len()];
        Account {
            machine: machine.to_owned(),
            hub,
            topics,
            entries: Mutex::new(Entries {
                messages,
                ..Entries::default()
            }),
            broker: AtomicUsize::default(),
            sessions_lost: AtomicU64::default(),
        }
    }

    pub(super) fn topic(&self, index: usize) -> &str {
        &self.topics[index]
    }

    /// Must be called before the message is handed to the client.
    pub(super) fn publish(&self, topic: usize, time: Nanos, payload: &[u8], value: Expected) {
        let message = Message {
            time,
            payload: Digest::of(payload),
            value,
            acknowledged: false,
        };
        let mut entries = self.entries();
        let position = entries.messages[topic].len();
        entries.messages[topic].push(message);
        entries.order.push((narrow(topic), narrow(position)));
    }

    /// The n-th publish was acknowledged.
    pub(super) fn acknowledge(&self, number: u64) {
        let mut entries = self.entries();
        let place = usize::try_from(number)
            .ok()
            .and_then(|n| entries.order.get(n).copied());
        let Some((topic, position)) = place else {
            return;
        };
        entries.messages[topic as usize][position as usize].acknowledged = true;
        entries.acknowledged += 1;
        entries.acknowledged_to = entries.acknowledged_to.max(number + 1);
    }

    /// Whether it holds as much as it may.
    pub(super) fn is_full(&self) -> bool {
        self.entries().order.len() >= MOST
    }

    pub(super) fn standing(&self) -> Standing {
        let entries = self.entries();
        Standing {
            published: entries.order.len() as u64,
            acknowledged: entries.acknowledged,
            acknowledged_to: entries.acknowledged_to,
        }
    }

    pub(super) fn session_lost(&self) {
        self.sessions_lost.fetch_add(1, Ordering::Relaxed);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both stay below [`MOST`] and what a machine publishes in a tick.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_knows_what_was_acknowledged() {
        let account = Account::new(
            "m",
            "acme.line".parse().unwrap(),
            vec!["a".into(), "b".into()],
        );
        for (topic, time) in [(0, 1), (1, 1), (0, 2)] {
            account.publish(topic, Nanos(time), b"x", Expected::Wave);
        }
        account.acknowledge(2);
        account.acknowledge(99);
        let expected = Standing {
            published: 3,
            acknowledged: 1,
            acknowledged_to: 3,
        };
        assert_eq!(account.standing(), expected);

        let mut ledger = Ledger::default();
        ledger.add(&account);
        let acknowledged = |topic: &str| {
            let messages = &ledger.topics[topic].messages;
            messages
                .iter()
                .map(|message| message.acknowledged)
                .collect::<Vec<_>>()
        };
        assert_eq!(acknowledged("a"), [false, true]);
        assert_eq!(acknowledged("b"), [false]);
        assert_eq!(ledger.acknowledged(), 1);
    }
}
