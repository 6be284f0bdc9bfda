//! The segment files as far as their frames are durable: where a read finds what is not cached.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::DiskFile;
use super::footer::Point;
use super::{LogPosition, SegmentInfo};

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) base: u64,
    pub(super) generation: u32,
    pub(super) last: Option<LogPosition>,
    /// File offset behind the last durable frame.
    pub(super) frames_end: u64,
    /// Length of the file.
    pub(super) bytes: u64,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Open {
        file: Arc<dyn DiskFile>,
        points: Vec<Point>,
    },
    /// Opened for each read, so that a long log needs few descriptors; the points are read from
    /// the footer when they are first needed.
    Sealed { points: Option<Arc<Vec<Point>>> },
}

impl Entry {
    /// One beyond the last index.
    pub(super) fn end(&self) -> u64 {
        self.last.map_or(self.base, |last| last.index + 1)
    }

    pub(super) fn is_sealed(&self) -> bool {
        matches!(self.kind, Kind::Sealed { .. })
    }
}

/// What a write has added to the open segment.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) frames_end: u64,
    /// Length of the file.
    pub(super) bytes: u64,
    pub(super) points: Vec<Point>,
}

/// Entries by their first index.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: BTreeMap<u64, Entry>,
    /// Of all files.
    bytes: u64,
}

impl Catalog {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self {
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            entries: entries
                .into_iter()
                .map(|entry| (entry.base, entry))
                .collect(),
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        let replaced = self.entries.insert(entry.base, entry);
        self.bytes -= replaced.map_or(0, |entry| entry.bytes);
    }

    pub(super) fn get(&self, base: u64) -> Option<&Entry> {
        self.entries.get(&base)
    }

    pub(super) fn get_mut(&mut self, base: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&base)
    }

    /// The segment that holds `index`.
    pub(super) fn holding(&self, index: u64) -> Option<&Entry> {
        let (_, entry) = self.entries.range(..=index).next_back()?;
        (index < entry.end()).then_some(entry)
    }

    /// The last segment that starts before `index`.
    pub(super) fn before(&self, index: u64) -> Option<&Entry> {
        self.entries
            .range(..index)
            .next_back()
            .map(|(_, entry)| entry)
    }

    /// The open segment has grown.
    pub(super) fn grow(&mut self, base: u64, last: LogPosition, grown: Grown) {
        if let Some(entry) = self.entries.get_mut(&base) {
            entry.last = Some(last);
            entry.frames_end = grown.frames_end;
            self.bytes = self.bytes + grown.bytes - entry.bytes;
            entry.bytes = grown.bytes;
            if let Kind::Open { points, .. } = &mut entry.kind {
                points.extend(grown.points);
            }
        }
    }

    /// The open segment is sealed.
    pub(super) fn seal(&mut self, base: u64, bytes: u64) {
        if let Some(entry) = self.entries.get_mut(&base) {
            let Kind::Open { points, .. } = &mut entry.kind else {
                return;
            };
            entry.kind = Kind::Sealed {
                points: Some(Arc::new(std::mem::take(points))),
            };
            self.bytes = self.bytes + bytes - entry.bytes;
            entry.bytes = bytes;
        }
    }

    /// Takes the entries out that start at `base` or later.
    pub(super) fn split_off(&mut self, base: u64) -> Vec<Entry> {
        let entries: Vec<Entry> = self.entries.split_off(&base).into_values().collect();
        self.forget(&entries);
        entries
    }

    /// Takes the sealed entries out that hold nothing from `end` on.
    pub(super) fn take_below(&mut self, end: u64) -> Vec<Entry> {
        let entries: Vec<Entry> = self
            .entries
            .extract_if(.., |_, e| e.is_sealed() && e.end() <= end)
            .map(|(_, e)| e)
            .collect();
        self.forget(&entries);
        entries
    }

    fn forget(&mut self, entries: &[Entry]) {
        self.bytes -= entries.iter().map(|entry| entry.bytes).sum::<u64>();
    }

    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.bytes)
    }

    pub(super) fn sealed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.is_sealed())
    }

    /// The last segment.
    pub(super) fn last(&self) -> Option<&Entry> {
        self.entries.last_key_value().map(|(_, entry)| entry)
    }

    pub(super) fn infos(&self, path: impl Fn(&str) -> PathBuf) -> Vec<SegmentInfo> {
        let info = |entry: &Entry| SegmentInfo {
            first_index: entry.base,
            last_index: entry.last.map(|last| last.index),
            bytes: entry.bytes,
            sealed: entry.is_sealed(),
            path: path(&entry.name),
        };
        self.entries.values().map(info).collect()
    }
}
