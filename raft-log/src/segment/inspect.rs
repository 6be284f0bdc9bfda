//! Looks at a log directory from outside, while no node has it open. Changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use super::cut::read_header;
use super::disk::{Directory, Disk};
use super::error::Error;
use super::footer::Footer;
use super::header::{HEADER_BYTES, Header};
use super::layout::{is_unfinished, parse_segment_name, parse_spare_name, segment_name};
use super::repair::{End, judge};
use super::scan::scan;
use super::scrub::first_bad;
use super::slots::{self, Record};
use super::walk::{Step, Walk};
use super::{LogPosition, read};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Headers and footers, and all of the open segment.
    Shape,
    /// Every frame and every checksum.
    Frames,
}

/// What a log directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    pub directory: PathBuf,
    /// Cluster and node whose log this is, as far as anything says so.
    pub owner: Option<(u128, u128)>,
    pub slots: Option<SlotsFound>,
    pub segments: Vec<SegmentFound>,
    pub spares: Vec<FileFound>,
    /// Files that were being made.
    pub unfinished: Vec<FileFound>,
    /// In the order of the log. The first is the first bad place.
    pub problems: Vec<Problem>,
}

/// The newest record of the vote slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotsFound {
    /// One of the two can't be read.
    pub one_damaged: bool,
    pub sequence: u64,
    pub vote: Option<Vec<u8>>,
    pub purged: Option<LogPosition>,
    pub committed: Option<LogPosition>,
    /// Every index below it was on the disk.
    pub durable_end: u64,
    /// Where the last truncation cut.
    pub cut_end: u64,
    pub cut_generation: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFound {
    pub file: String,
    pub kind: SegmentKind,
    pub generation: u32,
    pub first_index: u64,
    /// `None` while it holds no frame.
    pub last: Option<LogPosition>,
    /// Term of the first frame.
    pub first_term: Option<u64>,
    /// Up to the end of the last frame.
    pub used_bytes: u64,
    pub bytes: u64,
    /// Left behind its end by a write that was never acknowledged.
    pub torn_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    Sealed,
    Open,
    /// All of it was purged, or cut off; the next start removes it.
    Obsolete,
    Damaged,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFound {
    pub file: String,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub offset: u64,
    pub index: u64,
    pub what: String,
}

/// Looks at the log in `directory`, which is that of the segments or one above it.
///
/// # Errors
/// [`Error::Locked`] when a process has it open and that is not allowed for by `while_running`;
/// then nothing is said of the open segment and the vote slots, which change. [`Error::Io`] when
/// there is no log or it can't be read. What is damaged is no error but a [`Problem`].
pub fn inspect(directory: &Path, depth: Depth, while_running: bool) -> Result<Inspection, Error> {
    let directory = find(directory)?;
    let disk = Directory::read_only(&directory);
    let _lock = match while_running {
        true => None,
        false => Some(disk.lock()?),
    };
    let names = disk
        .list()
        .map_err(|e| Error::io("list", directory.clone(), e))?;
    let mut inspector = Inspector {
        disk,
        depth,
        while_running,
        record: Record::default(),
        found: Inspection {
            directory,
            ..Inspection::default()
        },
    };
    inspector.slots(&names)?;
    inspector.files(&names)?;
    Ok(inspector.found)
}

fn find(directory: &Path) -> Result<PathBuf, Error> {
    let places = [
        directory.to_owned(),
        directory.join("segments"),
        directory.join("log/segments"),
    ];
    let is_log = |path: &&PathBuf| {
        let names = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.any(|name| name == slots::NAME || parse_segment_name(&name).is_some())
    };
    places.iter().find(is_log).cloned().ok_or_else(|| {
        let what = "there are no log files; give the data directory of a node";
        let source = io::Error::new(io::ErrorKind::NotFound, what);
        Error::io("find a log in", directory.to_owned(), source)
    })
}

struct Inspector {
    disk: Directory,
    depth: Depth,
    while_running: bool,
    record: Record,
    found: Inspection,
}

impl Inspector {
    fn problem(&mut self, file: &str, (offset, index): (u64, u64), what: impl Into<String>) {
        self.found.problems.push(Problem {
            file: file.into(),
            offset,
            index,
            what: what.into(),
        });
    }

    fn slots(&mut self, names: &[String]) -> Result<(), Error> {
        let missing = !names.iter().any(|name| name == slots::NAME);
        let error = |e| Error::io("read", self.disk.path(slots::NAME), e);
        let found = match missing {
            true => None,
            false => Some(slots::look(&self.disk).map_err(error)?),
        };
        let damaged = found.as_ref().map_or(2, |found| found.damaged);
        let Some((identity, sequence, record)) = found.and_then(|found| found.newest) else {
            if !self.while_running {
                self.problem(
                    slots::NAME,
                    (0, 0),
                    "both vote slots are damaged or missing",
                );
            }
            return Ok(());
        };
        self.found.owner = Some((identity.cluster, identity.node));
        self.found.slots = Some(SlotsFound {
            one_damaged: damaged > 0,
            sequence,
            vote: record.vote.clone(),
            purged: record.purged,
            committed: record.committed,
            durable_end: record.durable_end,
            cut_end: record.cut_end,
            cut_generation: record.cut_generation,
        });
        self.record = record;
        Ok(())
    }

    fn files(&mut self, names: &[String]) -> Result<(), Error> {
        let mut segments = Vec::new();
        for name in names {
            let bytes = || self.disk.open(name).and_then(|file| file.len());
            let found = |bytes| FileFound {
                file: name.clone(),
                bytes,
            };
            if let Some(segment) = parse_segment_name(name) {
                segments.push(segment);
            } else if parse_spare_name(name).is_some() {
                self.found.spares.extend(bytes().ok().map(found));
            } else if is_unfinished(name) {
                self.found.unfinished.extend(bytes().ok().map(found));
            }
        }
        segments.sort_unstable();
        let mut previous: Option<SegmentFound> = None;
        for (at, &(base, generation)) in segments.iter().enumerate() {
            let last = at + 1 == segments.len();
            let Some((segment, header)) = self.segment((base, generation), last)? else {
                previous = None;
                continue;
            };
            if let (Some(before), Some(header)) = (&previous, &header) {
                self.check_follows(before, header, &segment.file);
            }
            let counts = !matches!(segment.kind, SegmentKind::Obsolete | SegmentKind::Damaged);
            previous = counts.then(|| segment.clone());
            self.found.segments.push(segment);
        }
        self.check_end(segments.is_empty());
        Ok(())
    }

    fn check_follows(&mut self, before: &SegmentFound, header: &Header, file: &str) {
        if header.previous != before.last {
            let index = before.last.map_or(before.first_index, |last| last.index);
            let what = format!("it does not follow frame {index} of the segment before it");
            self.problem(file, (0, header.base), what);
        }
    }

    /// Whether the log reaches as far as it is known to have.
    fn check_end(&mut self, empty: bool) {
        let last = self.found.segments.last();
        let end = last.map_or(0, |s| s.last.map_or(s.first_index, |last| last.index + 1));
        let durable_end = self.record.durable_end;
        let told = !self.found.problems.is_empty() || self.while_running;
        if !told && durable_end > end.max(self.record.purged_end()) {
            let what = match empty {
                true => "all segments are missing",
                false => "the vote slots say that later frames were durable",
            };
            let file = last.map_or(String::new(), |segment| segment.file.clone());
            self.problem(&file, (0, end), what);
        }
    }

    /// `None` if the segment has gone meanwhile.
    fn segment(
        &mut self,
        (base, generation): (u64, u32),
        last: bool,
    ) -> Result<Option<(SegmentFound, Option<Header>)>, Error> {
        let file = segment_name(base, generation);
        let mut found = SegmentFound {
            file: file.clone(),
            kind: SegmentKind::Damaged,
            generation,
            first_index: base,
            last: None,
            first_term: None,
            used_bytes: HEADER_BYTES,
            bytes: 0,
            torn_bytes: 0,
        };
        match self.look(&mut found, last) {
            Ok(header) => Ok(Some((found, header))),
            Err(Error::Io { source, .. })
                if self.while_running && source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(Error::Corrupt {
                offset,
                index,
                what,
                ..
            }) => {
                self.problem(&file, (offset, index), what);
                Ok(Some((found, None)))
            }
            Err(Error::Io { source, .. }) => {
                self.problem(&file, (0, base), format!("it can't be read: {source}"));
                Ok(Some((found, None)))
            }
            Err(error) => Err(error),
        }
    }

    fn look(&mut self, found: &mut SegmentFound, last: bool) -> Result<Option<Header>, Error> {
        let path = self.disk.path(&found.file);
        let error = |e| Error::io("read", path.clone(), e);
        let file = self.disk.open(&found.file).map_err(error)?;
        found.bytes = file.len().map_err(error)?;
        let header = read_header(&self.disk, &*file, &found.file)?;
        if (header.base, header.generation) != (found.first_index, found.generation) {
            let file = found.file.clone();
            self.problem(&file, (0, found.first_index), "the file was renamed");
            return Ok(None);
        }
        let owner = (header.identity.cluster, header.identity.node);
        if *self.found.owner.get_or_insert(owner) != owner {
            let file = found.file.clone();
            self.problem(&file, (0, found.first_index), "it belongs to another node");
            return Ok(None);
        }
        found.first_term = first_term(&*file, &header).map_err(error)?;
        match Footer::read(&*file, header.seed()).map_err(error)? {
            Some(footer) => self.look_sealed(found, &*file, &footer).map_err(error)?,
            None if last => self.look_open(found, &*file, &header).map_err(error)?,
            None => {
                let file = found.file.clone();
                if self.is_obsolete(found) {
                    found.kind = SegmentKind::Obsolete;
                } else {
                    let what = "its footer is damaged, though a later segment exists";
                    self.problem(&file, (found.bytes, found.first_index), what);
                }
                return Ok(None);
            }
        }
        if self.is_obsolete(found) {
            found.kind = SegmentKind::Obsolete;
        }
        Ok(Some(header))
    }

    /// What was purged as a whole, or cut off and not removed, or is to be cut by the next start.
    fn is_obsolete(&self, found: &SegmentFound) -> bool {
        let record = &self.record;
        let purged = record.purged_end();
        let old = found.generation < record.cut_generation;
        let cut = old && (found.first_index >= record.cut_end || record.cut_end <= purged);
        let spans = old && found.last.is_some_and(|last| last.index >= record.cut_end);
        cut || spans || found.last.is_some_and(|last| last.index < purged)
    }

    fn look_sealed(
        &mut self,
        found: &mut SegmentFound,
        file: &dyn super::disk::DiskFile,
        footer: &Footer,
    ) -> io::Result<()> {
        found.kind = SegmentKind::Sealed;
        found.last = Some(footer.last);
        found.used_bytes = footer.frames_end;
        if self.depth == Depth::Shape {
            return Ok(());
        }
        let bad = match first_bad(file, footer)? {
            Some(bad) => Some(bad),
            None => read::compare(file, footer)?
                .map(|(offset, what)| (offset, found.first_index, what.to_owned())),
        };
        if let Some((offset, index, what)) = bad {
            found.kind = SegmentKind::Damaged;
            let file = found.file.clone();
            self.problem(&file, (offset, index), what);
        }
        Ok(())
    }

    fn look_open(
        &mut self,
        found: &mut SegmentFound,
        file: &dyn super::disk::DiskFile,
        header: &Header,
    ) -> io::Result<()> {
        let len = found.bytes;
        let scan = scan(file, header, len, u64::MAX)?;
        found.kind = SegmentKind::Open;
        found.last = scan.last;
        found.used_bytes = scan.frames_end;
        if self.while_running {
            return Ok(());
        }
        match judge(&scan, &self.record, header, file, len)? {
            End::Clean => {}
            End::Torn(end) => found.torn_bytes = end - scan.frames_end,
            End::Corrupt(proof) => {
                found.kind = SegmentKind::Damaged;
                let what = scan.bad.unwrap_or("the file ends early");
                let what = format!("{what}, and {proof}");
                let file = found.file.clone();
                self.problem(&file, (scan.frames_end, scan.end), what);
            }
        }
        Ok(())
    }
}

fn first_term(file: &dyn super::disk::DiskFile, header: &Header) -> io::Result<Option<u64>> {
    let start = (header.base, HEADER_BYTES);
    let (seed, crc) = (header.seed(), Some(header.crc()));
    let mut walk = Walk::new(file, seed, start, file.len()?, crc, 4096);
    Ok(match walk.step()? {
        Step::Frame(walked) => Some(walked.head.term),
        Step::End | Step::Bad(_) => None,
    })
}
