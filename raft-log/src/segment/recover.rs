//! What a start makes of the files it finds.
//!
//! 1. The vote slots: purged, the last truncation, and up to where the log was durable.
//! 2. A truncation that was decided and not finished is finished.
//! 3. Sealed segments must follow each other without a gap; their frames are verified when they
//!    are read.
//! 4. The open segment is read. Behind its last good frame lies nothing, a torn write, or
//!    corruption; `judge` tells them apart. A torn write is cut off.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::catalog::{Catalog, Entry, Kind};
use super::cut::{Cut, read_header};
use super::disk::{Disk, DiskFile};
use super::error::Error;
use super::footer::Footer;
use super::header::{HEADER_BYTES, Header};
use super::layout::{Identity, parse_segment_name, segment_name};
use super::logical::Start;
use super::open::Open;
use super::repair::{judge, make_durable, rewrite};
use super::scan::{Scan, scan};
use super::slots::{self, Record, Slots};
use super::{Options, Recovered};

/// A directory that is ready for the writer.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) slots: Slots,
    pub(super) open: Open,
    pub(super) catalog: Catalog,
    pub(super) logical: Start,
}

pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    options: &Options,
) -> Result<(Opened, Recovered), Error> {
    let started = Instant::now();
    let names = segment_files(&**disk)?;
    let slots = open_slots(disk, options.identity(), !names.is_empty())?;
    let recovery = Recovery {
        disk: disk.clone(),
        identity: options.identity(),
        slots,
        doomed: Vec::new(),
        torn_bytes: 0,
        entries: Vec::new(),
    };
    let (opened, recovered) = recovery.run(names)?;
    info!(
        directory = %options.directory.display(),
        segments = recovered.segments,
        last = recovered.last.map(|p| p.index),
        purged = recovered.purged.map(|p| p.index),
        torn_bytes = recovered.torn_bytes,
        slot_damaged = recovered.slot_damaged,
        elapsed = ?started.elapsed(),
        "opened the log"
    );
    Ok((opened, recovered))
}

