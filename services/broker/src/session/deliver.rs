//! From the log to the client.

use std::collections::VecDeque;

use proto::rpc::SessionUpdate;
use proto::{Nanos, Offset, Record};
use rumqttd::protocol::PublishProperties;

use super::{Action, Control, ControlOutcome, Session, SubscribeJob, UnsubscribeJob};
use crate::message::{self, Left, Message, Rendered};
use crate::packet::{Deliver, Outgoing, Version};
use crate::reason::{End, Reason};
use crate::subscriptions::Match;

/// A floor that moves over messages of others only is stored in steps of this many.
const FLOOR_STEP: u64 = 4096;
/// Own messages that are remembered for "no local"; beyond it a client sees its own.
const MAX_OWN: usize = 1 << 16;

/// What became of a message that was offered.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Offer {
    Send(Outgoing),
    /// Not for this session, or looked at before.
    Skip,
    /// Not now: it has to be offered again.
    Wait,
}

/// Retained messages that a new subscription gets before anything else.
pub(super) type RetainedQueue = VecDeque<(Record, Match)>;

impl Session {
    /// The first record it wants to be offered; `None` while it wants none.
    pub fn wants(&self) -> Option<Offset> {
        (!self.subscriptions.is_empty()).then_some(self.position)
    }

    /// Everything before `next` was offered, or was no message.
    pub fn passed(&mut self, next: Offset) {
        self.position = self.position.max(next);
        if self
            .own
            .offsets
            .first()
            .is_some_and(|first| *first < self.position)
        {
            self.own.offsets = self.own.offsets.split_off(&self.position);
        }
    }

    /// A record of the log; they are offered in its order (I3).
    pub fn offer(&mut self, message: &Message, now: Nanos) -> Offer {
        if message.offset < self.position {
            return Offer::Skip;
        }
        if self.is_undecided(message) {
            return Offer::Wait;
        }
        let own = self.own.offsets.contains(&message.offset);
        let topic = &message.record.topic;
        let Some(found) = self.subscriptions.matching(topic, message.offset, own) else {
            self.position = Offset(message.offset.0 + 1);
            return Offer::Skip;
        };
        let qos = found.qos.min(message.max_qos());
        if qos > 0 && !self.outbound.has_room() {
            return Offer::Wait;
        }
        self.position = Offset(message.offset.0 + 1);
        let rendered = message.rendered();
        let Some(properties) = properties(self.version, rendered, &message.record, &found, now)
        else {
            return Offer::Skip;
        };
        let packet_id = if qos > 0 {
            self.outbound.send(Some(message.offset))
        } else {
            0
        };
        self.floor_moved |= qos == 0;
        Offer::Send(Outgoing::Publish(Deliver {
            dup: qos > 0 && self.is_redelivery(message.offset),
            qos,
            retain: found.retain_as_published && message.record.flags.retain(),
            packet_id,
            topic: rendered.topic.clone(),
            payload: rendered.payload.clone(),
            properties,
        }))
    }

    /// At most a window of messages was under way when the earlier connection ended.
    fn is_redelivery(&mut self, offset: Offset) -> bool {
        let may_be = offset < self.redelivered_until && self.redeliveries > 0;
        self.redeliveries -= usize::from(may_be);
        may_be
    }

    /// Whether "no local" hides the message depends on a publish whose offset is not known yet.
    fn is_undecided(&mut self, message: &Message) -> bool {
        let (first, end) = self.inbound.pending();
        match self.own.undecided {
            Some((offset, until)) if offset == message.offset => return first < until,
            _ => {}
        }
        if first == end || !self.subscriptions.is_no_local(&message.record.topic) {
            return false;
        }
        self.own.undecided = Some((message.offset, end));
        true
    }

    pub(super) fn remember_own(&mut self, offset: Offset, topic: &str) {
        if offset >= self.position
            && self.own.offsets.len() < MAX_OWN
            && self.subscriptions.is_no_local(topic)
        {
            self.own.offsets.insert(offset);
        }
    }

    /// The next retained message of a new subscription, while there is room for it. They go
    /// before what follows them in the log.
    pub fn next_retained(&mut self, now: Nanos) -> Option<Outgoing> {
        loop {
            let (record, found) = self.retained.front()?;
            let qos = found.qos.min(record.flags.qos()).min(1);
            if qos > 0 && !self.outbound.has_room() {
                return None;
            }
            let (record, found) = self.retained.pop_front()?;
            let rendered = message::render(&record);
            let Some(properties) = properties(self.version, &rendered, &record, &found, now) else {
                continue;
            };
            return Some(Outgoing::Publish(Deliver {
                dup: false,
                qos,
                retain: true,
                packet_id: if qos > 0 { self.outbound.send(None) } else { 0 },
                topic: rendered.topic,
                payload: rendered.payload,
                properties,
            }));
        }
    }

