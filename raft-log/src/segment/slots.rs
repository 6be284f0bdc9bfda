//! `vote.slots`: two records of 4 KiB, written in turn, of which the newer valid one counts.
//!
//! ```text
//! offset  size  field                                     (little endian)
//!      0     8  "UPDVOTE1"
//!      8     4  format version
//!     12     4  CRC32C of the other 4092 bytes
//!     16    16  cluster
//!     32    16  node identity
//!     48     8  sequence; record n is in slot n mod 2
//!     56     8  durable end: every index below it is on the disk
//!     64     8  cut end, and
//!     72     4  cut generation: segments of a lower generation end at the cut end
//!     76     4  length of the vote
//!     80     4  flags: 1 = vote, 2 = purged, 4 = committed
//!     84     4  0
//!     88    24  purged: index, term, leader
//!    112    24  committed: index, term, leader
//!    136     n  vote, opaque here
//! ```
//!
//! The record is the log's one point of decision: a truncation or a purge holds from the moment
//! its record is durable, and recovery finishes the work on the files. When the writer is idle
//! it writes once more, so that both slots hold the vote and either may rot.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::LogPosition;
use super::disk::{Disk, DiskFile, read_vec};
use super::error::Error;
use super::layout::{
    FORMAT_VERSION, Identity, crc_around, position_at, put, put_position, u32_at, u64_at, u128_at,
};

/// Largest vote that fits into a slot.
pub const MAX_VOTE_BYTES: usize = SLOT_BYTES - VOTE_AT;

pub(super) const NAME: &str = "vote.slots";
const MAGIC: &[u8; 8] = b"UPDVOTE1";
const SLOT_BYTES: usize = 4096;
const VOTE_AT: usize = 136;
pub(super) const FILE_BYTES: u64 = 2 * SLOT_BYTES as u64;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) vote: Option<Vec<u8>>,
    pub(super) purged: Option<LogPosition>,
    pub(super) committed: Option<LogPosition>,
    pub(super) durable_end: u64,
    pub(super) cut_end: u64,
    pub(super) cut_generation: u32,
}

impl Record {
    /// The first index that was not purged.
    pub(super) fn purged_end(&self) -> u64 {
        self.purged.map_or(0, |p| p.index + 1)
    }
}

/// The file, and the newest record in it. Change `record`, then `write`.
#[derive(Debug)]
pub(super) struct Slots {
    file: Arc<dyn DiskFile>,
    disk: Arc<dyn Disk>,
    identity: Identity,
    sequence: u64,
    pub(super) record: Record,
    /// At least one slot was unreadable when the file was opened.
    pub(super) damaged: bool,
}

impl Slots {
    pub(super) fn create(disk: &Arc<dyn Disk>, identity: Identity) -> Result<Self, Error> {
        Self::try_create(disk, identity).map_err(|e| Error::io("create", disk.path(NAME), e))
    }

    fn try_create(disk: &Arc<dyn Disk>, identity: Identity) -> io::Result<Self> {
        if disk.list()?.iter().any(|name| name == NAME) {
            disk.unlink(NAME)?;
        }
        let file = disk.create(NAME)?;
        let record = Record::default();
        let (zero, one) = (encode(&record, identity, 0), encode(&record, identity, 1));
        file.write_at(&mut [IoSlice::new(&zero), IoSlice::new(&one)], 0)?;
        file.sync_all()?;
        disk.sync_directory()?;
        Ok(Self {
            file,
            disk: disk.clone(),
            identity,
            sequence: 1,
            record,
            damaged: false,
        })
    }

    /// `None` when the file is missing or neither slot can be read.
    pub(super) fn open(disk: &Arc<dyn Disk>, identity: Identity) -> Result<Option<Self>, Error> {
        let error = |e| Error::io("read", disk.path(NAME), e);
        if !disk.list().map_err(error)?.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let file = disk.open(NAME).map_err(error)?;
        let records = [
            read(&*file, 0).map_err(error)?,
            read(&*file, 1).map_err(error)?,
        ];
        let damaged = records.iter().any(Option::is_none);
        let newest = records
            .into_iter()
            .flatten()
            .max_by_key(|bytes| u64_at(bytes, 48));
        let Some(bytes) = newest else { return Ok(None) };
        let (owner, sequence, record) = decode(&bytes).map_err(|found| Error::Version {
            path: disk.path(NAME),
            found,
            known: FORMAT_VERSION,
        })?;
        if owner.cluster != identity.cluster {
            return Err(Error::Foreign {
                path: disk.path(NAME),
                what: "cluster",
            });
        }
        if owner.node != identity.node {
            return Err(Error::Foreign {
                path: disk.path(NAME),
                what: "node",
            });
        }
        Ok(Some(Self {
            file,
            disk: disk.clone(),
            identity,
            sequence,
            record,
            damaged,
        }))
    }

