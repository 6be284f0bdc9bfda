//! All tags of this hub's log, with their newest values, in memory.
//!
//! Names and values are held under two locks, so that a search never waits for values that come in
//! and the feed never waits for a search. Every hold is short: a page of names, a chunk of values.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use historian::{Brief, Kind, Last, NewRow};
use proto::{Nanos, Offset, Quality};

use super::names::{Found, Limits, Names, TagId, TagName};
use super::rate::Rate;
use super::recent::{Recent, RecentValue, Ring};

/// Tags that the console knows; more are counted, and found in the database alone.
pub(crate) const MAX_TAGS: usize = 200_000;
/// What their names may take.
const MAX_NAME_BYTES: usize = 384 << 20;
/// What recent values may take.
const MAX_RECENT_BYTES: usize = 64 << 20;
/// Rows that are put in under one hold of the lock.
const CHUNK: usize = 512;

#[derive(Debug)]
pub(crate) struct Index {
    names: RwLock<Names>,
    values: RwLock<Values>,
}

#[derive(Debug)]
struct Values {
    live: Vec<Live>,
    ring: Ring,
    /// Everything below was taken out of the log.
    next: Offset,
    /// Values of tags that there was no room for.
    beyond: u64,
}

/// What is known of a tag beside its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// `None` for a tag that only ever was a name.
    pub(crate) newest: Option<Newest>,
    pub(crate) rate: Rate,
    /// One more with each value.
    pub(crate) version: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Newest {
    pub(crate) kind: Kind,
    pub(crate) value: Brief,
    pub(crate) quality: Quality,
    /// When the source says it was.
    pub(crate) time: Nanos,
    /// When this hub's log took it; `None` when it was read from the database.
    pub(crate) taken: Option<Nanos>,
    /// Path of the hub of birth.
    pub(crate) hub: Arc<str>,
}

impl Newest {
    pub(crate) fn unit(&self) -> Option<&str> {
        match &self.value {
            Brief::Wave(head) if !head.unit.is_empty() => Some(&head.unit),
            _ => None,
        }
    }
}

/// A row on its way into the index.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) row: NewRow,
    /// When this hub's log took it.
    pub(crate) taken: Nanos,
}

impl Default for Index {
    fn default() -> Index {
        Index::new(Limits {
            tags: MAX_TAGS,
            bytes: MAX_NAME_BYTES,
        })
    }
}

impl Index {
    pub(crate) fn new(limits: Limits) -> Index {
        Index {
            names: RwLock::new(Names::new(limits)),
            values: RwLock::new(Values {
                live: Vec::new(),
                ring: Ring::new(Offset(0), MAX_RECENT_BYTES),
                next: Offset(0),
                beyond: 0,
            }),
        }
    }

    /// Forgets recent values: what comes next comes from `offset` on.
    pub(crate) fn begin(&self, offset: Offset) {
        let mut values = self.write_values();
        values.ring = Ring::new(offset, MAX_RECENT_BYTES);
        values.next = offset;
    }

    /// Takes what a database knows; a value that came from the log since is newer.
    pub(crate) fn load(&self, lasts: Vec<Last>) {
        for last in lasts {
            let (topic, key) = (last.tag.topic.into(), last.tag.key.into());
            let id = self.write_names().insert(&topic, &key);
            let mut values = self.write_values();
            let Some(id) = id else {
                values.beyond += 1;
                continue;
            };
            let Some(reading) = last.reading else {
                values.live(id);
                continue;
            };
            let live = values.live(id);
            let older = |held: &Newest| held.taken.is_none() && held.time <= reading.time;
            if live.newest.as_ref().is_none_or(older) {
                live.newest = Some(Newest {
                    kind: last.tag.kind,
                    value: reading.value,
                    quality: reading.quality,
                    time: reading.time,
                    taken: None,
                    hub: reading.hub,
                });
                live.version += 1;
            }
        }
    }

    /// Takes what the log delivered up to `next`.
    pub(crate) fn update(&self, incoming: Vec<Incoming>, next: Offset) {
        let mut incoming = incoming.into_iter().peekable();
        while incoming.peek().is_some() {
            let chunk: Vec<Incoming> = incoming.by_ref().take(CHUNK).collect();
            let ids = self.ids(&chunk);
            let mut values = self.write_values();
            for (incoming, id) in chunk.into_iter().zip(ids) {
                match id {
                    Some(id) => values.update(id, incoming),
                    None => values.beyond += 1,
                }
            }
        }
        let mut values = self.write_values();
        values.next = values.next.max(next);
    }

