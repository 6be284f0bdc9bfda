//! The newest committed records of the hub, decoded once and shared by all sessions of the node.
//!
//! Bounded by bytes: what is pushed out is still in the log, and a session that has not seen it
//! yet reads it from there. Nobody waits for a slow session, and none is skipped.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::Offset;

use crate::message::Message;

/// Consecutive offsets and the messages among them.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Offset after the last one it covers.
    pub(crate) next: Offset,
    pub(crate) messages: Vec<Message>,
    /// An estimate of the memory it takes.
    pub(crate) bytes: usize,
}

/// Not the chunk itself: where to get it.
#[derive(Clone, Debug)]
pub(crate) enum Lookup {
    /// Holds the position, or starts after it when nothing in between was a message.
    Found(Arc<Chunk>),
    /// Nothing at or after the position is committed.
    NotYet,
    /// The position was pushed out; the log has it.
    Behind,
}

#[derive(Debug)]
pub(crate) struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    /// First offset that is still covered.
    start: Offset,
    bytes: usize,
    max_bytes: usize,
}

impl Ring {
    pub(crate) fn new(start: Offset, max_bytes: usize) -> Ring {
        Ring {
            chunks: VecDeque::new(),
            start,
            bytes: 0,
            max_bytes,
        }
    }

    /// Offset after the last one covered.
    pub(crate) fn next(&self) -> Offset {
        self.chunks.back().map_or(self.start, |chunk| chunk.next)
    }

    /// Takes what follows [`Ring::next`]; the newest chunk stays, however large it is.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        if chunk.next <= self.next() {
            return;
        }
        self.bytes += chunk.bytes;
        self.chunks.push_back(Arc::new(chunk));
        while self.bytes > self.max_bytes && self.chunks.len() > 1 {
            if let Some(oldest) = self.chunks.pop_front() {
                self.bytes -= oldest.bytes;
                self.start = oldest.next;
            }
        }
    }

    pub(crate) fn get(&self, position: Offset) -> Lookup {
        if position < self.start {
            return Lookup::Behind;
        }
        let at = self.chunks.partition_point(|chunk| chunk.next <= position);
        self.chunks
            .get(at)
            .map_or(Lookup::NotYet, |chunk| Lookup::Found(chunk.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(next: u64, bytes: usize) -> Chunk {
        Chunk {
            next: Offset(next),
            messages: Vec::new(),
            bytes,
        }
    }

    fn describe(lookup: &Lookup) -> String {
        match lookup {
            Lookup::Found(chunk) => format!("found {}", chunk.next),
            Lookup::NotYet => "not yet".into(),
            Lookup::Behind => "behind".into(),
        }
    }

    #[test]
    fn keeps_the_newest_and_tells_what_it_lacks() {
        let mut ring = Ring::new(Offset(10), 100);
        assert_eq!(describe(&ring.get(Offset(10))), "not yet");
        ring.push(chunk(12, 40));
        ring.push(chunk(12, 40));
        ring.push(chunk(20, 40));
        ring.push(chunk(25, 40));
        assert_eq!(ring.next(), Offset(25));
        for (position, expected) in [
            (9, "behind"),
            (11, "behind"),
            (12, "found 20"),
            (19, "found 20"),
            (20, "found 25"),
            (25, "not yet"),
            (99, "not yet"),
        ] {
            assert_eq!(
                describe(&ring.get(Offset(position))),
                expected,
                "{position}"
            );
        }
    }

    #[test]
    fn a_chunk_larger_than_the_ring_stays_until_the_next() {
        let mut ring = Ring::new(Offset(0), 100);
        ring.push(chunk(1, 1000));
        assert_eq!(describe(&ring.get(Offset(0))), "found 1");
        ring.push(chunk(2, 10));
        assert_eq!(describe(&ring.get(Offset(0))), "behind");
        assert_eq!(describe(&ring.get(Offset(1))), "found 2");
    }
}
