//! Reads the frames of a segment one after the other and verifies each.

use std::io;

use bytes::Bytes;

use super::disk::{DiskFile, read_vec};
use super::frame::{HEAD_BYTES, Head, MAX_BODY_BYTES};
use super::layout::size;

/// A position in a segment file, and what must be found there.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    file: &'a dyn DiskFile,
    seed: u32,
    /// Of the frame that `step` reads next.
    pub(super) offset: u64,
    pub(super) index: u64,
    /// The frames end here.
    limit: u64,
    /// What the next frame is chained to, if that is known.
    previous_crc: Option<u32>,
    read_bytes: usize,
    buffer: Bytes,
    buffer_offset: u64,
}

#[derive(Debug)]
pub(super) struct Walked {
    pub(super) head: Head,
    pub(super) offset: u64,
    /// The whole frame, head and padding included.
    pub(super) stored: Bytes,
}

#[derive(Debug)]
pub(super) enum Step {
    Frame(Walked),
    /// The limit is reached.
    End,
    /// What stands at `offset` is not the frame that must stand there; it is not stepped over.
    Bad(&'static str),
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        file: &'a dyn DiskFile,
        seed: u32,
        (index, offset): (u64, u64),
        limit: u64,
        previous_crc: Option<u32>,
        read_bytes: usize,
    ) -> Self {
        let (buffer, buffer_offset) = (Bytes::new(), offset);
        Self {
            file,
            seed,
            offset,
            index,
            limit,
            previous_crc,
            read_bytes,
            buffer,
            buffer_offset,
        }
    }

    pub(super) fn step(&mut self) -> io::Result<Step> {
        let left = self.limit.saturating_sub(self.offset);
        if left == 0 {
            return Ok(Step::End);
        }
        if left < HEAD_BYTES as u64 {
            return Ok(Step::Bad("the file ends inside a frame"));
        }
        let head = Head::decode(&self.fill(HEAD_BYTES as u64)?);
        if head.length as usize > MAX_BODY_BYTES || head.stored_bytes() > left {
            return Ok(Step::Bad("a frame reaches beyond the end"));
        }
        let stored = self.fill(head.stored_bytes())?;
        if let Some(bad) = self.mismatch(&head, &stored) {
            return Ok(Step::Bad(bad));
        }
        let offset = self.offset;
        self.offset += head.stored_bytes();
        self.index += 1;
        self.previous_crc = Some(head.crc);
        Ok(Step::Frame(Walked {
            head,
            offset,
            stored,
        }))
    }

    fn mismatch(&self, head: &Head, stored: &[u8]) -> Option<&'static str> {
        if !head.verify(stored, self.seed) {
            Some("the checksum of a frame differs")
        } else if head.index != self.index {
            Some("a frame has another index")
        } else if self
            .previous_crc
            .is_some_and(|crc| crc != head.previous_crc)
        {
            Some("a frame does not follow the one before it")
        } else {
            None
        }
    }

    /// The next `bytes` at `offset`, which lie below the limit.
    fn fill(&mut self, bytes: u64) -> io::Result<Bytes> {
        let from = size(self.offset - self.buffer_offset);
        if from + size(bytes) <= self.buffer.len() {
            return Ok(self.buffer.slice(from..from + size(bytes)));
        }
        let want = size(bytes)
            .max(self.read_bytes)
            .min(size(self.limit - self.offset));
        self.buffer = Bytes::from(read_vec(self.file, self.offset, want)?);
        self.buffer_offset = self.offset;
        Ok(self.buffer.slice(..size(bytes)))
    }
}
