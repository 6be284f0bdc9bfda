//! What a start makes of the files it finds.
//!
//! 1. The vote slots: purged, the last truncation, and up to where the log was durable.
//! 2. A truncation that was decided and not finished is finished.
//! 3. Sealed segments must follow each other without a gap; their frames are verified when they
//!    are read.
//! 4. The open segment is read. Behind its last good frame lies nothing, a torn write, or
//!    corruption; `judge` tells them apart. A torn write is overwritten with zeros, so that
//!    nothing of it can ever be taken for a frame.
//! 5. Files that wait to be segments are kept for the keeper, half-made ones are removed.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::catalog::{Catalog, Entry, Kind};
use super::cut::{Cut, read_header};
use super::disk::{Disk, DiskFile, write_zeros};
use super::error::Error;
use super::footer::Footer;
use super::header::{HEADER_BYTES, Header};
use super::layout::{
    Identity, is_unfinished, parse_segment_name, parse_spare_name, segment_name, spare_name,
};
use super::logical::Start;
use super::open::Open;
use super::repair::{End, judge, make_durable, rewrite};
use super::scan::{Scan, scan};
use super::slots::{self, Record, Slots};
use super::spare::{Pool, Spare};
use super::{Options, Recovered};

/// A directory that is ready for the writer.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) slots: Slots,
    pub(super) open: Open,
    pub(super) catalog: Catalog,
    pub(super) pool: Pool,
    pub(super) logical: Start,
    /// The open segment is full, and the next has not begun.
    pub(super) roll_is_due: bool,
}

pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    options: &Options,
) -> Result<(Opened, Recovered), Error> {
    let started = Instant::now();
    let files = Files::list(&**disk)?;
    let slots = open_slots(disk, options.identity(), !files.segments.is_empty())?;
    let recovery = Recovery {
        disk: disk.clone(),
        identity: options.identity(),
        pool: files.pool(disk, options, &slots.record)?,
        slots,
        segment_bytes: options.segment_bytes,
        doomed: Vec::new(),
        torn_bytes: 0,
        cut_finished: false,
        spare_used: false,
        roll_is_due: false,
        entries: Vec::new(),
    };
    let (opened, recovered) = recovery.run(files.segments)?;
    info!(
        directory = %options.directory.display(),
        segments = recovered.segments,
        spares = recovered.spares,
        last = recovered.last.map(|p| p.index),
        purged = recovered.purged.map(|p| p.index),
        found = %recovered.found(),
        elapsed = ?started.elapsed(),
        "opened the log"
    );
    Ok((opened, recovered))
}

/// What lies in the directory: first index and generation of every file, in order.
struct Files {
    segments: Vec<(u64, u32)>,
    spares: Vec<(u64, u32)>,
    unfinished: Vec<String>,
}

impl Files {
    fn list(disk: &dyn Disk) -> Result<Self, Error> {
        let names = disk
            .list()
            .map_err(|e| Error::io("list", disk.path(""), e))?;
        let numbers = |parse: fn(&str) -> Option<(u64, u32)>| {
            let mut files: Vec<_> = names.iter().filter_map(|name| parse(name)).collect();
            files.sort_unstable();
            files
        };
        let (segments, spares) = (numbers(parse_segment_name), numbers(parse_spare_name));
        let unfinished = names.into_iter().filter(|name| is_unfinished(name));
        Ok(Self {
            segments,
            spares,
            unfinished: unfinished.collect(),
        })
    }

    /// The files that can become segments, and the highest generation of all.
    fn pool(
        &self,
        disk: &Arc<dyn Disk>,
        options: &Options,
        record: &Record,
    ) -> Result<Pool, Error> {
        for name in &self.unfinished {
            disk.unlink(name)
                .map_err(|e| Error::io("unlink", disk.path(name), e))?;
        }
        let files = self.segments.iter().chain(&self.spares);
        let generation = files.map(|(_, generation)| *generation).max();
        let generation = generation.unwrap_or_default().max(record.cut_generation);
        let mut pool = Pool::new(options.segment_bytes, options.spare_segments, generation);
        for &(base, generation) in &self.spares {
            let name = spare_name(base, generation);
            let bytes = disk.open(&name).and_then(|file| file.len());
            let bytes = bytes.map_err(|e| Error::io("read", disk.path(&name), e))?;
            if pool.fits(bytes) && pool.lacks(true) {
                pool.add(Spare { name, bytes });
            } else {
                pool.retire(name, bytes);
            }
        }
        Ok(pool)
    }
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
    pool: Pool,
    segment_bytes: u64,
    /// Files that hold nothing of the log any more.
    doomed: Vec<String>,
    torn_bytes: u64,
    cut_finished: bool,
    spare_used: bool,
    /// The last segment is full, and the next has not begun.
    roll_is_due: bool,
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
            None => {
                let header = self.first_header()?;
                self.begin(header)?
            }
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