    /// Nearly always all of them are known, and nobody who searches has to wait.
    fn ids(&self, chunk: &[Incoming]) -> Vec<Option<TagId>> {
        let find = |names: &Names| -> Vec<Option<TagId>> {
            let id = |incoming: &Incoming| {
                let row = &incoming.row.row;
                names.find(&row.topic, &row.key)
            };
            chunk.iter().map(id).collect()
        };
        let mut ids = find(&self.names());
        for (incoming, id) in chunk.iter().zip(&mut ids) {
            let row = &incoming.row.row;
            // What does not even decode has no topic.
            if id.is_none() && !row.topic.is_empty() {
                *id = self.write_names().insert(&row.topic, &row.key);
            }
        }
        ids
    }

    pub(crate) fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_names(&self) -> RwLockWriteGuard<'_, Names> {
        self.names
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn values(&self) -> RwLockReadGuard<'_, Values> {
        self.values
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_values(&self) -> RwLockWriteGuard<'_, Values> {
        self.values
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Values that belong to tags there is no room for.
    pub(crate) fn beyond(&self) -> u64 {
        self.values().beyond
    }

    /// Everything below was taken out of the log.
    pub(crate) fn next_offset(&self) -> Offset {
        self.values().next
    }

    pub(crate) fn find(&self, topic: &str, key: &str) -> Option<TagId> {
        self.names().find(topic, key)
    }

    /// Name and newest value of each, as far as they are known.
    pub(crate) fn look_up(&self, ids: &[TagId]) -> Vec<(TagId, TagName, Live)> {
        let names: Vec<(TagId, TagName)> = {
            let names = self.names();
            let name = |id: &TagId| Some((*id, names.get(*id)?.clone()));
            ids.iter().filter_map(name).collect()
        };
        let values = self.values();
        let live = |(id, name): (TagId, TagName)| {
            let live = values.live.get(id.index()).cloned().unwrap_or_default();
            (id, name, live)
        };
        names.into_iter().map(live).collect()
    }

    /// Calls `changed` for those whose version is another one than they came with, and notes it.
    pub(crate) fn changes(
        &self,
        watched: &mut [(TagId, u64)],
        mut changed: impl FnMut(TagId, &Live),
    ) {
        let values = self.values();
        for (id, version) in watched {
            if let Some(live) = values.live.get(id.index())
                && live.version != *version
            {
                *version = live.version;
                changed(*id, live);
            }
        }
    }

    /// Values of a tag from an offset on, by offset, `limit` at most; older ones are left out.
    pub(crate) fn recent(&self, id: TagId, from: Offset, limit: usize) -> Since {
        let values = self.values();
        let newer = values.ring.of(id).take_while(|entry| entry.offset >= from);
        let mut entries: Vec<Recent> = newer.take(limit + 1).cloned().collect();
        let complete = entries.len() <= limit && values.ring.from() <= from.max(Offset(0));
        entries.truncate(limit);
        entries.reverse();
        Since {
            entries,
            complete,
            next: values.next,
        }
    }

    pub(crate) fn search(&self, query: &str, limit: usize) -> Found {
        self.names().search(query, limit)
    }
}

/// Recent values of a tag.
#[derive(Clone, Debug)]
pub(crate) struct Since {
    pub(crate) entries: Vec<Recent>,
    /// None is missing.
    pub(crate) complete: bool,
    /// Everything below was taken into account.
    pub(crate) next: Offset,
}

impl Values {
    fn live(&mut self, id: TagId) -> &mut Live {
        if self.live.len() <= id.index() {
            self.live.resize_with(id.index() + 1, Live::default);
        }
        &mut self.live[id.index()]
    }

    fn update(&mut self, id: TagId, incoming: Incoming) {
        let NewRow {
            origin,
            offset,
            row,
            ..
        } = incoming.row;
        let value = Brief::of(&row.body);
        if matches!(value, Brief::Dead(_)) {
            return;
        }
        let quality = row.body.quality();
        let place = (offset, row.time, row.sequence);
        self.ring.push(id, place, quality, RecentValue::of(&value));
        let live = self.live(id);
        // A source without a value says nothing about what it has otherwise.
        let before = live.newest.as_ref().map(|newest| newest.kind);
        let kind = value.kind().or(before).unwrap_or(Kind::Number);
        live.version += 1;
        live.rate.update(incoming.taken);
        let hub = match &live.newest {
            Some(newest) if *newest.hub == *origin.hub.as_str() => Arc::clone(&newest.hub),
            _ => origin.hub.as_str().into(),
        };
        live.newest = Some(Newest {
            kind,
            value,
            quality,
            time: row.time,
            taken: Some(incoming.taken),
            hub,
        });
    }
}

#[cfg(test)]
mod tests;
