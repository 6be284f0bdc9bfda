//! One MQTT session while it is connected: what came in, what goes out, what is acknowledged.
//!
//! Pure: packets, commits and log records go in, actions come out; sockets, clocks and the log are
//! the business of `crate::connection`.

mod control;
mod deliver;
mod inbound;
mod outbound;
mod start;

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::rpc::SessionPublish;
use proto::{Nanos, Offset, Record};
use raft_log::client::AppendError;

use crate::message;
use crate::packet::{Incoming, Outgoing, Publish, Version};
use crate::reason::{End, Reason};
use crate::subscriptions::Subscriptions;
pub use control::{Control, ControlOutcome, SubscribeJob, UnsubscribeJob};
pub use deliver::Offer;
use deliver::RetainedQueue;
use inbound::Inbound;
use outbound::Outbound;
pub use start::{Limits, Start};

/// What the session asks of its connection, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Send(Outgoing),
    /// Append the record and report what came of it with [`Session::committed`].
    Append {
        slot: u64,
        record: Record,
        publish: Option<SessionPublish>,
    },
    /// Do it and report with [`Session::controlled`]; nothing is to be read until then.
    Control(Control),
}

#[derive(Debug)]
pub struct Session {
    version: Version,
    client_id: Arc<str>,
    /// Present in a persistent session.
    epoch: Option<u64>,
    inbound: Inbound,
    outbound: Outbound,
    subscriptions: Subscriptions,
    retained: RetainedQueue,
    /// The first record that was not looked at.
    position: Offset,
    /// Messages before it may have been sent in an earlier connection, this many of them.
    redelivered_until: Offset,
    redeliveries: usize,
    own: OwnMessages,
    control_pending: bool,
    /// A floor was reached that is worth storing.
    floor_moved: bool,
    floor_reported: Offset,
}

/// Offsets of messages that the client published itself, as far as it matters.
#[derive(Debug, Default)]
struct OwnMessages {
    offsets: BTreeSet<Offset>,
    /// A message that is not known to be foreign, and the publish to wait for.
    undecided: Option<(Offset, u64)>,
}

impl Session {
    pub fn new(client_id: Arc<str>, limits: &Limits, start: Start) -> Session {
        let is_v5 = limits.version == Version::V5;
        let outbound = Outbound::new(limits.receive_maximum, is_v5);
        Session {
            version: limits.version,
            client_id,
            epoch: start.epoch,
            inbound: Inbound::new(limits.max_in_flight, start.recent),
            redeliveries: outbound.window(),
            outbound,
            subscriptions: start.subscriptions,
            retained: RetainedQueue::default(),
            position: start.position,
            redelivered_until: start.redelivered_until,
            own: OwnMessages::default(),
            control_pending: false,
            floor_moved: false,
            floor_reported: start.position,
        }
    }

    pub fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// What a persistent session is known by in the log: its client id and epoch.
    pub fn stamp(&self) -> Option<(Arc<str>, u64)> {
        Some((self.client_id.clone(), self.epoch?))
    }

    /// Whether the next packet may be read. A client of version 5 knows its limit, and is read on
    /// to find it breaking it; one of 3.1.1 is held by its socket.
    pub fn may_read(&self) -> bool {
        let max = self.inbound.max_in_flight();
        let max = match self.version {
            Version::V4 => max,
            Version::V5 => 2 * max,
        };
        !self.control_pending && self.inbound.len() < max
    }

    pub fn packet(
        &mut self,
        packet: Incoming,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) -> Result<(), End> {
        match packet {
            Incoming::Publish(publish) => return self.publish(publish, now, actions),
            Incoming::PubAck { packet_id } => self.acknowledged(packet_id),
            Incoming::Subscribe(subscribe) => {
                let job = SubscribeJob::new(subscribe, &self.subscriptions);
                self.control(Control::Subscribe(job), actions);
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let job = UnsubscribeJob::new(packet_id, filters, &self.subscriptions);
                self.control(Control::Unsubscribe(job), actions);
            }
            Incoming::PingReq => actions.push(Action::Send(Outgoing::PingResp)),
            Incoming::Disconnect { will, expiry } => return self.disconnect(will, expiry),
            Incoming::Connect(_) => {
                return Err(End::refused(Reason::ProtocolError, "a second CONNECT"));
            }
        }
        Ok(())
    }

    fn disconnect(&self, will: bool, expiry: Option<u32>) -> Result<(), End> {
        // [MQTT-3.14.2-2]: a session that was to end with its connection can't outlive it now.
        if self.epoch.is_none() && expiry.is_some_and(|expiry| expiry > 0) {
            let detail = "the session expiry can't be raised from 0";
            return Err(End::refused(Reason::ProtocolError, detail));
        }
        Err(End::Disconnected { will, expiry })
    }

