//! The log as callers see it: it changes at once, and the writer follows. Pure.

use std::collections::{BTreeSet, VecDeque};

use super::error::Error;
use super::frame::{Frame, MAX_BODY_BYTES};
use super::header::HEADER_BYTES;
use super::{Bounds, LogPosition};

/// What a cached frame costs beside its body.
const FRAME_OVERHEAD: usize = 96;

/// A frame, and whether the segment ends with it.
#[derive(Debug, Clone)]
pub(super) struct Stamped {
    pub(super) frame: Frame,
    pub(super) last_of_segment: bool,
}

/// Where a log starts when it is opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Start {
    pub(super) purged: Option<LogPosition>,
    pub(super) last: Option<LogPosition>,
    pub(super) end: u64,
    pub(super) bases: BTreeSet<u64>,
    /// Bytes in the open segment.
    pub(super) open_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Logical {
    purged: Option<LogPosition>,
    last: Option<LogPosition>,
    end: u64,
    /// First index of every segment. The last one is open. A segment ends with the frame that
    /// fills it, which is decided here and not at the write, so that whoever applies that frame
    /// already knows.
    bases: BTreeSet<u64>,
    open_bytes: u64,
    segment_bytes: u64,
    /// The end of the log, without a gap, with the ticket of the append that brought each frame.
    cache: VecDeque<(u64, Frame)>,
    cached_bytes: usize,
    cache_budget: usize,
    /// Appends are numbered. An index would not do to tell what is on the disk: after a
    /// truncation it comes again.
    ticket: u64,
    flushed_ticket: u64,
}

/// What `truncate_after` has to know of an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The whole log lies after it.
    Before,
    Known(LogPosition),
    OnDisk,
}

