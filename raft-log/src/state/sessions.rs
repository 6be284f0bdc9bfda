//! Persistent MQTT sessions: filters with a position in the log, and what a client may send again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proto::Nanos;
use proto::rpc::{
    CommittedPublish, OpenSession, Refusal, RefusalKind, SessionPublish, SessionState,
    SessionUpdate, StaleSession, Subscription, UpdateSessions,
};
use serde::{Deserialize, Serialize};

use crate::refusal::refusal;

/// Publishes per session whose PUBACK may be lost. A client has at most as many unacknowledged
/// as the broker's Receive Maximum allows, and PUBACKs arrive in order [MQTT-4.6.0-2], so what
/// came before these is known to it.
const RECENT_PUBLISHES: usize = 1024;
/// Session expiry that never comes (MQTT-3.1.2.11.2).
const NEVER: u32 = u32::MAX;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// Epochs are never used twice, not even by a session that starts anew.
    last_epoch: u64,
    sessions: BTreeMap<String, Session>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Session {
    epoch: u64,
    expiry_seconds: u32,
    /// Set while no client is connected.
    closed_at: Option<Nanos>,
    /// Options and subscription identifier by filter.
    subscriptions: BTreeMap<String, (u32, Option<u32>)>,
    acknowledged_offset: u64,
    /// Packet id and digest, oldest first.
    recent_publishes: VecDeque<(u16, u64)>,
}

impl Session {
    fn is_over(&self, now: Nanos) -> bool {
        let Some(closed_at) = self.closed_at else {
            return false;
        };
        let expiry = i64::from(self.expiry_seconds).saturating_mul(1_000_000_000);
        self.expiry_seconds != NEVER && now.0 >= closed_at.0.saturating_add(expiry)
    }
}

impl Sessions {
    pub(super) fn open(&mut self, open: OpenSession, now: Nanos, end: u64) -> SessionState {
        self.sessions.retain(|_, session| !session.is_over(now));
        self.last_epoch += 1;
        if open.clean {
            self.sessions.remove(&open.client_id);
        }
        let present = self.sessions.contains_key(&open.client_id);
        let session = self
            .sessions
            .entry(open.client_id.clone())
            .or_insert_with(|| Session {
                acknowledged_offset: end,
                ..Session::default()
            });
        session.epoch = self.last_epoch;
        session.expiry_seconds = open.expiry_seconds;
        session.closed_at = None;
        let session = session.clone();
        state(&open.client_id, &session, present, end)
    }

    /// Refuses what comes from a connection that has been replaced since: client ids and epochs.
    pub(super) fn check<'a>(
        &self,
        connections: impl Iterator<Item = (&'a str, u64)>,
    ) -> Result<(), Refusal> {
        let stale: BTreeSet<(&str, u64)> = connections
            .filter(|(client_id, epoch)| self.current(client_id, *epoch).is_none())
            .collect();
        if stale.is_empty() {
            return Ok(());
        }
        let name = |(client_id, session_epoch): (&str, u64)| StaleSession {
            client_id: client_id.into(),
            session_epoch,
        };
        let stale_sessions = stale.into_iter().map(name).collect();
        let message = "sessions that were opened elsewhere since";
        Err(Refusal {
            stale_sessions,
            ..refusal(RefusalKind::StaleSession, message)
        })
    }

    pub(super) fn committed(&mut self, publishes: Vec<SessionPublish>) {
        for publish in publishes {
            let Some(session) = self.sessions.get_mut(&publish.client_id) else {
                continue;
            };
            let Ok(packet_id) = u16::try_from(publish.packet_id) else {
                continue;
            };
            session
                .recent_publishes
                .push_back((packet_id, publish.digest));
            if session.recent_publishes.len() > RECENT_PUBLISHES {
                session.recent_publishes.pop_front();
            }
        }
    }

    /// Refused whole when one of them changes the filters of a connection that has been replaced
    /// since: its client must not be told that they are stored. Other updates of such a connection
    /// say what nobody needs any more, and are passed over.
    pub(super) fn update(
        &mut self,
        updates: UpdateSessions,
        now: Nanos,
        end: u64,
    ) -> Result<(), Refusal> {
        let filters = updates
            .sessions
            .iter()
            .filter(|update| !(update.subscribe.is_empty() && update.unsubscribe.is_empty()));
        self.check(filters.map(|update| (update.client_id.as_str(), update.session_epoch)))?;
        for update in updates.sessions {
            if self
                .current(&update.client_id, update.session_epoch)
                .is_none()
            {
                continue;
            }
            if update.end {
                self.sessions.remove(&update.client_id);
            } else if let Some(session) = self.sessions.get_mut(&update.client_id) {
                session.update(update, now, end);
            }
        }
        Ok(())
    }

    fn current(&self, client_id: &str, epoch: u64) -> Option<&Session> {
        self.sessions
            .get(client_id)
            .filter(|session| session.epoch == epoch)
    }

    /// The session that is furthest back among those that are not over.
    pub fn lowest(&self, now: Nanos) -> Option<(&str, u64)> {
        let alive = self.sessions.iter().filter(|(_, it)| !it.is_over(now));
        let lowest = alive.min_by_key(|(_, it)| it.acknowledged_offset);
        lowest.map(|(client_id, session)| (client_id.as_str(), session.acknowledged_offset))
    }

    /// Moves sessions to `offset`; which ones, and from where. Those that are over lose nothing.
    pub(super) fn move_on(&mut self, offset: u64, now: Nanos) -> Vec<(String, u64)> {
        self.sessions.retain(|_, session| !session.is_over(now));
        let sessions = self.sessions.iter_mut();
        let behind = sessions.filter(|(_, session)| session.acknowledged_offset < offset);
        let moved = behind.map(|(client_id, session)| {
            let from = std::mem::replace(&mut session.acknowledged_offset, offset);
            (format!("session/{client_id}"), from)
        });
        moved.collect()
    }

    pub fn get(&self, client_id: &str, end: u64) -> Option<SessionState> {
        let session = self.sessions.get(client_id)?;
        Some(state(client_id, session, true, end))
    }
}

impl Session {
    fn update(&mut self, update: SessionUpdate, now: Nanos, end: u64) {
        for filter in &update.unsubscribe {
            self.subscriptions.remove(filter);
        }
        for Subscription {
            filter,
            options,
            subscription_id,
        } in update.subscribe
        {
            self.subscriptions
                .insert(filter, (options, subscription_id));
        }
        if let Some(offset) = update.acknowledged_offset {
            self.acknowledged_offset = self.acknowledged_offset.max(offset.min(end));
        }
        if update.closed {
            self.closed_at = Some(now);
        }
    }
}

fn state(client_id: &str, session: &Session, present: bool, end: u64) -> SessionState {
    let subscription = |(filter, (options, id)): (&String, &(u32, Option<u32>))| Subscription {
        filter: filter.clone(),
        options: *options,
        subscription_id: *id,
    };
    let publish = |(packet_id, digest): &(u16, u64)| CommittedPublish {
        packet_id: u32::from(*packet_id),
        digest: *digest,
    };
    SessionState {
        client_id: client_id.into(),
        session_epoch: session.epoch,
        present,
        subscriptions: session.subscriptions.iter().map(subscription).collect(),
        acknowledged_offset: session.acknowledged_offset,
        recent_publishes: session.recent_publishes.iter().map(publish).collect(),
        next_offset: end,
    }
}
