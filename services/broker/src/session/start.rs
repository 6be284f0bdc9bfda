//! Where a session begins: anew, or where the log says it was left.

use std::collections::HashMap;

use proto::Offset;
use proto::rpc::{CommittedPublish, SessionState};

use crate::packet::Version;
use crate::subscriptions::{Subscription, Subscriptions};

/// What a CONNECT and the configuration allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub version: Version,
    /// `QoS` 1 messages the client takes without acknowledging.
    pub receive_maximum: Option<u16>,
    /// Publishes of the client that may wait for their commit.
    pub max_in_flight: usize,
}

#[derive(Debug)]
pub struct Start {
    pub(super) epoch: Option<u64>,
    pub(super) position: Offset,
    pub(super) redelivered_until: Offset,
    pub(super) subscriptions: Subscriptions,
    pub(super) recent: HashMap<u16, u64>,
}

impl Start {
    /// A session that ends with its connection, from `position` on.
    pub fn fresh(position: Offset) -> Start {
        Start {
            epoch: None,
            position,
            redelivered_until: Offset(0),
            subscriptions: Subscriptions::default(),
            recent: HashMap::new(),
        }
    }

    /// A persistent session as its CONNECT was committed. Delivery goes on at the acknowledged
    /// floor; what may have been sent since then is sent again with DUP \[MQTT-4.4.0-1\].
    pub fn of(state: &SessionState) -> Start {
        let mut subscriptions = Subscriptions::default();
        for stored in &state.subscriptions {
            match Subscription::try_from(stored) {
                Ok(subscription) => subscriptions.insert(subscription),
                Err(error) => {
                    tracing::error!(client_id = state.client_id, %error, "stored filter is lost");
                }
            }
        }
        let resumed = state.present && !subscriptions.is_empty();
        let position = if resumed {
            state.acknowledged_offset
        } else {
            state.next_offset
        };
        Start {
            epoch: Some(state.session_epoch),
            position: Offset(position),
            redelivered_until: Offset(if resumed { state.next_offset } else { 0 }),
            subscriptions,
            recent: unacknowledged(&state.recent_publishes),
        }
    }
}

/// The publishes whose PUBACK may not have arrived: those since a packet id was last used twice,
/// for PUBACKs arrive in order \[MQTT-4.6.0-2\] and no id is used again before its own did
/// \[MQTT-2.3.1-4\].
fn unacknowledged(recent: &[CommittedPublish]) -> HashMap<u16, u64> {
    let mut unacknowledged = HashMap::new();
    for publish in recent.iter().rev() {
        let Ok(packet_id) = u16::try_from(publish.packet_id) else {
            continue;
        };
        if unacknowledged.contains_key(&packet_id) {
            break;
        }
        unacknowledged.insert(packet_id, publish.digest);
    }
    unacknowledged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_used_again_tells_that_what_came_before_arrived() {
        for (recent, expected) in [
            (&[][..], &[][..]),
            (&[(1, 10), (2, 20)], &[(1, 10), (2, 20)]),
            (&[(1, 10), (2, 20), (3, 30), (2, 21)], &[(2, 21), (3, 30)]),
            (&[(1, 10), (1, 11)], &[(1, 11)]),
        ] {
            let publish = |&(packet_id, digest)| CommittedPublish { packet_id, digest };
            let recent: Vec<_> = recent.iter().map(publish).collect();
            assert_eq!(
                unacknowledged(&recent),
                expected.iter().copied().collect(),
                "{recent:?}"
            );
        }
    }

    #[test]
    fn delivery_goes_on_at_the_floor_of_a_session_with_filters() {
        let mut state = SessionState {
            session_epoch: 3,
            present: true,
            acknowledged_offset: 5,
            next_offset: 9,
            ..SessionState::default()
        };
        assert_eq!(Start::of(&state).position, Offset(9), "nothing was for it");
        state.subscriptions.push(proto::rpc::Subscription {
            filter: "a/#".into(),
            ..Default::default()
        });
        let start = Start::of(&state);
        assert_eq!(
            (start.position, start.redelivered_until),
            (Offset(5), Offset(9))
        );
        state.present = false;
        let start = Start::of(&state);
        assert_eq!(
            (start.position, start.redelivered_until),
            (Offset(9), Offset(0))
        );
    }
}