impl Logical {
    pub(super) fn new(start: Start, segment_bytes: u64, cache_budget: usize) -> Self {
        Self {
            purged: start.purged,
            last: start.last,
            end: start.end,
            bases: start.bases,
            open_bytes: start.open_bytes,
            segment_bytes,
            cache: VecDeque::new(),
            cached_bytes: 0,
            cache_budget,
            ticket: 0,
            flushed_ticket: 0,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            first: self.first(),
            end: self.end,
            last: self.last,
            purged: self.purged,
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.purged_end()
            .max(self.bases.first().copied().unwrap_or(0))
    }

    fn purged_end(&self) -> u64 {
        self.purged.map_or(0, |p| p.index + 1)
    }

    fn is_empty(&self) -> bool {
        self.first() == self.end
    }

    pub(super) fn segment_end(&self, index: u64) -> Option<u64> {
        if index < self.first() || index >= self.end {
            return None;
        }
        self.bases.range(index + 1..).next().map(|base| base - 1)
    }

    /// Takes frames that continue the log and returns them for the writer, with their ticket.
    /// An empty log of which nothing was purged may begin at any index.
    pub(super) fn append(&mut self, frames: Vec<Frame>) -> Result<(Vec<Stamped>, u64), Error> {
        self.check(&frames)?;
        if let Some(first) = frames.first().filter(|first| first.index != self.end) {
            self.restart(first.index);
        }
        self.ticket += 1;
        let stamped = frames.into_iter().map(|frame| self.push(frame)).collect();
        self.evict();
        Ok((stamped, self.ticket))
    }

    fn check(&self, frames: &[Frame]) -> Result<(), Error> {
        let Some(first) = frames.first() else {
            return Ok(());
        };
        let begins = self.is_empty() && self.purged.is_none() && first.index > self.end;
        let start = if begins { first.index } else { self.end };
        for (frame, expected) in frames.iter().zip(start..) {
            if frame.index != expected {
                return Err(Error::OutOfOrder {
                    expected,
                    found: frame.index,
                });
            }
            if frame.body.len() > MAX_BODY_BYTES {
                let bytes = frame.body.len();
                return Err(Error::TooLarge {
                    what: "frame body",
                    bytes,
                    max: MAX_BODY_BYTES,
                });
            }
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame) -> Stamped {
        self.open_bytes += frame.stored_bytes();
        self.end = frame.index + 1;
        self.last = Some(frame.position());
        let last_of_segment = self.open_bytes >= self.segment_bytes;
        if last_of_segment {
            self.begin_segment(self.end);
        }
        self.cached_bytes += frame.body.len() + FRAME_OVERHEAD;
        self.cache.push_back((self.ticket, frame.clone()));
        Stamped {
            frame,
            last_of_segment,
        }
    }

    fn begin_segment(&mut self, base: u64) {
        self.bases.insert(base);
        self.open_bytes = HEADER_BYTES;
    }

    fn restart(&mut self, base: u64) {
        self.bases.clear();
        self.end = base;
        self.clear_cache();
        self.begin_segment(base);
    }

    pub(super) fn place(&self, index: u64) -> Result<Place, Error> {
        if index + 1 < self.purged_end() {
            return Err(Error::Purged {
                index,
                first: self.first(),
            });
        }
        if let Some(last) = self.last.filter(|last| last.index <= index) {
            return Ok(Place::Known(last));
        }
        if index < self.first() {
            return Ok(Place::Before);
        }
        Ok(self
            .cached(index)
            .map_or(Place::OnDisk, |frame| Place::Known(frame.position())))
    }

    /// Cuts everything after `to`; on `None` everything that was not purged. Returns the new
    /// end and last position, or `None` when there is nothing to cut.
    pub(super) fn truncate(
        &mut self,
        to: Option<LogPosition>,
    ) -> Option<(u64, Option<LogPosition>)> {
        let to = to.or(self.purged);
        let end = to.map_or(0, |to| to.index + 1);
        if self.is_empty() || end >= self.end {
            return None;
        }
        while self
            .cache
            .back()
            .is_some_and(|(_, frame)| frame.index >= end)
        {
            let frame = self.cache.pop_back();
            self.forget(frame);
        }
        self.bases.split_off(&end);
        self.begin_segment(end);
        self.end = end;
        self.last = to;
        Some((end, to))
    }

    /// Moves the beginning behind `to`. `false` when it was there before.
    pub(super) fn purge(&mut self, to: LogPosition) -> bool {
        if to.index < self.purged_end() {
            return false;
        }
        self.purged = Some(to);
        if to.index >= self.end {
            self.restart(to.index + 1);
            self.last = Some(to);
            return true;
        }
        while self
            .cache
            .front()
            .is_some_and(|(_, frame)| frame.index <= to.index)
        {
            let frame = self.cache.pop_front();
            self.forget(frame);
        }
        if let Some(&base) = self.bases.range(..=to.index + 1).next_back() {
            self.bases = self.bases.split_off(&base);
        }
        true
    }

    /// Appends up to `ticket` are on the disk, so their frames need not stay cached.
    pub(super) fn flushed(&mut self, ticket: u64) {
        self.flushed_ticket = ticket;
        self.evict();
    }

    /// Whether everything that was appended is on the disk.
    #[cfg(test)]
    pub(super) fn all_flushed(&self) -> bool {
        self.flushed_ticket == self.ticket
    }

    fn evict(&mut self) {
        while self.cached_bytes > self.cache_budget
            && self
                .cache
                .front()
                .is_some_and(|(ticket, _)| *ticket <= self.flushed_ticket)
        {
            let frame = self.cache.pop_front();
            self.forget(frame);
        }
    }

    fn forget(&mut self, frame: Option<(u64, Frame)>) {
        self.cached_bytes -= frame.map_or(0, |(_, frame)| frame.body.len() + FRAME_OVERHEAD);
    }

    fn clear_cache(&mut self) {
        self.cache.clear();
        self.cached_bytes = 0;
    }

    /// From here on everything is cached.
    pub(super) fn cache_start(&self) -> u64 {
        self.cache
            .front()
            .map_or(self.end, |(_, frame)| frame.index)
    }

    pub(super) fn cached(&self, index: u64) -> Option<&Frame> {
        let (_, front) = self.cache.front()?;
        let at = usize::try_from(index.checked_sub(front.index)?).ok()?;
        self.cache.get(at).map(|(_, frame)| frame)
    }
}
