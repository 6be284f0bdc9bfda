//! Persistent MQTT sessions: filters with a position in the log, and what a client may send again.
//!
//! A session that is open belongs to the broker that opened it (its holder), which renews a lease
//! for all of its sessions together. When the lease is over the broker is dead or cut off, and they
//! count as closed since then; so long as they last, a renewal takes them up again.

use std::collections::{BTreeMap, BTreeSet};

use proto::Nanos;
use proto::rpc::{
    CommittedPublish, HoldSessions, OpenSession, Refusal, RefusalKind, SessionPublish,
    SessionState, SessionUpdate, StaleSession, Subscription, UpdateSessions,
};
use serde::{Deserialize, Serialize};

use super::hash::{Content, Ring, Sum, Table};
use crate::refusal::refusal;

/// Publishes per session whose PUBACK may be lost. A client has at most as many unacknowledged
/// as the broker's Receive Maximum allows, and PUBACKs arrive in order [MQTT-4.6.0-2], so what
/// came before these is known to it.
const RECENT_PUBLISHES: usize = 1024;
/// Session expiry that never comes (MQTT-3.1.2.11.2).
const NEVER: u32 = u32::MAX;

/// When no entry at all was applied for this long, nobody could renew a lease: it is longer by that.
const STALL_NANOS: i64 = 10 * 1_000_000_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// Epochs are never used twice, not even by a session that starts anew.
    last_epoch: u64,
    sessions: Table<String, Session>,
    /// Until when each holder's lease runs. One that never had a lease holds for ever.
    leases: BTreeMap<String, Nanos>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Session {
    epoch: u64,
    /// Which CONNECT opened it, and whether it found the session there.
    attempt: u64,
    present: bool,
    holder: String,
    expiry_seconds: u32,
    /// Set while no client is connected.
    closed_at: Option<Nanos>,
    subscriptions: Table<String, Options>,
    acknowledged_offset: u64,
    /// Packet id and digest.
    recent_publishes: Ring<(u16, u64)>,
}

/// Of a subscription.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Options {
    bits: u32,
    subscription_id: Option<u32>,
}

impl Content for Options {
    fn content(&self) -> impl Serialize {
        self
    }
}

impl Content for Session {
    fn content(&self) -> impl Serialize {
        let Session {
            epoch,
            attempt,
            present,
            holder,
            expiry_seconds,
            closed_at,
            subscriptions,
            acknowledged_offset,
            recent_publishes,
        } = self;
        (
            (epoch, attempt, present, holder, expiry_seconds, closed_at),
            subscriptions.sum(),
            acknowledged_offset,
            recent_publishes.sum(),
        )
    }
}

impl Session {
    /// Since when no client is connected.
    fn closed_since(&self, leases: &BTreeMap<String, Nanos>, now: Nanos) -> Option<Nanos> {
        let lease = leases.get(&self.holder).copied();
        self.closed_at.or(lease.filter(|until| *until <= now))
    }

    fn is_over(&self, leases: &BTreeMap<String, Nanos>, now: Nanos) -> bool {
        let Some(closed) = self.closed_since(leases, now) else {
            return false;
        };
        let expiry = i64::from(self.expiry_seconds).saturating_mul(1_000_000_000);
        self.expiry_seconds != NEVER && now.0 >= closed.0.saturating_add(expiry)
    }
}

impl Sessions {
    /// What is hashed of them.
    pub(super) fn sum(&self) -> (u64, Sum, &BTreeMap<String, Nanos>) {
        (self.last_epoch, self.sessions.sum(), &self.leases)
    }

    pub(super) fn settle(&mut self) {
        self.sessions.settle();
    }

    /// Leader time between two entries.
    pub(super) fn passed(&mut self, before: Nanos, now: Nanos) {
        let nanos = now.0.saturating_sub(before.0);
        if nanos >= STALL_NANOS {
            let leases = self.leases.values_mut().filter(|until| before < **until);
            leases.for_each(|until| until.0 = until.0.saturating_add(nanos));
        }
    }

    /// Forgets the sessions that are over, and the leases that nothing depends on any more.
    pub(super) fn expire(&mut self, now: Nanos) {
        let leases = &self.leases;
        self.sessions
            .retain(|_, session| !session.is_over(leases, now));
        let open = self.sessions.values();
        let open = open.filter(|session| session.closed_at.is_none());
        let holders: BTreeSet<&str> = open.map(|session| session.holder.as_str()).collect();
        self.leases
            .retain(|holder, until| now < *until || holders.contains(holder.as_str()));
    }