    fn control(&mut self, control: Control, actions: &mut Vec<Action>) {
        self.control_pending = true;
        actions.push(Action::Control(control));
    }

    fn publish(
        &mut self,
        publish: Publish,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) -> Result<(), End> {
        check_publish(&publish)?;
        let packet_id = (publish.qos > 0).then_some(publish.packet_id);
        if packet_id.is_some() && self.version == Version::V5 && self.inbound.is_full() {
            let max = self.inbound.max_in_flight();
            let detail = format!("more than {max} publishes without an acknowledgement");
            return Err(End::refused(Reason::ReceiveMaximumExceeded, detail));
        }
        if is_reserved(&publish.topic) {
            // 3.1.1 knows no refusal but the end of the connection [MQTT-3.3.5-2].
            let outcome = match self.version {
                Version::V4 => Reason::Success,
                Version::V5 => Reason::NotAuthorized,
            };
            self.answer_at_once(packet_id, outcome, actions);
            return Ok(());
        }
        let stamp = packet_id.zip(self.epoch);
        if let Some((packet_id, _)) = stamp {
            let digest = || inbound::digest(&publish.topic, &publish.payload);
            if self.inbound.is_repeat(packet_id, publish.dup, digest) {
                self.answer_at_once(Some(packet_id), Reason::Success, actions);
                return Ok(());
            }
        }
        let stamp = stamp.map(|(packet_id, session_epoch)| SessionPublish {
            client_id: self.client_id.to_string(),
            session_epoch,
            packet_id: packet_id.into(),
            digest: inbound::digest(&publish.topic, &publish.payload),
        });
        let topic = self
            .subscriptions
            .has_no_local()
            .then(|| publish.topic.clone());
        let slot = self.inbound.push(packet_id, topic);
        let record = message::record(publish, now);
        actions.push(Action::Append {
            slot,
            record,
            publish: stamp,
        });
        Ok(())
    }

    /// Without an append, but not before the publishes ahead of it.
    fn answer_at_once(
        &mut self,
        packet_id: Option<u16>,
        outcome: Reason,
        actions: &mut Vec<Action>,
    ) {
        if packet_id.is_some() {
            let slot = self.inbound.push(packet_id, None);
            self.finish(slot, outcome, actions);
        }
    }

    /// What came of an append (I1).
    pub fn committed(
        &mut self,
        slot: u64,
        result: Result<Offset, AppendError>,
        actions: &mut Vec<Action>,
    ) -> Result<(), End> {
        let outcome = match result {
            Ok(offset) => {
                if let Some(topic) = self.inbound.take_topic(slot) {
                    self.remember_own(offset, &topic);
                }
                Reason::Success
            }
            Err(AppendError::StaleSession) => return Err(End::TakenOver),
            Err(AppendError::Refused(detail)) if self.version == Version::V4 => {
                return Err(End::refused(Reason::ImplementationSpecific, detail));
            }
            Err(AppendError::Refused(_)) => Reason::ImplementationSpecific,
            Err(error @ (AppendError::Closed | AppendError::Unknown)) => {
                return Err(End::Unavailable {
                    detail: error.to_string(),
                });
            }
        };
        self.finish(slot, outcome, actions);
        Ok(())
    }

    fn finish(&mut self, slot: u64, outcome: Reason, actions: &mut Vec<Action>) {
        for (packet_id, reason) in self.inbound.finish(slot, outcome) {
            actions.push(Action::Send(Outgoing::PubAck { packet_id, reason }));
        }
    }
}

/// Rules of a PUBLISH that hold for every client \[MQTT §3.3 / MQTT5 §3.3\].
fn check_publish(publish: &Publish) -> Result<(), End> {
    if publish.qos > 1 {
        return Err(End::refused(
            Reason::QosNotSupported,
            "QoS 2 is not supported",
        ));
    }
    if let Some(properties) = &publish.properties {
        if properties.topic_alias.is_some() {
            let detail = "a topic alias, though the Topic Alias Maximum is 0";
            return Err(End::refused(Reason::TopicAliasInvalid, detail));
        }
        if !properties.subscription_identifiers.is_empty() {
            let detail = "a subscription identifier from a client [MQTT-3.3.4-6]";
            return Err(End::refused(Reason::ProtocolError, detail));
        }
        let response_topic = properties.response_topic.as_deref();
        if let Some(Err(error)) = response_topic.map(proto::topic::check_topic_name) {
            return Err(End::refused(
                Reason::ProtocolError,
                format!("response topic: {error}"),
            ));
        }
    }
    proto::topic::check_topic_name(&publish.topic)
        .map_err(|error| End::refused(Reason::TopicNameInvalid, error.to_string()))
}

/// What the broker says of itself is not for clients to say.
pub(crate) fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

#[cfg(test)]
mod tests;