    /// Writes `record` over the older slot, durably. In place, so it needs no space.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        let sequence = self.sequence + 1;
        let bytes = encode(&self.record, self.identity, sequence);
        let offset = (sequence % 2) * SLOT_BYTES as u64;
        self.file
            .write_at(&mut [IoSlice::new(&bytes)], offset)
            .map_err(|e| Error::io("write", self.disk.path(NAME), e))?;
        self.file
            .sync_data()
            .map_err(|e| Error::sync(self.disk.path(NAME), e))?;
        self.sequence = sequence;
        Ok(())
    }
}

/// What can be read of the slots, whoever they belong to.
pub(super) struct Found {
    /// Slots that can't be read.
    pub(super) damaged: usize,
    pub(super) newest: Option<(Identity, u64, Record)>,
}

/// Reads the slots without an expectation.
pub(super) fn look(disk: &dyn Disk) -> io::Result<Found> {
    let file = disk.open(NAME)?;
    let records = [read(&*file, 0)?, read(&*file, 1)?];
    let damaged = records.iter().filter(|record| record.is_none()).count();
    let newest = records
        .into_iter()
        .flatten()
        .max_by_key(|bytes| u64_at(bytes, 48));
    let newest = newest.and_then(|bytes| decode(&bytes).ok());
    Ok(Found { damaged, newest })
}

fn encode(record: &Record, identity: Identity, sequence: u64) -> Vec<u8> {
    let mut bytes = vec![0; SLOT_BYTES];
    let vote = record.vote.as_deref().unwrap_or_default();
    let length = u32::try_from(vote.len()).unwrap_or(u32::MAX);
    let mut flags = u32::from(record.vote.is_some());
    put(&mut bytes, 0, MAGIC);
    put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
    put(&mut bytes, 16, &identity.cluster.to_le_bytes());
    put(&mut bytes, 32, &identity.node.to_le_bytes());
    put(&mut bytes, 48, &sequence.to_le_bytes());
    put(&mut bytes, 56, &record.durable_end.to_le_bytes());
    put(&mut bytes, 64, &record.cut_end.to_le_bytes());
    put(&mut bytes, 72, &record.cut_generation.to_le_bytes());
    put(&mut bytes, 76, &length.to_le_bytes());
    if let Some(purged) = record.purged {
        put_position(&mut bytes, 88, purged);
        flags |= 2;
    }
    if let Some(committed) = record.committed {
        put_position(&mut bytes, 112, committed);
        flags |= 4;
    }
    put(&mut bytes, 80, &flags.to_le_bytes());
    put(&mut bytes, VOTE_AT, vote);
    let crc = crc_around(0, &bytes, 12);
    put(&mut bytes, 12, &crc.to_le_bytes());
    bytes
}

/// The bytes of a slot if they are what was written.
fn read(file: &dyn DiskFile, slot: u64) -> io::Result<Option<Vec<u8>>> {
    let offset = slot * SLOT_BYTES as u64;
    if file.len()? < offset + SLOT_BYTES as u64 {
        return Ok(None);
    }
    let bytes = read_vec(file, offset, SLOT_BYTES)?;
    let valid = bytes[..8] == *MAGIC && crc_around(0, &bytes, 12) == u32_at(&bytes, 12);
    Ok(valid.then_some(bytes))
}

/// Owner, sequence and record of valid bytes; the version if it is not ours.
fn decode(bytes: &[u8]) -> Result<(Identity, u64, Record), u32> {
    if u32_at(bytes, 8) != FORMAT_VERSION {
        return Err(u32_at(bytes, 8));
    }
    let identity = Identity {
        cluster: u128_at(bytes, 16),
        node: u128_at(bytes, 32),
    };
    let flags = u32_at(bytes, 80);
    let vote_end = (VOTE_AT + u32_at(bytes, 76) as usize).min(SLOT_BYTES);
    let record = Record {
        vote: (flags & 1 != 0).then(|| bytes[VOTE_AT..vote_end].to_vec()),
        purged: (flags & 2 != 0).then(|| position_at(bytes, 88)),
        committed: (flags & 4 != 0).then(|| position_at(bytes, 112)),
        durable_end: u64_at(bytes, 56),
        cut_end: u64_at(bytes, 64),
        cut_generation: u32_at(bytes, 72),
    };
    Ok((identity, u64_at(bytes, 48), record))
}
