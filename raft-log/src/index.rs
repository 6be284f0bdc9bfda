//! Where each record stands: offset → entry of the log and envelope in it, in sled.
//!
//! Everything here follows from the log's entries. It is written as they are applied and tagged
//! with the index of the last one, in the same atomic batch; a start goes on from a checkpoint
//! that is not newer than the tag and applies the rest again. What sled loses or can't open is
//! built again in the same way, so it needs no fsync of its own.
//!
//! ```text
//! key                          value
//! "a"                          applied log index, u64 big endian
//! "o" offset u64 big endian    postcard: log index, Placed
//! ```

use std::ops::Range;
use std::path::Path;

use proto::Nanos;

use crate::state::Placed;

const APPLIED: &[u8] = b"a";
const OFFSET: u8 = b'o';
/// Keys that are removed at once.
const FORGOTTEN: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Index {
    db: sled::Db,
}

#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("offset index: {0}")]
    Sled(#[from] sled::Error),
    #[error("offset index: {0}")]
    Postcard(#[from] postcard::Error),
    #[error("move the damaged offset index aside: {0}")]
    Aside(std::io::Error),
}

impl Index {
    /// Opens the index; one that does not open is moved aside and starts empty.
    pub(crate) fn open(directory: &Path, cache_bytes: usize) -> Result<Index, IndexError> {
        match Self::open_existing(directory, cache_bytes) {
            Ok(index) => Ok(index),
            Err(error) => {
                let aside = directory.with_extension("damaged");
                tracing::warn!(%error, aside = %aside.display(), "offset index does not open, building it again");
                // One damaged copy is enough to look at.
                let _ = std::fs::remove_dir_all(&aside);
                std::fs::rename(directory, &aside).map_err(IndexError::Aside)?;
                Self::open_existing(directory, cache_bytes)
            }
        }
    }

    fn open_existing(directory: &Path, cache_bytes: usize) -> Result<Index, IndexError> {
        let db = sled::Config::new()
            .path(directory)
            .cache_capacity(cache_bytes as u64)
            .flush_every_ms(Some(1000))
            .mode(sled::Mode::LowSpace)
            .open()?;
        Ok(Index { db })
    }

    /// Index of the last entry that is surely in here.
    pub(crate) fn applied(&self) -> Result<Option<u64>, IndexError> {
        let value = self.db.get(APPLIED)?;
        Ok(value.and_then(|bytes| bytes.as_ref().try_into().ok().map(u64::from_be_bytes)))
    }

    pub(crate) fn record(&self, log_index: u64, placed: &[Placed]) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for place in placed {
            batch.insert(
                &key(place.offset),
                postcard::to_stdvec(&(log_index, place))?,
            );
        }
        batch.insert(APPLIED, &log_index.to_be_bytes());
        Ok(self.db.apply_batch(batch)?)
    }

    /// The envelopes from the one that holds `offset` on, with the log index of their entries.
    pub(crate) fn from(&self, offset: u64, limit: usize) -> Result<Vec<(u64, Placed)>, IndexError> {
        let holding = self
            .db
            .range(key(0)..=key(offset))
            .next_back()
            .transpose()?;
        let start = holding.map_or_else(|| key(offset).to_vec(), |(key, _)| key.to_vec());
        let mut found = Vec::new();
        for item in self.db.range(start..=key(u64::MAX).to_vec()) {
            let (_, value) = item?;
            let (log_index, placed): (u64, Placed) = postcard::from_bytes(&value)?;
            if placed.offset + u64::from(placed.count) > offset {
                found.push((log_index, placed));
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Offset and log index of the first envelope that does not lie before a point of the log;
    /// `before` says so of an envelope, and of none that comes after one of which it does not.
    pub(crate) fn first_not(
        &self,
        offsets: Range<u64>,
        before: impl Fn(u64, &Placed) -> bool,
    ) -> Result<Option<(u64, Placed)>, IndexError> {
        let Range { mut start, mut end } = offsets;
        while start < end {
            let middle = start + (end - start) / 2;
            match self.from(middle, 1)?.pop() {
                Some((log_index, placed)) if before(log_index, &placed) => {
                    start = placed.offset + u64::from(placed.count);
                }
                Some((_, placed)) if placed.offset < middle => end = placed.offset.max(start),
                _ => end = middle,
            }
        }
        Ok(self.from(start, 1)?.pop())
    }

    /// Offset of the first envelope before `end` that was committed at `time` or later.
    pub(crate) fn at_time(&self, time: Nanos, end: u64) -> Result<u64, IndexError> {
        // Leader time never decreases along the log.
        let found = self.first_not(0..end, |_, placed| placed.leader_time < time)?;
        Ok(found.map_or(end, |(_, placed)| placed.offset.min(end)))
    }

    /// Forgets what lies below an offset, a portion at a time; whether there is more.
    pub(crate) fn forget_below(&self, offset: u64) -> Result<bool, IndexError> {
        let mut batch = sled::Batch::default();
        let mut count = 0;
        for item in self.db.range(key(0)..key(offset)).keys().take(FORGOTTEN) {
            batch.remove(item?);
            count += 1;
        }
        if count > 0 {
            self.db.apply_batch(batch)?;
        }
        Ok(count == FORGOTTEN)
    }

    /// Forgets everything: another state is taken over.
    pub(crate) fn clear(&self) -> Result<(), IndexError> {
        Ok(self.db.clear()?)
    }
}

fn key(offset: u64) -> [u8; 9] {
    let mut key = [OFFSET; 9];
    key[1..].copy_from_slice(&offset.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use proto::envelope::Chain;
    use proto::{Lane, Nanos};

    use super::*;

    fn placed(offset: u64, count: u32) -> Placed {
        Placed {
            offset,
            part: 0,
            count,
            lane: Lane::Normal,
            origin_id: 0,
            first_sequence: offset,
            chain: Chain::default(),
            leader_time: Nanos(0),
        }
    }

    #[test]
    fn finds_the_envelope_that_holds_an_offset() {
        let directory = tempfile::tempdir().unwrap();
        let index = Index::open(directory.path(), 1 << 20).unwrap();
        index.record(3, &[placed(0, 2), placed(2, 5)]).unwrap();
        index.record(4, &[placed(7, 1)]).unwrap();
        let offsets = |from| -> Vec<(u64, u64)> {
            let found = index.from(from, 10).unwrap();
            found
                .into_iter()
                .map(|(log_index, place)| (log_index, place.offset))
                .collect()
        };
        assert_eq!(offsets(0), [(3, 0), (3, 2), (4, 7)]);
        assert_eq!(offsets(1), [(3, 0), (3, 2), (4, 7)]);
        assert_eq!(offsets(6), [(3, 2), (4, 7)]);
        assert_eq!(offsets(8), []);
        assert_eq!(index.applied().unwrap(), Some(4));
    }

    #[test]
    fn finds_what_was_committed_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let index = Index::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(index.at_time(Nanos(5), 0).unwrap(), 0);
        // The first ten offsets are gone, and three envelopes share a time.
        let times = [20, 20, 20, 35, 70];
        for (at, time) in (0..).zip(times) {
            let place = Placed {
                leader_time: Nanos(time),
                ..placed(10 + 4 * at, 4)
            };
            index.record(at, &[place]).unwrap();
        }
        let expected = [
            (i64::MIN, 10),
            (20, 10),
            (21, 22),
            (35, 22),
            (36, 26),
            (70, 26),
            (71, 30),
        ];
        for (time, offset) in expected {
            assert_eq!(index.at_time(Nanos(time), 30).unwrap(), offset, "{time}");
        }
        // An index that is ahead of the state: what is not applied yet is not told.
        assert_eq!(index.at_time(Nanos(70), 26).unwrap(), 26);
    }

    #[test]
    fn one_that_does_not_open_is_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        std::fs::write(&path, "not a directory").unwrap();
        let index = Index::open(&path, 1 << 20).unwrap();
        assert_eq!(index.applied().unwrap(), None);
        assert!(path.with_extension("damaged").exists());
    }
}
