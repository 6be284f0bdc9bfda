//! A node's disk in memory. It forgets what was not synced, tears writes, fills up, and fails when
//! it is told to.
//!
//! It is hard on purpose: of every write that was not synced, any sectors may be on the disk after
//! a power cut and any others not; a name that was not synced may be there or not.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_log::segment::{Disk, DiskFile, Error};
use rand::Rng;
use rand::rngs::StdRng;

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, data) => {
                let end = offset + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(data);
            }
            Change::Len(len) => bytes.resize(*len, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// What a read sees.
    cached: Arc<Vec<u8>>,
    /// What a power cut leaves for certain.
    durable: Arc<Vec<u8>>,
    /// What of it may have reached the disk, in any part.
    pending: Vec<Change>,
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.cached));
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(Arc::make_mut(&mut self.durable));
        }
    }

    /// After an fdatasync that failed the pages are clean, and not on the disk.
    fn lose_writes(&mut self) {
        self.pending
            .retain(|change| matches!(change, Change::Len(_)));
    }

    fn power_cut(&mut self, rng: &mut StdRng) {
        let durable = Arc::make_mut(&mut self.durable);
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write(offset, data) => {
                    let all = rng.random_ratio(1, 3);
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if all || rng.random() {
                            let part = Change::Write(offset + i * SECTOR, sector.to_vec());
                            part.apply(durable);
                        }
                    }
                }
                Change::Len(len) if rng.random() => Change::Len(len).apply(durable),
                Change::Len(_) => {}
            }
        }
        self.cached = self.durable.clone();
    }
}

type File = Arc<Mutex<Content>>;
type Names = BTreeMap<String, File>;

/// One change of names: these take these files, or lose theirs.
type Rename = Vec<(String, Option<File>)>;

#[derive(Debug, Default)]
struct Folder {
    names: Names,
    durable_names: Names,
    pending_names: Vec<Rename>,
    locked: bool,
}

impl Folder {
    fn rename(&mut self, rename: Rename) {
        apply(&mut self.names, &rename);
        self.pending_names.push(rename);
    }

    fn sync(&mut self) {
        self.durable_names = self.names.clone();
        self.pending_names.clear();
    }

    fn power_cut(&mut self, rng: &mut StdRng) {
        for rename in std::mem::take(&mut self.pending_names) {
            if rng.random() {
                apply(&mut self.durable_names, &rename);
            }
        }
        self.names = self.durable_names.clone();
        for file in self.names.values() {
            lock(file).power_cut(rng);
        }
    }
}

fn apply(names: &mut Names, rename: &Rename) {
    for (name, file) in rename {
        match file {
            Some(file) => names.insert(name.clone(), file.clone()),
            None => names.remove(name),
        };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the next fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine loses its power in the middle of a change.
    PowerOff,
    /// A change or sync fails, once.
    Error(ErrorKind),
}

/// Which promise the disk breaks, so that the simulation can be seen to notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// No fdatasync reaches the disk: names are kept, what is written to them is not.
    Data,
    /// No fdatasync of the votes does.
    Votes,
}

#[derive(Debug, Default)]
struct Inner {
    folders: BTreeMap<PathBuf, Folder>,
    /// Counts the starts of the machine: files that an earlier one opened are dead.
    boot: u64,
    off: bool,
    /// Changes and syncs that still succeed, then a fault.
    fuse: Option<(u64, Fault)>,
    /// The fault that came last.
    fired: Option<(Fault, String)>,
    /// Bytes that fit.
    capacity: Option<usize>,
    lie: Lie,
    /// Counts what became durable.
    version: u64,
}