    pub fn has_retained(&self) -> bool {
        !self.retained.is_empty()
    }

    /// A PUBACK of the client, or a message that it can't take \[MQTT-3.1.2-25\].
    pub fn acknowledged(&mut self, packet_id: u16) {
        self.floor_moved |= self.outbound.acknowledge(packet_id);
    }

    /// Every record before it was acknowledged or matched no filter.
    pub fn floor(&self) -> Offset {
        self.outbound.oldest().unwrap_or(self.position)
    }

    /// A floor to store, when there is one and it is worth it.
    pub fn take_floor(&mut self) -> Option<SessionUpdate> {
        let (epoch, floor) = (self.epoch?, self.floor());
        let worth_it = self.floor_moved || floor.0 >= self.floor_reported.0 + FLOOR_STEP;
        self.floor_moved = false;
        if !worth_it || floor <= self.floor_reported {
            return None;
        }
        self.floor_reported = floor;
        Some(SessionUpdate {
            client_id: self.client_id.to_string(),
            session_epoch: epoch,
            acknowledged_offset: Some(floor.0),
            ..SessionUpdate::default()
        })
    }

    /// What the log is told when the connection is over; `end` when the session is, too.
    pub fn closing(&self, end: bool) -> Option<SessionUpdate> {
        Some(SessionUpdate {
            client_id: self.client_id.to_string(),
            session_epoch: self.epoch?,
            acknowledged_offset: Some(self.floor().0),
            closed: true,
            end,
            ..SessionUpdate::default()
        })
    }

    /// The outcome of [`Action::Control`].
    pub fn controlled(
        &mut self,
        control: Control,
        outcome: ControlOutcome,
        actions: &mut Vec<Action>,
    ) -> Result<(), End> {
        self.control_pending = false;
        let answer = match (control, outcome) {
            (_, ControlOutcome::Stale) => return Err(End::TakenOver),
            (Control::Subscribe(job), ControlOutcome::Failed) => Outgoing::SubAck {
                packet_id: job.packet_id,
                codes: job.failed(),
            },
            (Control::Subscribe(job), ControlOutcome::Done { from, retained }) => {
                self.subscribed(job, from, retained)
            }
            (Control::Unsubscribe(job), ControlOutcome::Done { .. }) => self.unsubscribed(job),
            (Control::Unsubscribe(job), ControlOutcome::Failed) if self.version == Version::V5 => {
                let reasons = job.reasons.iter().map(|_| Reason::Unspecified).collect();
                Outgoing::UnsubAck {
                    packet_id: job.packet_id,
                    reasons,
                }
            }
            // An UNSUBACK of 3.1.1 can't say that it failed.
            (Control::Unsubscribe(_), ControlOutcome::Failed) => {
                let detail = "the log did not take an unsubscribe in time".to_owned();
                return Err(End::Unavailable { detail });
            }
        };
        actions.push(Action::Send(answer));
        Ok(())
    }

    fn subscribed(&mut self, job: SubscribeJob, from: Offset, retained: Vec<Record>) -> Outgoing {
        if self.subscriptions.is_empty() && !job.accepted.is_empty() {
            // Nothing before it was for this session.
            self.position = self.position.max(from);
        }
        for record in retained {
            let wanted = job.accepted.iter().filter(|one| one.retained);
            let mut matching = super::Subscriptions::default();
            wanted.for_each(|one| matching.insert(one.subscription.clone()));
            if let Some(found) = matching.matching(&record.topic, Offset(0), false) {
                self.retained.push_back((record, found));
            }
        }
        for accepted in job.accepted {
            let mut subscription = accepted.subscription;
            subscription.from = from;
            self.subscriptions.insert(subscription);
        }
        Outgoing::SubAck {
            packet_id: job.packet_id,
            codes: job.codes,
        }
    }

    fn unsubscribed(&mut self, job: UnsubscribeJob) -> Outgoing {
        for filter in &job.filters {
            self.subscriptions.remove(filter);
        }
        Outgoing::UnsubAck {
            packet_id: job.packet_id,
            reasons: job.reasons,
        }
    }
}

/// What version 5 says beside the payload; `None` when the message has expired.
fn properties(
    version: Version,
    rendered: &Rendered,
    record: &Record,
    found: &Match,
    now: Nanos,
) -> Option<Option<PublishProperties>> {
    let expiry = match rendered.left(record.receive_time, now) {
        Left::Unlimited => None,
        Left::Seconds(seconds) => Some(seconds),
        Left::Expired => return None,
    };
    if version == Version::V4 {
        return Some(None);
    }
    let mut properties = rendered.properties.clone();
    properties.message_expiry_interval = expiry;
    let ids = found.ids.iter().filter_map(|id| usize::try_from(*id).ok());
    properties.subscription_identifiers = ids.collect();
    let empty = properties == PublishProperties::default();
    Some((!empty).then_some(properties))
}
