//! The segment that frames are written to.

use std::io::IoSlice;
use std::sync::Arc;

use super::LogPosition;
use super::catalog::{Entry, Grown, Kind};
use super::disk::{Disk, DiskFile, write_zeros};
use super::error::Error;
use super::footer::{Footer, Point};
use super::frame::{LAST_OF_SEGMENT, encode};
use super::header::{HEADER_BYTES, Header};
use super::layout::{prewritten_bytes, segment_name, unfinished_name};
use super::logical::Stamped;
use super::scan::{Scan, wants_point};
use super::spare::Spare;

/// What a first segment is pre-written with, and what a file that is too short grows by at most.
const FIRST_BYTES: u64 = 256 << 10;
const STEP_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Open {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    name: String,
    header: Header,
    seed: u32,
    /// Length of the file: writes up to there need no space.
    bytes: u64,
    tail: Tail,
}

/// Where the next frame goes and what it continues.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// File offset behind the last frame.
    offset: u64,
    last: Option<LogPosition>,
    last_crc: u32,
    file_crc: u32,
    last_point: Option<u64>,
}

impl Open {
    /// A new segment out of a file that is pre-written: its header and its name are durable when
    /// this returns. The file gets its name when it has its header, so that a segment never lacks
    /// one.
    pub(super) fn begin(
        disk: &Arc<dyn Disk>,
        header: Header,
        spare: &Spare,
    ) -> Result<Self, Error> {
        let name = segment_name(header.base, header.generation);
        let path = disk.path(&spare.name);
        let error = |e| Error::io("begin a segment with", path.clone(), e);
        let file = disk.open(&spare.name).map_err(error)?;
        file.write_at(&mut [IoSlice::new(&header.encode())], 0)
            .map_err(error)?;
        file.sync_data().map_err(|e| Error::sync(path.clone(), e))?;
        disk.rename(&spare.name, &name).map_err(error)?;
        disk.sync_directory()
            .map_err(|e| Error::sync(disk.path(""), e))?;
        Ok(Self::new(disk, file, header, spare.bytes))
    }