impl Inner {
    /// Called before every change; an error is how it fails.
    fn spend(&mut self, name: &str) -> io::Result<()> {
        match &mut self.fuse {
            Some((0, fault)) => {
                let fault = *fault;
                self.fuse = None;
                self.fired = Some((fault, name.to_owned()));
                match fault {
                    Fault::Error(kind) => Err(kind.into()),
                    Fault::PowerOff => {
                        self.off = true;
                        Err(power_is_off())
                    }
                }
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used(&self) -> usize {
        let files = self
            .folders
            .values()
            .flat_map(|folder| folder.names.values());
        files.map(|file| lock(file).cached.len()).sum()
    }

    fn check_room(&self, more: usize) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn folder(&mut self, path: &Path) -> &mut Folder {
        self.folders.entry(path.to_owned()).or_default()
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

/// All directories of one node; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Storage(Arc<Mutex<Inner>>);

impl Storage {
    #[must_use]
    pub fn new(lie: Lie) -> Storage {
        let storage = Storage::default();
        lock(&storage.0).lie = lie;
        storage
    }

    #[must_use]
    pub fn directory(&self, path: &Path) -> Arc<dyn Disk> {
        let mut inner = lock(&self.0);
        inner.folder(path);
        Arc::new(SimDisk {
            storage: self.clone(),
            path: path.to_owned(),
            boot: inner.boot,
        })
    }

    /// A fault comes after `changes` more.
    pub fn fail_after(&self, changes: u64, fault: Fault) {
        lock(&self.0).fuse = Some((changes, fault));
    }

    /// The fault that came since this was asked last, and the file that it hit.
    pub fn take_fired(&self) -> Option<(Fault, String)> {
        lock(&self.0).fired.take()
    }

    /// Room for `bytes` more than there are now, or any number.
    pub fn set_room(&self, bytes: Option<usize>) {
        let mut inner = lock(&self.0);
        inner.capacity = bytes.map(|bytes| inner.used() + bytes);
    }

    #[must_use]
    pub fn is_limited(&self) -> bool {
        lock(&self.0).capacity.is_some()
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut inner = lock(&self.0);
        (inner.capacity, inner.fuse) = (None, None);
    }

    /// Somebody puts another disk in.
    pub fn wipe(&self) {
        let mut inner = lock(&self.0);
        inner.version += 1;
        inner.folders.clear();
    }

    /// The process is gone; the machine was never off.
    pub fn kill(&self) {
        let mut inner = lock(&self.0);
        inner.boot += 1;
        (inner.off, inner.fuse) = (false, None);
        inner.folders.values_mut().for_each(|f| f.locked = false);
    }

    /// The machine was off: what was not synced is there in part.
    pub fn power_cut(&self, rng: &mut StdRng) {
        self.kill();
        let mut inner = lock(&self.0);
        inner.version += 1;
        inner.folders.values_mut().for_each(|f| f.power_cut(rng));
    }

    /// Changes whenever something became durable.
    #[must_use]
    pub fn version(&self) -> u64 {
        lock(&self.0).version
    }

    /// What would be left if nothing that was not synced reached the disk.
    #[must_use]
    pub fn durable(&self) -> Storage {
        let inner = lock(&self.0);
        let folders = inner.folders.iter().map(|(path, folder)| {
            let copy = |(name, file): (&String, &File)| {
                let bytes = lock(file).durable.clone();
                let content = Content {
                    cached: bytes.clone(),
                    durable: bytes,
                    pending: Vec::new(),
                };
                (name.clone(), Arc::new(Mutex::new(content)))
            };
            let names: Names = folder.durable_names.iter().map(copy).collect();
            let folder = Folder {
                durable_names: names.clone(),
                names,
                ..Folder::default()
            };
            (path.clone(), folder)
        });
        Storage(Arc::new(Mutex::new(Inner {
            folders: folders.collect(),
            ..Inner::default()
        })))
    }
}

#[derive(Debug)]
struct SimDisk {
    storage: Storage,
    path: PathBuf,
    boot: u64,
}

impl SimDisk {
    fn inner(&self) -> io::Result<MutexGuard<'_, Inner>> {
        running(&self.storage, self.boot)
    }

    fn file(&self, name: &str, content: File) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            storage: self.storage.clone(),
            boot: self.boot,
            name: name.to_owned(),
            content,
        })
    }
}

/// Nothing of an earlier start reaches the disk, nor anything while it is off.
fn running(storage: &Storage, boot: u64) -> io::Result<MutexGuard<'_, Inner>> {
    let inner = lock(&storage.0);
    if inner.off || inner.boot != boot {
        return Err(power_is_off());
    }
    Ok(inner)
}

struct Guard(Storage, PathBuf, u64);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Ok(mut inner) = running(&self.0, self.2) {
            inner.folder(&self.1).locked = false;
        }
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> Result<Box<dyn Any + Send>, Error> {
        let directory = self.path.clone();
        let mut inner = lock(&self.storage.0);
        let folder = inner.folder(&self.path);
        if std::mem::replace(&mut folder.locked, true) {
            return Err(Error::Locked { directory });
        }
        Ok(Box::new(Guard(self.storage.clone(), directory, self.boot)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.inner()?;
        Ok(inner.folder(&self.path).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner()?;
        inner.spend(name)?;
        inner.check_room(1)?;
        let folder = inner.folder(&self.path);
        if folder.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let content = File::default();
        folder.rename(vec![(name.into(), Some(content.clone()))]);
        Ok(self.file(name, content))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner()?;
        let content = inner.folder(&self.path).names.get(name).cloned();
        Ok(self.file(name, content.ok_or(ErrorKind::NotFound)?))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.spend("")?;
        let folder = inner.folder(&self.path);
        if !folder.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        folder.rename(vec![(name.into(), None)]);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.spend(to)?;
        let folder = inner.folder(&self.path);
        let file = folder.names.get(from).cloned().ok_or(ErrorKind::NotFound)?;
        folder.rename(vec![(to.into(), Some(file)), (from.into(), None)]);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.spend("")?;
        inner.folder(&self.path).sync();
        inner.version += 1;
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.inner()?;
        let free = inner.capacity.map(|it| it.saturating_sub(inner.used()));
        Ok(free.map_or(u64::MAX, |free| free as u64))
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.inner()?.capacity.map_or(u64::MAX, |it| it as u64))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[derive(Debug)]
struct SimFile {
    storage: Storage,
    boot: u64,
    name: String,
    content: File,
}

impl SimFile {
    fn inner(&self) -> io::Result<MutexGuard<'_, Inner>> {
        running(&self.storage, self.boot)
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let _running = self.inner()?;
        Ok(lock(&self.content).cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let _running = self.inner()?;
        let content = lock(&self.content);
        let from = position(offset)?;
        let bytes = content.cached.get(from..from + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let data: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
        let offset = position(offset)?;
        let mut inner = self.inner()?;
        let len = lock(&self.content).cached.len();
        inner.check_room((offset + data.len()).saturating_sub(len))?;
        let result = inner.spend(&self.name);
        let written = if result.is_ok() {
            data.len()
        } else {
            data.len() / 2
        };
        lock(&self.content).change(Change::Write(offset, data[..written].to_vec()));
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.spend(&self.name)?;
        lock(&self.content).change(Change::Len(position(len)?));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.inner()?;
        let ignored = match inner.lie {
            Lie::None => false,
            Lie::Data => true,
            Lie::Votes => self.name.starts_with("vote"),
        };
        if ignored {
            return inner.spend(&self.name);
        }
        drop(inner);
        self.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut inner = self.inner()?;
        let result = inner.spend(&self.name);
        match &result {
            Ok(()) => {
                inner.version += 1;
                lock(&self.content).sync();
            }
            Err(_) if inner.off => {}
            Err(_) => lock(&self.content).lose_writes(),
        }
        result
    }
}
