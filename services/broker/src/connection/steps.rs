//! The single steps of a [`Driver`].

use std::sync::Arc;

use futures::FutureExt;
use proto::rpc::SessionPublish;
use proto::{Nanos, Record};
use tokio::time::Instant;
use tracing::debug;

use super::driver::{
    AppendResult, Committed, Driver, MAX_WRITE_BYTES, Uncommitted, WRITE_AHEAD_BYTES,
};
use crate::hub::Hub;
use crate::namespace;
use crate::packet::{Incoming, Outgoing};
use crate::reason::End;
use crate::ring::Chunk;
use crate::session::{Action, Control, ControlOutcome, Offer};

impl Driver {
    /// Packets that were read, as far as the session takes them now.
    pub(super) fn decode(&mut self) -> Result<(), End> {
        while self.may_read() {
            let decoded = self.codec.decode(&mut self.input);
            let packet =
                decoded.map_err(|error| End::refused(error.reason(), error.to_string()))?;
            let Some(packet) = packet else { return Ok(()) };
            if let Incoming::Publish(publish) = &packet {
                self.hub.metrics.published(publish.qos);
            }
            self.session
                .packet(packet, Nanos::now(), &mut self.actions)?;
            self.act()?;
        }
        Ok(())
    }

    /// What the session asked for.
    pub(super) fn act(&mut self) -> Result<(), End> {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(packet) => self.send(packet),
                Action::Append {
                    slot,
                    record,
                    publish,
                } => self.append(slot, record, publish)?,
                Action::Control(control) => {
                    let work = carry_out(self.hub.clone(), self.session.stamp(), control);
                    self.control = Some(work.boxed());
                }
            }
        }
        // The vector is kept for its memory; appending may have added to the empty one.
        actions.append(&mut self.actions);
        self.actions = actions;
        Ok(())
    }

    pub(super) fn send(&mut self, packet: Outgoing) {
        let (mut packet_id, mut qos) = (0, None);
        match &packet {
            Outgoing::Publish(deliver) => {
                (packet_id, qos) = (deliver.packet_id, Some(deliver.qos));
            }
            Outgoing::PubAck { reason, .. } if !reason.is_failure() => {
                self.hub.metrics.acknowledged();
            }
            _ => {}
        }
        let before = self.output.len();
        let encoded = self.codec.encode(packet, &mut self.output);
        let bytes = self.output.len() - before;
        if encoded.is_ok() && bytes <= self.max_write_bytes {
            if let Some(qos) = qos {
                self.hub.metrics.delivered(qos);
            }
            return;
        }
        debug!(
            client_id = &**self.session.client_id(),
            bytes, "a packet the client can't take"
        );
        self.output.truncate(before);
        // As if the client had taken it [MQTT-3.1.2-25].
        self.session.acknowledged(packet_id);
    }

    fn append(
        &mut self,
        slot: u64,
        record: Record,
        publish: Option<SessionPublish>,
    ) -> Result<(), End> {
        if let Some(problem) = namespace::problem(&record) {
            self.hub.metrics.unreadable();
            self.hub
                .warner
                .warn(self.session.client_id(), &record.topic, &problem);
        }
        let since = Instant::now();
        let producer = self.hub.producer.clone();
        let mut append = async move { producer.append(record, publish).await }.boxed();
        match (&mut append).now_or_never() {
            Some(result) => self.appended(slot, since, result),
            None => {
                self.appending = Some((slot, since, append));
                Ok(())
            }
        }
    }

    pub(super) fn appended(
        &mut self,
        slot: u64,
        since: Instant,
        result: AppendResult,
    ) -> Result<(), End> {
        match result {
            Ok(pending) => {
                self.uncommitted.push_back(Uncommitted {
                    slot,
                    since,
                    pending,
                    _counted: self.hub.metrics.in_flight(),
                });
                Ok(())
            }
            Err(error) => self.session.committed(slot, Err(error), &mut self.actions),
        }
    }

    pub(super) fn committed(&mut self, committed: Committed) -> Result<(), End> {
        let Committed {
            slot,
            since,
            result,
        } = committed;
        if result.is_ok() {
            self.hub.metrics.appended(since.elapsed());
        }
        self.session.committed(slot, result, &mut self.actions)
    }

    pub(super) fn received(&mut self, chunk: Arc<Chunk>) {
        let seen = match self.session.wants() {
            Some(position) => chunk.messages.partition_point(|one| one.offset < position),
            None => return,
        };
        self.chunk = Some((chunk, seen));
    }

    /// Retained messages first, then the log, while the client takes them.
    pub(super) fn deliver(&mut self) {
        if self.session.wants().is_none() {
            self.chunk = None;
        }
        let now = Nanos::now();
        while self.output.len() < WRITE_AHEAD_BYTES {
            if self.session.has_retained() {
                let Some(packet) = self.session.next_retained(now) else {
                    return;
                };
                self.send(packet);
                continue;
            }
            let Some((chunk, seen)) = &mut self.chunk else {
                return;
            };
            let Some(message) = chunk.messages.get(*seen) else {
                self.session.passed(chunk.next);
                self.chunk = None;
                return;
            };
            let offer = self.session.offer(message, now);
            if offer == Offer::Wait {
                return;
            }
            *seen += 1;
            if let Offer::Send(packet) = offer {
                self.send(packet);
            }
        }
    }
}

/// Commits a subscription or its end for a persistent session, and fetches what it gets first.
async fn carry_out(
    hub: Arc<Hub>,
    stamp: Option<(Arc<str>, u64)>,
    control: Control,
) -> (Control, ControlOutcome) {
    let update = stamp.and_then(|(client_id, epoch)| control.update(&client_id, epoch));
    if let Some(update) = update {
        match hub.log.update_sessions(vec![update]).await {
            Ok(()) => {}
            Err(error) if error.is_fenced() => return (control, ControlOutcome::Stale),
            Err(error) => {
                debug!(%error, "a subscription was not stored");
                return (control, ControlOutcome::Failed);
            }
        }
    }
    let filters = control.retained_filters();
    if filters.is_empty() {
        let from = hub.feed.end().await;
        return (
            control,
            ControlOutcome::Done {
                from,
                retained: Vec::new(),
            },
        );
    }
    match hub.log.retained(filters).await {
        Ok((retained, from)) => (control, ControlOutcome::Done { from, retained }),
        Err(error) => {
            debug!(%error, "no retained messages for a subscription");
            (control, ControlOutcome::Failed)
        }
    }
}

const _: () = assert!(WRITE_AHEAD_BYTES < MAX_WRITE_BYTES);
