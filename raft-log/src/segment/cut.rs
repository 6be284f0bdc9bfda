//! Ends a segment before a given index: by a truncation, or by a start that finishes one.

use std::sync::Arc;

use super::catalog::{Entry, Kind};
use super::disk::{Disk, DiskFile};
use super::error::Error;
use super::footer::Footer;
use super::header::{Header, Unusable};
use super::layout::{FORMAT_VERSION, segment_name};
use super::scan::{Scan, scan};

/// A cut that is planned: the file was read up to it, and not changed yet.
#[derive(Debug)]
pub(super) struct Cut {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    name: String,
    header: Header,
    scan: Scan,
}

impl Cut {
    /// Reads the segment up to the frame before `end`. All of them were durable once, so one
    /// that can't be read is corruption.
    pub(super) fn plan(
        disk: &Arc<dyn Disk>,
        (base, generation): (u64, u32),
        frames_end: Option<u64>,
        end: u64,
    ) -> Result<Self, Error> {
        let name = segment_name(base, generation);
        let path = disk.path(&name);
        let error = |e| Error::io("read", path.clone(), e);
        let file = disk.open(&name).map_err(error)?;
        let header = read_header(&**disk, &*file, &name)?;
        let limit = match frames_end {
            Some(frames_end) => frames_end,
            None => file.len().map_err(error)?,
        };
        let scan = scan(&*file, &header, limit, end).map_err(error)?;
        if scan.end != end {
            let what = scan
                .bad
                .unwrap_or("frames before a truncation are missing")
                .into();
            return Err(Error::Corrupt {
                path,
                offset: scan.frames_end,
                index: scan.end,
                what,
            });
        }
        Ok(Self {
            disk: disk.clone(),
            file,
            name,
            header,
            scan,
        })
    }

    /// How the catalog knows the segment once it is cut.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            base: self.header.base,
            generation: self.header.generation,
            last: self.scan.last,
            frames_end: self.scan.frames_end,
            bytes: self.scan.frames_end + Footer::stored_bytes(self.scan.points.len()),
            kind: Kind::Sealed {
                points: Some(Arc::new(self.scan.points.clone())),
            },
        }
    }

    /// Cuts the file, durably, and seals it: a truncation may leave little of a segment, and the
    /// rest of its space is better used. Can be repeated.
    pub(super) fn execute(&self) -> Result<(), Error> {
        let Some(last) = self.scan.last else {
            return Ok(());
        };
        let Scan {
            frames_end,
            file_crc,
            points,
            ..
        } = &self.scan;
        let footer = Footer::encode(*frames_end, last, *file_crc, points, self.header.seed());
        let path = || self.disk.path(&self.name);
        let sync = || self.file.sync_all().map_err(|e| Error::sync(path(), e));
        let cut = |e| Error::io("cut", path(), e);
        self.file.set_len(*frames_end).map_err(cut)?;
        sync()?;
        let mut slices = [std::io::IoSlice::new(&footer)];
        self.file.write_at(&mut slices, *frames_end).map_err(cut)?;
        sync()
    }
}

/// The header of a segment that must have one.
pub(super) fn read_header(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    name: &str,
) -> Result<Header, Error> {
    let path = disk.path(name);
    match Header::read(file).map_err(|e| Error::io("read", path.clone(), e))? {
        Ok(header) => Ok(header),
        Err(Unusable::Version(found)) => Err(Error::Version {
            path,
            found,
            known: FORMAT_VERSION,
        }),
        Err(Unusable::Damaged) => {
            let index = super::layout::parse_segment_name(name).map_or(0, |(base, _)| base);
            Err(Error::Corrupt {
                path,
                offset: 0,
                index,
                what: "the header is damaged".into(),
            })
        }
    }
}