    /// A new segment when no file is ready: short, so that a start does not take long; it grows
    /// as it is written to.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        header: Header,
        segment_bytes: u64,
    ) -> Result<Self, Error> {
        let bytes = prewritten_bytes(segment_bytes).min(FIRST_BYTES);
        let name = segment_name(header.base, header.generation);
        let unfinished = unfinished_name(&name);
        let create = || {
            let file = disk.create(&unfinished)?;
            file.write_at(&mut [IoSlice::new(&header.encode())], 0)?;
            write_zeros(&*file, HEADER_BYTES, bytes)?;
            file.sync_all()?;
            disk.rename(&unfinished, &name)?;
            disk.sync_directory()?;
            Ok(file)
        };
        let file = create().map_err(|e| Error::io("create", disk.path(&name), e))?;
        Ok(Self::new(disk, file, header, bytes))
    }

    fn new(disk: &Arc<dyn Disk>, file: Arc<dyn DiskFile>, header: Header, bytes: u64) -> Self {
        let tail = Tail {
            offset: HEADER_BYTES,
            last: None,
            last_crc: header.crc(),
            file_crc: crc32c::crc32c(&header.encode()),
            last_point: None,
        };
        Self {
            disk: disk.clone(),
            file,
            name: segment_name(header.base, header.generation),
            seed: header.seed(),
            bytes,
            tail,
            header,
        }
    }

    /// A segment that was read from the disk and goes on behind its last good frame.
    pub(super) fn resume(
        disk: &Arc<dyn Disk>,
        file: Arc<dyn DiskFile>,
        header: Header,
        scan: &Scan,
        bytes: u64,
    ) -> Self {
        let tail = Tail {
            offset: scan.frames_end,
            last: scan.last,
            last_crc: scan.last_crc,
            file_crc: scan.file_crc,
            last_point: scan.points.last().map(|p| p.offset()),
        };
        Self {
            tail,
            ..Self::new(disk, file, header, bytes)
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.header.base
    }

    /// One beyond the last index. All below it is durable.
    pub(super) fn end(&self) -> u64 {
        self.tail
            .last
            .map_or(self.header.base, |last| last.index + 1)
    }

    pub(super) fn last(&self) -> Option<LogPosition> {
        self.tail.last.or(self.header.previous)
    }

    pub(super) fn offset(&self) -> u64 {
        self.tail.offset
    }

    /// How the catalog knows it.
    pub(super) fn entry(&self, points: Vec<Point>) -> Entry {
        Entry {
            name: self.name.clone(),
            base: self.header.base,
            generation: self.header.generation,
            last: self.tail.last,
            frames_end: self.tail.offset,
            bytes: self.bytes,
            kind: Kind::Open {
                file: self.file.clone(),
                points,
            },
        }
    }

    /// Writes frames, which continue the segment, with one vectored write and one fdatasync.
    /// After [`Error::DiskFull`] nothing has changed, and it can be tried again.
    pub(super) fn write(&mut self, frames: &[Stamped]) -> Result<Grown, Error> {
        let mut tail = self.tail;
        let (heads, points) = self.stamp(&mut tail, frames);
        let mut slices = Vec::with_capacity(3 * frames.len());
        for (head, stamped) in heads.iter().zip(frames) {
            slices.push(IoSlice::new(head));
            slices.push(IoSlice::new(&stamped.frame.body));
            slices.push(IoSlice::new(stamped.frame.padding()));
        }
        self.make_room(tail.offset)?;
        let path = || self.disk.path(&self.name);
        self.file
            .write_at(&mut slices, self.tail.offset)
            .map_err(|e| Error::io("write", path(), e))?;
        self.file.sync_data().map_err(|e| Error::sync(path(), e))?;
        self.tail = tail;
        Ok(Grown {
            frames_end: tail.offset,
            bytes: self.bytes,
            points,
        })
    }

    /// Moves `tail` over `frames` and returns their heads and points.
    fn stamp(
        &self,
        tail: &mut Tail,
        frames: &[Stamped],
    ) -> (Vec<[u8; super::frame::HEAD_BYTES]>, Vec<Point>) {
        let durable_end = self.end();
        let mut points = Vec::new();
        let mut heads = Vec::with_capacity(frames.len());
        for Stamped {
            frame,
            last_of_segment,
        } in frames
        {
            let flags = if *last_of_segment { LAST_OF_SEGMENT } else { 0 };
            let (head, crc) = encode(frame, flags, durable_end, tail.last_crc, self.seed);
            if wants_point(tail.last_point, tail.offset) {
                tail.last_point = Some(tail.offset);
                points.extend(Point::new(self.header.base, frame.index, tail.offset));
            }
            for part in [&head[..], &frame.body, frame.padding()] {
                tail.file_crc = crc32c::crc32c_append(tail.file_crc, part);
            }
            tail.last_crc = crc;
            tail.last = Some(frame.position());
            tail.offset += frame.stored_bytes();
            heads.push(head);
        }
        (heads, points)
    }

    /// Lengthens a file that is too short for what is to be written, in growing steps. The next
    /// sync makes it durable.
    fn make_room(&mut self, needed: u64) -> Result<(), Error> {
        if needed <= self.bytes {
            return Ok(());
        }
        let step = self.bytes.min(STEP_BYTES);
        let to = needed.max(self.bytes + step).next_multiple_of(HEADER_BYTES);
        write_zeros(&*self.file, self.bytes, to)
            .map_err(|e| Error::io("lengthen", self.disk.path(&self.name), e))?;
        self.bytes = to;
        Ok(())
    }

    /// Writes the footer, durably, at the end of the file. Only for a segment that holds a
    /// frame. Can be repeated.
    pub(super) fn seal(&mut self, points: &[Point]) -> Result<(), Error> {
        let Some(last) = self.tail.last else {
            return Ok(());
        };
        let Tail {
            offset, file_crc, ..
        } = self.tail;
        self.make_room(offset + Footer::stored_bytes(points.len()))?;
        let footer = Footer::encode(offset, last, file_crc, points, self.seed);
        let path = || self.disk.path(&self.name);
        self.file
            .write_at(
                &mut [IoSlice::new(&footer)],
                self.bytes - footer.len() as u64,
            )
            .map_err(|e| Error::io("seal", path(), e))?;
        self.file.sync_data().map_err(|e| Error::sync(path(), e))
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The header of the segment that follows this one.
    pub(super) fn next_header(&self, generation: u32) -> Header {
        Header {
            base: self.end(),
            previous: self.last(),
            generation,
            ..self.header.clone()
        }
    }
}
