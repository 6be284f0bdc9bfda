//! The segment that frames are written to.

use std::io::IoSlice;
use std::sync::Arc;

use super::LogPosition;
use super::catalog::{Entry, Kind};
use super::disk::{Disk, DiskFile};
use super::error::Error;
use super::footer::{Footer, Point};
use super::frame::{LAST_OF_SEGMENT, encode};
use super::header::{HEADER_BYTES, Header};
use super::layout::segment_name;
use super::logical::Stamped;
use super::scan::{Scan, wants_point};

#[derive(Debug)]
pub(super) struct Open {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    name: String,
    header: Header,
    seed: u32,
    /// File offset behind the last frame.
    offset: u64,
    last: Option<LogPosition>,
    last_crc: u32,
    file_crc: u32,
    last_point: Option<u64>,
}

impl Open {
    /// A new segment: its header and its name are durable when this returns.
    pub(super) fn create(disk: &Arc<dyn Disk>, header: Header) -> Result<Self, Error> {
        let name = segment_name(header.base, header.generation);
        let bytes = header.encode();
        let create = || {
            let file = disk.create(&name)?;
            file.write_at(&mut [IoSlice::new(&bytes)], 0)?;
            file.sync_all()?;
            disk.sync_directory()?;
            Ok(file)
        };
        let file = create().map_err(|e| Error::io("create", disk.path(&name), e))?;
        Ok(Self {
            disk: disk.clone(),
            file,
            name,
            seed: header.seed(),
            offset: HEADER_BYTES,
            last: None,
            last_crc: header.crc(),
            file_crc: crc32c::crc32c(&bytes),
            last_point: None,
            header,
        })
    }

    /// A segment that was read from the disk and goes on behind its last good frame.
    pub(super) fn resume(
        disk: &Arc<dyn Disk>,
        file: Arc<dyn DiskFile>,
        header: Header,
        scan: &Scan,
    ) -> Self {
        Self {
            disk: disk.clone(),
            file,
            name: segment_name(header.base, header.generation),
            seed: header.seed(),
            offset: scan.frames_end,
            last: scan.last,
            last_crc: scan.last_crc,
            file_crc: scan.file_crc,
            last_point: scan.points.last().map(|p| p.offset()),
            header,
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.header.base
    }

    pub(super) fn generation(&self) -> u32 {
        self.header.generation
    }

    /// One beyond the last index. All below it is durable.
    pub(super) fn end(&self) -> u64 {
        self.last.map_or(self.header.base, |last| last.index + 1)
    }

    pub(super) fn last(&self) -> Option<LogPosition> {
        self.last.or(self.header.previous)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How the catalog knows it.
    pub(super) fn entry(&self, points: Vec<Point>) -> Entry {
        Entry {
            name: self.name.clone(),
            base: self.header.base,
            generation: self.header.generation,
            last: self.last,
            frames_end: self.offset,
            bytes: self.offset,
            kind: Kind::Open {
                file: self.file.clone(),
                points,
            },
        }
    }

    /// Writes frames, which continue the segment, with one vectored write and one fdatasync.
    /// Returns their entries for the sparse index.
    pub(super) fn write(&mut self, frames: &[Stamped]) -> Result<Vec<Point>, Error> {
        let start = self.offset;
        let durable_end = self.end();
        let (heads, points) = self.stamp(frames, durable_end);
        let mut slices = Vec::with_capacity(3 * frames.len());
        for (head, stamped) in heads.iter().zip(frames) {
            slices.push(IoSlice::new(head));
            slices.push(IoSlice::new(&stamped.frame.body));
            slices.push(IoSlice::new(stamped.frame.padding()));
        }
        self.file
            .write_at(&mut slices, start)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| Error::io("write", self.disk.path(&self.name), e))?;
        Ok(points)
    }

    /// Moves the end over `frames` and returns their heads and points.
    fn stamp(
        &mut self,
        frames: &[Stamped],
        durable_end: u64,
    ) -> (Vec<[u8; super::frame::HEAD_BYTES]>, Vec<Point>) {
        let mut points = Vec::new();
        let mut heads = Vec::with_capacity(frames.len());
        for Stamped {
            frame,
            last_of_segment,
        } in frames
        {
            let flags = if *last_of_segment { LAST_OF_SEGMENT } else { 0 };
            let (head, crc) = encode(frame, flags, durable_end, self.last_crc, self.seed);
            if wants_point(self.last_point, self.offset) {
                self.last_point = Some(self.offset);
                points.extend(Point::new(self.header.base, frame.index, self.offset));
            }
            for part in [&head[..], &frame.body, frame.padding()] {
                self.file_crc = crc32c::crc32c_append(self.file_crc, part);
            }
            self.last_crc = crc;
            self.last = Some(frame.position());
            self.offset += frame.stored_bytes();
            heads.push(head);
        }
        (heads, points)
    }

    /// Writes the footer, durably, and returns the length of the file. Only for a segment that
    /// holds a frame.
    pub(super) fn seal(&self, points: &[Point]) -> Result<u64, Error> {
        let Some(last) = self.last else {
            return Ok(self.offset);
        };
        let footer = Footer::encode(self.offset, last, self.file_crc, points, self.seed);
        self.file
            .write_at(&mut [IoSlice::new(&footer)], self.offset)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| Error::io("seal", self.disk.path(&self.name), e))?;
        Ok(self.offset + footer.len() as u64)
    }

    /// The header of the segment that follows this one.
    pub(super) fn next_header(&self) -> Header {
        Header {
            base: self.end(),
            previous: self.last(),
            ..self.header.clone()
        }
    }
}