    fn read_headers(&self, files: Vec<(u64, u32)>) -> Result<Vec<Header>, Error> {
        files
            .into_iter()
            .map(|(base, generation)| self.header(base, generation))
            .collect()
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
    fn finish_cut(&mut self, headers: &[Header]) -> Result<(), Error> {
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
        self.cut_finished = true;
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
            generation: 0,
            base: record.purged_end(),
            previous: record.purged,
        };
        if record.durable_end > header.base {
            return Err(self.corrupt(&header, 0, header.base, "all segments are missing"));
        }
        Ok(header)
    }

    /// Begins a segment, whatever generation the given header has.
    fn begin(&mut self, header: Header) -> Result<(Open, Entry), Error> {
        let header = Header {
            generation: self.pool.next_generation(),
            ..header
        };
        let open = match self.pool.take()? {
            Some(spare) => {
                self.spare_used = true;
                Open::begin(&self.disk, header, &spare)?
            }
            None => Open::create(&self.disk, header, self.segment_bytes)?,
        };
        self.pool.wanted = false;
        let entry = open.entry(Vec::new());
        Ok((open, entry))
    }

    /// Opens the last segment, or begins the next if it is sealed, full, or purged.
    fn open_last(&mut self, header: Header) -> Result<(Open, Entry), Error> {
        let name = segment_name(header.base, header.generation);
        let file = self.open_file(&name)?;
        if let Some(footer) = self.footer(&header)? {
            let (end, file_bytes) = (footer.last.index + 1, footer.file_bytes);
            if self.record().durable_end > end.max(self.record().purged_end()) {
                let what = "the next segment is missing";
                return Err(self.corrupt(&header, file_bytes, end, what));
            }
            rewrite(&*file, footer.start().unwrap_or_default(), file_bytes)
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

    /// A segment that is full is left to the writer, which begins the next when it has a file
    /// for it: a start does not need space for that.
    fn resume(
        &mut self,
        header: Header,
        file: Arc<dyn DiskFile>,
        scan: Scan,
    ) -> Result<(Open, Entry), Error> {
        let path = || {
            self.disk
                .path(&segment_name(header.base, header.generation))
        };
        let bytes = file.len().map_err(|e| Error::io("read", path(), e))?;
        self.roll_is_due = scan.full;
        let open = Open::resume(&self.disk, file, header, &scan, bytes);
        let entry = open.entry(scan.points);
        Ok((open, entry))
    }

    /// Reads the open segment and removes a torn write. `make_durable` syncs that.
    fn scan_open(&mut self, header: &Header, file: &dyn DiskFile) -> Result<Scan, Error> {
        let path = self
            .disk
            .path(&segment_name(header.base, header.generation));
        let error = |e| Error::io("read", path.clone(), e);
        let len = file.len().map_err(error)?;
        let scan = scan(file, header, len, u64::MAX).map_err(error)?;
        match judge(&scan, self.record(), header, file, len).map_err(error)? {
            End::Clean => {}
            End::Torn(end) => {
                self.torn_bytes = end - scan.frames_end;
                write_zeros(file, scan.frames_end, end).map_err(error)?;
            }
            End::Corrupt(proof) => {
                let what = format!("{}, and {proof}", scan.bad.unwrap_or("the file ends early"));
                return Err(self.corrupt(header, scan.frames_end, scan.end, what));
            }
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
            ..header.clone()
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
            ..header.clone()
        })
    }

    fn finish(mut self, open: Open, entry: Entry) -> Result<(Opened, Recovered), Error> {
        let end = open.end();
        let record = &mut self.slots.record;
        record.durable_end = end;
        record.committed = record.committed.filter(|committed| committed.index < end);
        self.slots.write()?;
        let disk = &self.disk;
        for name in self.doomed {
            let bytes = disk.open(&name).and_then(|file| file.len());
            self.pool.retire(name, bytes.unwrap_or_default());
        }
        disk.sync_directory()
            .map_err(|e| Error::sync(disk.path(""), e))?;
        self.entries.push(entry);
        let record = &self.slots.record;
        let mut logical = Start {
            purged: record.purged,
            last: open.last(),
            end,
            bases: self.entries.iter().map(|entry| entry.base).collect(),
            open_bytes: open.offset(),
        };
        if self.roll_is_due {
            logical.bases.insert(end);
            logical.open_bytes = HEADER_BYTES;
        }
        let recovered = Recovered {
            vote: record.vote.clone(),
            committed: record.committed,
            purged: record.purged,
            last: open.last(),
            segments: self.entries.len(),
            torn_bytes: self.torn_bytes,
            slot_damaged: self.slots.damaged,
            cut_finished: self.cut_finished,
            spare_used: self.spare_used,
            spares: self.pool.ready(),
        };
        let catalog = Catalog::new(self.entries);
        Ok((
            Opened {
                slots: self.slots,
                open,
                catalog,
                pool: self.pool,
                logical,
                roll_is_due: self.roll_is_due,
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
        bytes: footer.file_bytes,
        kind: Kind::Sealed { points: None },
    }
}
