//! The appends of a producer that are not answered yet. Pure: it takes records and answers and
//! says what to send.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use proto::rpc::append_response::Outcome as Answer;
use proto::rpc::{
    self, AppendResponse, ProducerStamp, Refusal, RefusalKind, SessionPublish, StaleSession,
};
use proto::rules::Rules;
use proto::{Batch, Lane, Offset, Record, Scope};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{AppendError, Item};
use crate::trace::Stage;

/// What an answer asks of the connection.
pub(super) enum Outcome {
    /// These batches are committed.
    Done(Vec<Stage>),
    /// Everything unanswered must be sent again.
    Resend,
    /// Another node, or the same one later, must be asked.
    Refused(Refusal),
}

pub(super) struct Window {
    rules: Rules,
    producer: Option<(Bytes, u32)>,
    /// Sequence of the first unanswered append.
    first_sequence: u64,
    appends: VecDeque<Unanswered>,
}

/// One append: records of several lanes and scopes, one envelope each.
struct Unanswered {
    parts: Vec<Part>,
    /// How often it was sent.
    sent: u32,
    /// When the first of its records came.
    since: Instant,
}

struct Part {
    envelope: rpc::Envelope,
    /// One per record of the envelope, in its order.
    waiters: Vec<Waiter>,
}

struct Waiter {
    publish: Option<SessionPublish>,
    done: oneshot::Sender<Result<Offset, AppendError>>,
    _permit: OwnedSemaphorePermit,
}

/// Client id and session epoch.
type SessionKey = (String, u64);

impl Window {
    pub(super) fn new(rules: Rules) -> Window {
        Window {
            rules,
            producer: None,
            first_sequence: 0,
            appends: VecDeque::new(),
        }
    }

    pub(super) fn has_producer(&self) -> bool {
        self.producer.is_some()
    }

