//! A disk in memory that forgets what was not synced, tears writes, and fails when told to.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::segment::disk::{Disk, DiskFile};
use crate::segment::error::Error;

const SECTOR: usize = 512;

/// Pseudo-random bits, so that a seed replays a crash.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::Len(len) => bytes.resize(*len, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    /// What a read sees.
    cached: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What of it may have reached the disk, in any part.
    pending: Vec<Change>,
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// After an fdatasync that failed the pages are clean, and not on the disk.
    fn lose_writes(&mut self) {
        self.pending
            .retain(|change| matches!(change, Change::Len(_)));
    }

    fn crash(&mut self, dice: &mut Dice) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write(offset, data) => {
                    let all = dice.roll(3) == 0;
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if all || dice.roll(2) == 0 {
                            let part = Change::Write(offset + i * SECTOR, sector.to_vec());
                            part.apply(&mut self.durable);
                        }
                    }
                }
                Change::Len(len) if dice.roll(2) == 0 => Change::Len(len).apply(&mut self.durable),
                Change::Len(_) => {}
            }
        }
        self.cached = self.durable.clone();
    }
}

type File = Arc<Mutex<Content>>;
type Names = BTreeMap<String, File>;

#[derive(Debug, Default)]
struct Inner {
    names: Names,
    durable_names: Names,
    /// Creations, renames and unlinks; each reaches the disk whole or not at all.
    pending_names: Vec<Vec<(String, Option<File>)>>,
    /// Bytes that fit, if that is limited. Writing over what a file holds needs none.
    capacity: Option<usize>,
    locked: bool,
    /// Changes and syncs that still succeed; then the power is off, or one fault happens.
    fuse: Option<u64>,
    fault: Option<ErrorKind>,
    off: bool,
    dice: u64,
}

impl Inner {
    /// Called before every change; an error is how it fails.
    fn spend(&mut self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        match &mut self.fuse {
            Some(0) => {
                self.fuse = None;
                match self.fault.take() {
                    Some(kind) => Err(kind.into()),
                    None => {
                        self.off = true;
                        Err(io::Error::other("the power is off"))
                    }
                }
            }
            Some(fuse) => {
                *fuse -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change_names(&mut self, changes: Vec<(String, Option<File>)>) {
        for (name, file) in &changes {
            set(&mut self.names, name, file.clone());
        }
        self.pending_names.push(changes);
    }

    /// How many more bytes fit.
    fn free(&self) -> usize {
        let Some(capacity) = self.capacity else {
            return usize::MAX;
        };
        let used = |file: &File| file.lock().unwrap().cached.len();
        capacity.saturating_sub(self.names.values().map(used).sum())
    }
}

fn set(names: &mut Names, name: &str, file: Option<File>) {
    match file {
        Some(file) => names.insert(name.into(), file),
        None => names.remove(name),
    };
}

#[derive(Debug, Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<Inner>>);

impl FaultyDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// The power goes off after `changes` more changes; the one after is half done.
    pub(super) fn power_off_after(&self, changes: u64) {
        let mut inner = self.inner();
        (inner.fuse, inner.fault) = (Some(changes), None);
    }

    /// One change fails after `changes` more.
    pub(super) fn fail_after(&self, changes: u64, kind: ErrorKind) {
        let mut inner = self.inner();
        (inner.fuse, inner.fault) = (Some(changes), Some(kind));
    }

    pub(super) fn power_off(&self) {
        self.inner().off = true;
    }

    /// The machine comes back with what was durable and some of what was not.
    pub(super) fn restart(&self, seed: u64) {
        let mut inner = self.inner();
        let mut dice = Dice(seed);
        inner.dice = seed;
        for changes in std::mem::take(&mut inner.pending_names) {
            if dice.roll(2) == 0 {
                for (name, file) in changes {
                    set(&mut inner.durable_names, &name, file);
                }
            }
        }
        inner.names = inner.durable_names.clone();
        for file in inner.names.values() {
            file.lock().unwrap().crash(&mut dice);
        }
        (inner.off, inner.fuse, inner.fault) = (false, None, None);
    }

    /// The process comes back, the machine was never off.
    pub(super) fn heal(&self) {
        let mut inner = self.inner();
        (inner.off, inner.fuse, inner.fault) = (false, None, None);
    }

    /// So many bytes more fit on the disk; `None` ends that.
    pub(super) fn limit(&self, free: Option<usize>) {
        let mut inner = self.inner();
        inner.capacity = None;
        let used = |file: &File| file.lock().unwrap().cached.len();
        let used: usize = inner.names.values().map(used).sum();
        inner.capacity = free.map(|free| used + free);
    }

    /// A disk of its own with the same durable content.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for (name, file) in &self.inner().names {
            let bytes = file.lock().unwrap().cached.clone();
            copy.put(name, bytes);
        }
        copy
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.inner().names.keys().cloned().collect()
    }

