//! What one session has subscribed to.
//!
//! A list, which is enough for the few filters of a session; a trie over all sessions of the node
//! can take its place behind the same methods.

use proto::topic::TopicFilter;
use proto::{Offset, rpc};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub filter: TopicFilter,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<u32>,
    /// Records before it were committed before the client subscribed.
    pub from: Offset,
}

/// What the subscriptions that match a topic ask for together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The highest of them \[MQTT-3.3.4-2\].
    pub qos: u8,
    pub retain_as_published: bool,
    pub ids: Vec<u32>,
}

impl Match {
    fn add(&mut self, subscription: &Subscription) {
        self.qos = self.qos.max(subscription.qos);
        self.retain_as_published |= subscription.retain_as_published;
        self.ids.extend(subscription.id);
    }
}

#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    list: Vec<Subscription>,
}

impl Subscriptions {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn contains(&self, filter: &str) -> bool {
        self.list
            .iter()
            .any(|existing| existing.filter.as_str() == filter)
    }

    /// A subscription to the same filter is replaced, and goes on where it was: no message is lost
    /// by it \[MQTT-3.8.4-3\].
    pub fn insert(&mut self, mut subscription: Subscription) {
        match self
            .list
            .iter_mut()
            .find(|existing| existing.filter == subscription.filter)
        {
            Some(existing) => {
                subscription.from = existing.from.min(subscription.from);
                *existing = subscription;
            }
            None => self.list.push(subscription),
        }
    }

    pub fn remove(&mut self, filter: &str) {
        self.list
            .retain(|existing| existing.filter.as_str() != filter);
    }

    /// One delivery for all that match, though the filters overlap; `own` when the client itself
    /// published the message.
    pub fn matching(&self, topic: &str, offset: Offset, own: bool) -> Option<Match> {
        let mut all: Option<Match> = None;
        for subscription in &self.list {
            if subscription.from <= offset
                && !(own && subscription.no_local)
                && subscription.filter.matches(topic)
            {
                all.get_or_insert_default().add(subscription);
            }
        }
        all
    }

    /// Whether it matters who published a message on `topic` \[MQTT-3.8.3-3\].
    pub fn is_no_local(&self, topic: &str) -> bool {
        let mut no_local = self
            .list
            .iter()
            .filter(|subscription| subscription.no_local);
        no_local.any(|subscription| subscription.filter.matches(topic))
    }

    pub fn has_no_local(&self) -> bool {
        self.list.iter().any(|subscription| subscription.no_local)
    }
}

const QOS: u32 = 0b11;
const NO_LOCAL: u32 = 1 << 2;
const RETAIN_AS_PUBLISHED: u32 = 1 << 3;

impl From<&Subscription> for rpc::Subscription {
    fn from(subscription: &Subscription) -> rpc::Subscription {
        let flag = |set, bit| if set { bit } else { 0 };
        rpc::Subscription {
            filter: subscription.filter.to_string(),
            options: u32::from(subscription.qos)
                | flag(subscription.no_local, NO_LOCAL)
                | flag(subscription.retain_as_published, RETAIN_AS_PUBLISHED),
            subscription_id: subscription.id,
        }
    }
}

impl TryFrom<&rpc::Subscription> for Subscription {
    type Error = proto::topic::FilterError;

    /// As it was stored; whatever the session has not acknowledged is for it.
    fn try_from(stored: &rpc::Subscription) -> Result<Subscription, Self::Error> {
        Ok(Subscription {
            filter: stored.filter.parse()?,
            qos: u8::try_from(stored.options & QOS).unwrap_or(1).min(1),
            no_local: stored.options & NO_LOCAL != 0,
            retain_as_published: stored.options & RETAIN_AS_PUBLISHED != 0,
            id: stored.subscription_id,
            from: Offset(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(filter: &str, qos: u8, id: u32) -> Subscription {
        Subscription {
            filter: filter.parse().unwrap(),
            qos,
            no_local: false,
            retain_as_published: false,
            id: Some(id),
            from: Offset(0),
        }
    }

    #[test]
    fn overlapping_filters_deliver_once_with_the_highest_qos() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.insert(subscription("a/#", 0, 1));
        subscriptions.insert(subscription("a/+", 1, 2));
        subscriptions.insert(Subscription {
            from: Offset(9),
            ..subscription("#", 1, 3)
        });
        let matching = |topic, offset| {
            let found = subscriptions.matching(topic, Offset(offset), false);
            found.map(|found| (found.qos, found.ids))
        };
        assert_eq!(matching("a/b", 8), Some((1, vec![1, 2])));
        assert_eq!(matching("a/b", 9), Some((1, vec![1, 2, 3])));
        assert_eq!(matching("a/b/c", 0), Some((0, vec![1])));
        assert_eq!(matching("b", 8), None);
        assert_eq!(matching("$SYS/x", 99), None);
    }

    #[test]
    fn a_repeated_filter_replaces_and_keeps_its_place() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.insert(Subscription {
            from: Offset(5),
            ..subscription("a", 1, 1)
        });
        subscriptions.insert(Subscription {
            from: Offset(9),
            ..subscription("a", 0, 2)
        });
        let expected = Match {
            qos: 0,
            retain_as_published: false,
            ids: vec![2],
        };
        assert_eq!(
            subscriptions.matching("a", Offset(5), false),
            Some(expected)
        );
        assert_eq!(subscriptions.matching("a", Offset(4), false), None);
        subscriptions.remove("a");
        assert!(subscriptions.is_empty());
    }

    #[test]
    fn no_local_hides_only_own_messages() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.insert(Subscription {
            no_local: true,
            ..subscription("a/#", 1, 1)
        });
        assert!(subscriptions.is_no_local("a/b") && !subscriptions.is_no_local("b"));
        assert!(subscriptions.matching("a/b", Offset(0), true).is_none());
        assert!(subscriptions.matching("a/b", Offset(0), false).is_some());
        subscriptions.insert(subscription("a/b", 0, 2));
        assert_eq!(
            subscriptions.matching("a/b", Offset(0), true).unwrap().ids,
            [2]
        );
    }

    #[test]
    fn stored_and_restored() {
        for (qos, no_local, retain_as_published) in [
            (0, false, false),
            (1, true, false),
            (1, false, true),
            (0, true, true),
        ] {
            let original = Subscription {
                no_local,
                retain_as_published,
                ..subscription("a/+", qos, 7)
            };
            let stored = rpc::Subscription::from(&original);
            assert_eq!(Subscription::try_from(&stored), Ok(original));
        }
    }
}
