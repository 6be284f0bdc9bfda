//! Deliveries of the log, gathered into transactions. Pure.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use historian::NewRow;
use proto::envelope::Invalid;
use proto::rpc::{Delivery, TailResponse};
use proto::{Nanos, Offset};
use tokio::time::Instant;

/// From about here on, larger transactions are not faster any more.
const MAX_ROWS: usize = 10_000;
const MAX_BYTES: usize = 16 << 20;
/// How old the first row of a transaction may get before it is written.
const LINGER: Duration = Duration::from_millis(200);
/// Failures in a row before transactions get smaller.
const PATIENCE: u32 = 3;

/// How much goes into a transaction. What fails again and again may do so because of what is in it
/// (ever new chunks, locks, memory): smaller ones come past it, or show the envelope at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    rows: usize,
    failures: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            rows: MAX_ROWS,
            failures: 0,
        }
    }
}

impl Limits {
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > PATIENCE {
            self.rows = (self.rows / 2).max(1);
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.rows = (self.rows * 2).min(MAX_ROWS);
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Of one batch.
pub(crate) type Digest = [u8; 32];

/// What the next transactions are made of.
#[derive(Debug)]
pub(crate) struct Gather {
    rows: Vec<NewRow>,
    /// Those that `rows` came from.
    batches: Vec<Digest>,
    bytes: usize,
    /// Everything below is in `rows` or was written.
    next: Offset,
    /// Everything below was written.
    written: Offset,
    /// When the first of what is not written came.
    since: Option<Instant>,
    newest: Nanos,
    /// Delivered together with what is in `rows`, but too much for it.
    waiting: VecDeque<Delivery>,
    /// Where the log goes on after what is waiting.
    then: Offset,
}

/// What goes into one transaction.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) rows: Vec<NewRow>,
    /// Digests of the batches that the rows came from.
    pub(crate) batches: Vec<Digest>,
    pub(crate) next: Offset,
    /// When the log took the newest of it.
    pub(crate) newest: Nanos,
}

impl Gather {
    pub(crate) fn new(from: Offset) -> Gather {
        Gather {
            rows: Vec::new(),
            batches: Vec::new(),
            bytes: 0,
            next: from,
            written: from,
            since: None,
            newest: Nanos(0),
            waiting: VecDeque::new(),
            then: from,
        }
    }

    /// Takes what the log delivered. Returns offsets that the log does not have any more: the
    /// database was put back to a time before them, and they are lost to it.
    pub(crate) fn push(&mut self, response: TailResponse, now: Instant) -> Option<Range<u64>> {
        let expected = self.then.0;
        let first = response
            .deliveries
            .first()
            .map_or(response.next_offset, |first| first.offset);
        self.waiting.extend(response.deliveries);
        self.then = self.then.max(Offset(response.next_offset));
        if self.then > self.next {
            self.since.get_or_insert(now);
        }
        (first > expected).then_some(expected..first)
    }

    /// Whether more may be asked for; what is refused waits in the log.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next portion is due at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + LINGER)
    }

    /// A full portion, or at `now` one that is due; `None` as long as it may grow.
    pub(crate) fn take(
        &mut self,
        limits: Limits,
        now: Instant,
    ) -> Result<Option<Portion>, Invalid> {
        self.fill(limits)?;
        let due = self.due().is_some_and(|due| due <= now);
        if !(due || self.is_full(limits)) || self.next == self.written {
            return Ok(None);
        }
        self.written = self.next;
        self.bytes = 0;
        self.since = (!self.waiting.is_empty()).then_some(now);
        let rows = std::mem::take(&mut self.rows);
        Ok(Some(Portion {
            rows,
            batches: std::mem::take(&mut self.batches),
            next: self.next,
            newest: self.newest,
        }))
    }

    fn fill(&mut self, limits: Limits) -> Result<(), Invalid> {
        while !self.is_full(limits) {
            let Some(delivery) = self.waiting.pop_front() else {
                self.next = self.next.max(self.then);
                break;
            };
            let mut rows = historian::convert::rows(&delivery)?;
            // Of an envelope that the cursor stands in, the records before it are stored.
            rows.retain(|row| row.offset >= self.next);
            self.bytes += rows.iter().map(NewRow::size_bytes).sum::<usize>();
            self.rows.append(&mut rows);
            self.next = self.next.max(Offset(end(&delivery)));
            self.newest = Nanos(delivery.leader_time);
            let envelope = delivery.envelope.unwrap_or_default();
            self.batches
                .push(envelope.digest.as_ref().try_into().unwrap_or_default());
        }
        Ok(())
    }

    fn is_full(&self, limits: Limits) -> bool {
        self.rows.len() >= limits.rows || self.bytes >= MAX_BYTES
    }
}

/// The offset after its last record.
fn end(delivery: &Delivery) -> u64 {
    let count = delivery
        .envelope
        .as_ref()
        .map_or(0, |envelope| envelope.count);
    delivery.offset + u64::from(count)
}

#[cfg(test)]
mod tests;