/// First index and generation of every segment file, in order.
fn segment_files(disk: &dyn Disk) -> Result<Vec<(u64, u32)>, Error> {
    let names = disk
        .list()
        .map_err(|e| Error::io("list", disk.path(""), e))?;
    let mut files: Vec<_> = names
        .iter()
        .filter_map(|name| parse_segment_name(name))
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// The slots are made before the first segment, so segments without them have lost their vote.
fn open_slots(disk: &Arc<dyn Disk>, identity: Identity, segments: bool) -> Result<Slots, Error> {
    match Slots::open(disk, identity)? {
        Some(slots) => Ok(slots),
        None if !segments => Slots::create(disk, identity),
        None => Err(Error::Corrupt {
            path: disk.path(slots::NAME),
            offset: 0,
            index: 0,
            what: "both vote slots are damaged or missing".into(),
        }),
    }
}

struct Recovery {
    disk: Arc<dyn Disk>,
    identity: Identity,
    slots: Slots,
    /// Files that hold nothing of the log any more.
    doomed: Vec<String>,
    torn_bytes: u64,
    /// The sealed segments that stay.
    entries: Vec<Entry>,
}

impl Recovery {
    fn run(mut self, files: Vec<(u64, u32)>) -> Result<(Opened, Recovered), Error> {
        let files = self.drop_cut_off(files)?;
        let mut headers = self.read_headers(files)?;
        self.drop_obsolete(&mut headers)?;
        self.finish_cut(&headers)?;
        self.check_sealed(&headers)?;
        let (open, entry) = match headers.pop() {
            Some(header) => self.open_last(header)?,
            None => self.begin(self.first_header()?)?,
        };
        self.finish(open, entry)
    }

    fn record(&self) -> &Record {
        &self.slots.record
    }

    fn corrupt(&self, header: &Header, offset: u64, index: u64, what: impl Into<String>) -> Error {
        let path = self
            .disk
            .path(&segment_name(header.base, header.generation));
        Error::Corrupt {
            path,
            offset,
            index,
            what: what.into(),
        }
    }

    fn open_file(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error> {
        self.disk
            .open(name)
            .map_err(|e| Error::io("open", self.disk.path(name), e))
    }

    /// Segments from before the last truncation that lie wholly beyond it, and that it did not
    /// come to unlink; all of them if what it kept was purged.
    fn drop_cut_off(&mut self, files: Vec<(u64, u32)>) -> Result<Vec<(u64, u32)>, Error> {
        let Record {
            cut_end,
            cut_generation,
            ..
        } = *self.record();
        let purged = cut_end <= self.record().purged_end();
        let cut_off = |&(base, generation): &(u64, u32)| {
            generation < cut_generation && (base >= cut_end || purged)
        };
        let (gone, kept): (Vec<_>, Vec<_>) = files.into_iter().partition(cut_off);
        for (base, generation) in gone {
            self.unlink(&segment_name(base, generation))?;
        }
        Ok(kept)
    }

    fn unlink(&self, name: &str) -> Result<(), Error> {
        self.disk
            .unlink(name)
            .map_err(|e| Error::io("unlink", self.disk.path(name), e))
    }

    fn read_headers(&self, mut files: Vec<(u64, u32)>) -> Result<Vec<Header>, Error> {
        if let Some(&(base, generation)) = files.last()
            && self.is_stillborn(base, generation)?
        {
            self.unlink(&segment_name(base, generation))?;
            files.pop();
        }
        files
            .into_iter()
            .map(|(base, generation)| self.header(base, generation))
            .collect()
    }

    /// A crash in the middle of making a segment leaves a file without a valid header. It can't
    /// hold frames, since these are written after the header is durable.
    fn is_stillborn(&self, base: u64, generation: u32) -> Result<bool, Error> {
        let name = segment_name(base, generation);
        let file = self.open_file(&name)?;
        let error = |e| Error::io("read", self.disk.path(&name), e);
        let short = file.len().map_err(error)? <= HEADER_BYTES;
        let damaged = Header::read(&*file).map_err(error)? == Err(super::header::Unusable::Damaged);
        Ok(short && damaged && self.record().durable_end <= base)
    }

    fn header(&self, base: u64, generation: u32) -> Result<Header, Error> {
        let name = segment_name(base, generation);
        let header = read_header(&*self.disk, &*self.open_file(&name)?, &name)?;
        let path = self.disk.path(&name);
        if header.identity.cluster != self.identity.cluster {
            return Err(Error::Foreign {
                path,
                what: "cluster",
            });
        }
        if header.identity.node != self.identity.node {
            return Err(Error::Foreign { path, what: "node" });
        }
        if (header.base, header.generation) != (base, generation) {
            return Err(self.corrupt(&header, 0, base, "the file was renamed"));
        }
        Ok(header)
    }

    /// Leaves out what lies before a beginning or was purged as a whole, and checks that nothing
    /// else is missing before the first segment that stays.
    fn drop_obsolete(&mut self, headers: &mut Vec<Header>) -> Result<(), Error> {
        let purged_end = self.record().purged_end();
        let begins = |h: &Header| h.previous.is_none() || h.base <= purged_end;
        let keep = headers.iter().rposition(begins).unwrap_or(0);
        for header in headers.drain(..keep) {
            self.doomed
                .push(segment_name(header.base, header.generation));
        }
        let Some(first) = headers.first().filter(|first| !begins(first)) else {
            return Ok(());
        };
        if !self.slots.damaged {
            return Err(self.corrupt(first, 0, purged_end, "the segment before it is missing"));
        }
        // The slot that told of the purge is the one that was lost.
        self.slots.record.purged = first.previous;
        Ok(())
    }

    /// Cuts the segment into which the last truncation fell, if that was not done.
    fn finish_cut(&self, headers: &[Header]) -> Result<(), Error> {
        let Record {
            cut_end,
            cut_generation,
            ..
        } = *self.record();
        let older = headers.iter().rev().find(|h| h.generation < cut_generation);
        let Some(header) = older else { return Ok(()) };
        let footer = self.footer(header)?;
        if footer.as_ref().is_some_and(|f| f.last.index < cut_end) {
            return Ok(());
        }
        let frames_end = footer.map(|f| f.frames_end);
        Cut::plan(
            &self.disk,
            (header.base, header.generation),
            frames_end,
            cut_end,
        )?
        .execute()
    }

    fn footer(&self, header: &Header) -> Result<Option<Footer>, Error> {
        let name = segment_name(header.base, header.generation);
        let file = self.open_file(&name)?;
        Footer::read(&*file, header.seed()).map_err(|e| Error::io("read", self.disk.path(&name), e))
    }

    /// Every segment but the last is sealed and ends where the next begins.
    fn check_sealed(&mut self, headers: &[Header]) -> Result<(), Error> {
        for pair in headers.windows(2) {
            let [header, next] = pair else { continue };
            let Some(footer) = self.footer(header)? else {
                let what = "its footer is damaged, though a later segment exists";
                return Err(self.corrupt(header, HEADER_BYTES, header.base, what));
            };
            if next.base != footer.last.index + 1 || next.previous != Some(footer.last) {
                let what = format!("it does not follow frame {}", footer.last.index);
                return Err(self.corrupt(next, 0, next.base, what));
            }
            self.entries.push(sealed_entry(header, &footer));
        }
        Ok(())
    }

    /// The header of the segment with which an empty directory begins.
    fn first_header(&self) -> Result<Header, Error> {
        let record = self.record();
        let header = Header {
            identity: self.identity,
            generation: record.cut_generation.max(1),
            base: record.purged_end(),
            previous: record.purged,
        };
        if record.durable_end > header.base {
            return Err(self.corrupt(&header, 0, header.base, "all segments are missing"));
        }
        Ok(header)
    }

    fn begin(&self, header: Header) -> Result<(Open, Entry), Error> {
        let open = Open::create(&self.disk, header)?;
        let entry = open.entry(Vec::new());
        Ok((open, entry))
    }

    /// Opens the last segment, or begins the next if it is sealed, full, or purged.
    fn open_last(&mut self, header: Header) -> Result<(Open, Entry), Error> {
        let name = segment_name(header.base, header.generation);
        let file = self.open_file(&name)?;
        if let Some(footer) = self.footer(&header)? {
            let (end, file_bytes) = (footer.last.index + 1, footer.file_bytes());
            if self.record().durable_end > end.max(self.record().purged_end()) {
                let what = "the next segment is missing";
                return Err(self.corrupt(&header, file_bytes, end, what));
            }
            rewrite(&*file, footer.frames_end, file_bytes)
                .map_err(|e| Error::io("repair", self.disk.path(&name), e))?;
            return self.after_sealed(&header, &footer);
        }
        let scan = self.scan_open(&header, &*file)?;
        if scan.end < self.record().purged_end() {
            return self.after_purge(&header);
        }
        make_durable(&*file, &header, &scan, self.record().durable_end)
            .map_err(|e| Error::io("repair", self.disk.path(&name), e))?;
        self.resume(header, file, scan)
    }

    fn resume(
        &mut self,
        header: Header,
        file: Arc<dyn DiskFile>,
        scan: Scan,
    ) -> Result<(Open, Entry), Error> {
        let open = Open::resume(&self.disk, file, header.clone(), &scan);
        if !scan.full {
            let entry = open.entry(scan.points);
            return Ok((open, entry));
        }
        open.seal(&scan.points)?;
        match self.footer(&header)? {
            Some(footer) => self.after_sealed(&header, &footer),
            None => Err(self.corrupt(&header, scan.frames_end, scan.end, "it can't be sealed")),
        }
    }

    /// Reads the open segment and cuts a torn write off.
    fn scan_open(&mut self, header: &Header, file: &dyn DiskFile) -> Result<Scan, Error> {
        let path = self
            .disk
            .path(&segment_name(header.base, header.generation));
        let error = |e| Error::io("read", path.clone(), e);
        let len = file.len().map_err(error)?;
        let scan = scan(file, header, len, u64::MAX).map_err(error)?;
        if let Some(proof) = judge(&scan, self.record(), header, file, len).map_err(error)? {
            let what = format!("{}, and {proof}", scan.bad.unwrap_or("the file ends early"));
            return Err(self.corrupt(header, scan.frames_end, scan.end, what));
        }
        if scan.frames_end < len {
            self.torn_bytes = len - scan.frames_end;
            file.set_len(scan.frames_end).map_err(error)?;
        }
        Ok(scan)
    }

    fn after_sealed(&mut self, header: &Header, footer: &Footer) -> Result<(Open, Entry), Error> {
        if footer.last.index + 1 < self.record().purged_end() {
            return self.after_purge(header);
        }
        self.entries.push(sealed_entry(header, footer));
        self.begin(Header {
            base: footer.last.index + 1,
            previous: Some(footer.last),
            ..self.newer(header)
        })
    }

    /// The log was purged beyond its end, and the segment that begins there was not made.
    fn after_purge(&mut self, header: &Header) -> Result<(Open, Entry), Error> {
        self.doomed
            .push(segment_name(header.base, header.generation));
        self.doomed
            .extend(self.entries.drain(..).map(|entry| entry.name));
        let record = self.record();
        let (base, previous) = (record.purged_end(), record.purged);
        self.begin(Header {
            base,
            previous,
            ..self.newer(header)
        })
    }

    fn newer(&self, header: &Header) -> Header {
        let generation = header.generation.max(self.record().cut_generation);
        Header {
            generation,
            ..header.clone()
        }
    }

    fn finish(mut self, open: Open, entry: Entry) -> Result<(Opened, Recovered), Error> {
        let end = open.end();
        let record = &mut self.slots.record;
        record.durable_end = end;
        record.committed = record.committed.filter(|committed| committed.index < end);
        self.slots.write()?;
        for name in &self.doomed {
            self.unlink(name)?;
        }
        let disk = &self.disk;
        disk.sync_directory()
            .map_err(|e| Error::io("sync", disk.path(""), e))?;
        self.entries.push(entry);
        let record = &self.slots.record;
        let logical = Start {
            purged: record.purged,
            last: open.last(),
            end,
            bases: self.entries.iter().map(|entry| entry.base).collect(),
            open_bytes: open.offset(),
        };
        let recovered = Recovered {
            vote: record.vote.clone(),
            committed: record.committed,
            purged: record.purged,
            last: open.last(),
            segments: self.entries.len(),
            torn_bytes: self.torn_bytes,
            slot_damaged: self.slots.damaged,
        };
        let catalog = Catalog::new(self.entries);
        Ok((
            Opened {
                slots: self.slots,
                open,
                catalog,
                logical,
            },
            recovered,
        ))
    }
}

fn sealed_entry(header: &Header, footer: &Footer) -> Entry {
    Entry {
        name: segment_name(header.base, header.generation),
        base: header.base,
        generation: header.generation,
        last: Some(footer.last),
        frames_end: footer.frames_end,
        bytes: footer.file_bytes(),
        kind: Kind::Sealed { points: None },
    }
}