    pub(super) fn get(&self, name: &str) -> Vec<u8> {
        self.inner().names[name].lock().unwrap().cached.clone()
    }

    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Content {
            cached: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
        };
        let file = Arc::new(Mutex::new(content));
        let mut inner = self.inner();
        set(&mut inner.names, name, Some(file.clone()));
        set(&mut inner.durable_names, name, Some(file));
    }

    /// A bit rots in a file that may be open.
    pub(super) fn flip(&self, name: &str, byte: usize) {
        let file = self.inner().names[name].clone();
        let mut content = file.lock().unwrap();
        content.cached[byte] ^= 1;
        content.durable[byte] ^= 1;
    }

    pub(super) fn remove(&self, name: &str) {
        let mut inner = self.inner();
        set(&mut inner.names, name, None);
        set(&mut inner.durable_names, name, None);
    }
}

struct Guard(FaultyDisk);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.inner().locked = false;
    }
}

impl Disk for FaultyDisk {
    fn lock(&self) -> Result<Box<dyn Any + Send>, Error> {
        let mut inner = self.inner();
        if inner.locked {
            return Err(Error::Locked {
                directory: PathBuf::new(),
            });
        }
        inner.locked = true;
        Ok(Box::new(Guard(self.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        inner.spend()?;
        if inner.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = File::default();
        inner.change_names(vec![(name.into(), Some(file.clone()))]);
        Ok(Arc::new(FaultyFile {
            disk: self.clone(),
            file,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self
            .inner()
            .names
            .get(name)
            .cloned()
            .ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile {
            disk: self.clone(),
            file,
        }))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.spend()?;
        inner
            .names
            .contains_key(name)
            .then_some(())
            .ok_or(ErrorKind::NotFound)?;
        inner.change_names(vec![(name.into(), None)]);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.spend()?;
        let file = inner.names.get(from).cloned().ok_or(ErrorKind::NotFound)?;
        assert!(!inner.names.contains_key(to), "{to} would be overwritten");
        inner.change_names(vec![(from.into(), None), (to.into(), Some(file))]);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.spend()?;
        inner.durable_names = inner.names.clone();
        inner.pending_names.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: File,
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.lock().unwrap().cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.file.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let bytes = content.cached.get(from..from + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let data: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let offset = usize::try_from(offset).unwrap();
        let mut inner = self.disk.inner();
        let was_off = inner.off;
        let mut result = inner.spend();
        let free = inner.free();
        let mut content = self.file.lock().unwrap();
        let more = (offset + data.len()).saturating_sub(content.cached.len());
        if result.is_ok() && more > free {
            result = Err(ErrorKind::StorageFull.into());
        }
        match result {
            Ok(()) => content.change(Change::Write(offset, data)),
            Err(_) if was_off => {}
            // What fits, or some of it.
            Err(_) => {
                let part = data.len() - more.saturating_sub(free).max(data.len() / 2);
                content.change(Change::Write(offset, data[..part].to_vec()));
            }
        }
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.inner().spend()?;
        self.file
            .lock()
            .unwrap()
            .change(Change::Len(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let result = inner.spend();
        let mut content = self.file.lock().unwrap();
        match &result {
            Ok(()) => content.sync(),
            Err(_) if inner.off => {}
            Err(_) => content.lose_writes(),
        }
        result
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