    pub(super) fn set_producer(&mut self, id: Bytes, epoch: u32) {
        self.producer = Some((id, epoch));
        self.first_sequence = 0;
        // None of these was sent under this id.
        self.appends.iter_mut().for_each(|append| append.sent = 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.appends.len()
    }

    /// Encodes records into an append and keeps it until it is answered. `None` when no record
    /// could be encoded; who waits for them has been told.
    pub(super) fn push(&mut self, items: Vec<Item>, since: Instant) -> Option<rpc::Append> {
        let mut groups: BTreeMap<(Lane, Scope), Vec<Item>> = BTreeMap::new();
        for item in items {
            let topic = &item.record.topic;
            let key = (self.rules.lane(topic), self.rules.scope(topic));
            groups.entry(key).or_default().push(item);
        }
        let parts: Vec<Part> = groups
            .into_iter()
            .filter_map(|((lane, scope), items)| encode(items, lane, &scope))
            .collect();
        if parts.is_empty() {
            return None;
        }
        let sent = 0;
        self.appends.push_back(Unanswered { parts, sent, since });
        self.request(self.appends.len() - 1)
    }

    /// All appends to send on a new connection.
    pub(super) fn unanswered(&mut self) -> Vec<rpc::Append> {
        (0..self.appends.len())
            .filter_map(|at| self.request(at))
            .collect()
    }

    fn request(&mut self, at: usize) -> Option<rpc::Append> {
        let (producer_id, epoch) = self.producer.clone()?;
        let append = self.appends.get_mut(at)?;
        append.sent = append.sent.saturating_add(1);
        let sequence = self.first_sequence + at as u64;
        let waiters = append.parts.iter().flat_map(|part| &part.waiters);
        Some(rpc::Append {
            producer: Some(ProducerStamp {
                producer_id,
                epoch,
                sequence,
            }),
            envelopes: append
                .parts
                .iter()
                .map(|part| part.envelope.clone())
                .collect(),
            publishes: waiters
                .filter_map(|waiter| waiter.publish.clone())
                .collect(),
        })
    }

    pub(super) fn answer(&mut self, response: AppendResponse) -> Outcome {
        let Some(answer) = response.outcome else {
            return Outcome::Resend;
        };
        if response.producer_sequence != self.first_sequence {
            return Outcome::Resend;
        }
        match answer {
            Answer::Appended(appended) => {
                self.first_sequence += 1;
                let append = self.appends.pop_front();
                let batches = append.map(|append| complete(append, appended.first_offset));
                Outcome::Done(batches.unwrap_or_default())
            }
            Answer::Refused(refusal) => self.refused(refusal),
        }
    }

    /// A refused append took no sequence, and those behind it were refused as a gap.
    fn refused(&mut self, refusal: Refusal) -> Outcome {
        match RefusalKind::try_from(refusal.kind).unwrap_or_default() {
            RefusalKind::StaleSession => {
                let key = |stale: StaleSession| (stale.client_id, stale.session_epoch);
                self.drop_stale(&refusal.stale_sessions.into_iter().map(key).collect());
                Outcome::Resend
            }
            RefusalKind::UnknownProducer => {
                self.forgotten();
                Outcome::Refused(refusal)
            }
            RefusalKind::Invalid | RefusalKind::Forked | RefusalKind::Scope => {
                tracing::error!(
                    reason = refusal.message,
                    "the log refused an append for good"
                );
                if let Some(append) = self.appends.pop_front() {
                    fail(append, AppendError::Refused(refusal.message));
                }
                Outcome::Resend
            }
            RefusalKind::Gap => Outcome::Resend,
            _ => Outcome::Refused(refusal),
        }
    }

    /// The log does not know this producer any more. What was sent twice may have been taken the
    /// first time, and to append it under another id could double it: its outcome is unknown. What
    /// was sent once was refused by this very answer, or will be: a producer that is forgotten stays
    /// forgotten, and appends of one stream are taken in their order. So it goes under a new id.
    fn forgotten(&mut self) {
        self.producer = None;
        let (once, again) = std::mem::take(&mut self.appends)
            .into_iter()
            .partition(|append| append.sent <= 1);
        self.appends = once;
        let again: VecDeque<Unanswered> = again;
        again
            .into_iter()
            .for_each(|append| fail(append, AppendError::Unknown));
    }

    /// Takes the records of stale sessions out of every append.
    fn drop_stale(&mut self, stale: &HashSet<SessionKey>) {
        for append in std::mem::take(&mut self.appends) {
            let parts: Vec<Part> = append
                .parts
                .into_iter()
                .filter_map(|part| without(part, stale))
                .collect();
            if !parts.is_empty() {
                self.appends.push_back(Unanswered { parts, ..append });
            }
        }
    }
}

/// `None` when nothing is left; a record that can't be encoded is refused alone.
fn encode(items: Vec<Item>, lane: Lane, scope: &Scope) -> Option<Part> {
    let mut records = Vec::with_capacity(items.len());
    let mut waiters = Vec::with_capacity(items.len());
    for Item {
        record,
        publish,
        done,
        permit,
    } in items
    {
        if record.size_bytes() > proto::batch::MAX_RECORD_BYTES {
            let reason = format!("record of {} bytes is too large", record.size_bytes());
            let _ = done.send(Err(AppendError::Refused(reason)));
            continue;
        }
        records.push(record);
        waiters.push(Waiter {
            publish,
            done,
            _permit: permit,
        });
    }
    part(records, waiters, lane, scope)
}

fn part(records: Vec<Record>, waiters: Vec<Waiter>, lane: Lane, scope: &Scope) -> Option<Part> {
    if records.is_empty() {
        return None;
    }
    let retained = records.iter().any(|record| record.flags.retain());
    match Batch::encode(&records) {
        Ok(batch) => {
            let envelope = rpc::Envelope::birth(&batch, lane, scope, retained);
            Some(Part { envelope, waiters })
        }
        Err(error) => {
            for waiter in waiters {
                let _ = waiter
                    .done
                    .send(Err(AppendError::Refused(error.to_string())));
            }
            None
        }
    }
}

fn without(part: Part, stale: &HashSet<SessionKey>) -> Option<Part> {
    let is_stale = |waiter: &Waiter| {
        let key = |publish: &SessionPublish| (publish.client_id.clone(), publish.session_epoch);
        waiter
            .publish
            .as_ref()
            .is_some_and(|publish| stale.contains(&key(publish)))
    };
    if !part.waiters.iter().any(is_stale) {
        return Some(part);
    }
    let records = Batch::decode(&part.envelope.batch).unwrap_or_default();
    let (mut kept, mut waiters) = (Vec::new(), Vec::new());
    for (record, waiter) in records.into_iter().zip(part.waiters) {
        if is_stale(&waiter) {
            let _ = waiter.done.send(Err(AppendError::StaleSession));
        } else {
            kept.push(record);
            waiters.push(waiter);
        }
    }
    let lane = Lane::from_number(part.envelope.lane).unwrap_or_default();
    self::part(kept, waiters, lane, &Scope(part.envelope.scope))
}

fn complete(append: Unanswered, first_offset: u64) -> Vec<Stage> {
    let digests = append.parts.iter().map(|part| &part.envelope.digest);
    let batches = digests.map(|digest| Stage::began(digest, append.since));
    let batches = batches.collect();
    let waiters = append.parts.into_iter().flat_map(|part| part.waiters);
    for (waiter, offset) in waiters.zip(first_offset..) {
        // Nobody waits any more when the client's connection has ended; the record is durable.
        let _ = waiter.done.send(Ok(Offset(offset)));
    }
    batches
}

fn fail(append: Unanswered, error: AppendError) {
    for waiter in append.parts.into_iter().flat_map(|part| part.waiters) {
        let _ = waiter.done.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests;