    /// A lease of 0 is none.
    pub(super) fn hold(&mut self, hold: HoldSessions, now: Nanos) {
        if hold.lease_nanos > 0 {
            let until = Nanos(now.0.saturating_add(hold.lease_nanos));
            let lease = self.leases.entry(hold.holder).or_default();
            *lease = (*lease).max(until);
        }
    }

    /// Refused when the session was opened by another CONNECT than the one that this was decided
    /// after: whoever comes late must not close or wipe what is newer.
    pub(super) fn open(
        &mut self,
        open: OpenSession,
        now: Nanos,
        end: u64,
    ) -> Result<SessionState, Refusal> {
        let known = self.sessions.get(&open.client_id);
        let known = known.filter(|session| !session.is_over(&self.leases, now));
        if let Some(session) = known
            && open.attempt != 0
            && session.attempt == open.attempt
        {
            return Ok(state(&open.client_id, session, session.present, end));
        }
        let epoch = known.map_or(0, |session| session.epoch);
        if open
            .expected_epoch
            .is_some_and(|expected| expected != epoch)
        {
            let message = format!("client {:?} has connected elsewhere since", open.client_id);
            return Err(Refusal {
                expected: epoch,
                ..refusal(RefusalKind::StaleSession, message)
            });
        }
        let present = known.is_some() && !open.clean;
        let kept = known.filter(|_| present).cloned();
        let new = || Session {
            acknowledged_offset: end,
            ..Session::default()
        };
        self.last_epoch += 1;
        let session = Session {
            epoch: self.last_epoch,
            attempt: open.attempt,
            present,
            holder: open.holder.clone(),
            expiry_seconds: open.expiry_seconds,
            closed_at: None,
            ..kept.unwrap_or_else(new)
        };
        let answer = state(&open.client_id, &session, present, end);
        self.sessions.insert(open.client_id, session);
        let hold = HoldSessions {
            holder: open.holder,
            lease_nanos: open.lease_nanos,
        };
        self.hold(hold, now);
        Ok(answer)
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
            let Ok(packet_id) = u16::try_from(publish.packet_id) else {
                continue;
            };
            let one = (packet_id, publish.digest);
            self.sessions.change(&publish.client_id, |session| {
                session.recent_publishes.push(one, RECENT_PUBLISHES);
            });
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
            } else {
                let client_id = update.client_id.clone();
                self.sessions
                    .change(&client_id, |session| session.update(update, now, end));
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
        let rows = self.sessions.iter();
        let alive = rows.filter(|(_, it)| !it.is_over(&self.leases, now));
        let lowest = alive.min_by_key(|(_, it)| it.acknowledged_offset);
        lowest.map(|(client_id, session)| (client_id.as_str(), session.acknowledged_offset))
    }

    /// Moves sessions to `offset`; which ones, and from where. Those that are over lose nothing.
    pub(super) fn move_on(&mut self, offset: u64, now: Nanos) -> Vec<(String, u64)> {
        self.expire(now);
        let rows = self.sessions.iter();
        let behind = rows.filter(|(_, session)| session.acknowledged_offset < offset);
        let behind: Vec<String> = behind.map(|(client_id, _)| client_id.clone()).collect();
        let moved = behind.into_iter().filter_map(|client_id| {
            let from = self.sessions.change(&client_id, |session| {
                std::mem::replace(&mut session.acknowledged_offset, offset)
            })?;
            Some((format!("session/{client_id}"), from))
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
            self.subscriptions.remove(filter.as_str());
        }
        for Subscription {
            filter,
            options,
            subscription_id,
        } in update.subscribe
        {
            let options = Options {
                bits: options,
                subscription_id,
            };
            self.subscriptions.insert(filter, options);
        }
        self.subscriptions.settle();
        if let Some(offset) = update.acknowledged_offset {
            self.acknowledged_offset = self.acknowledged_offset.max(offset.min(end));
        }
        if update.closed {
            self.closed_at = Some(now);
        }
    }
}

fn state(client_id: &str, session: &Session, present: bool, end: u64) -> SessionState {
    let subscription = |(filter, options): (&String, &Options)| Subscription {
        filter: filter.clone(),
        options: options.bits,
        subscription_id: options.subscription_id,
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
        recent_publishes: session
            .recent_publishes
            .items()
            .iter()
            .map(publish)
            .collect(),
        next_offset: end,
    }
}
