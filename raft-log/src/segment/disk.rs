//! The directory and the files in it, as the rest of the module sees them.
//!
//! A trait, because other disks stand behind it than the real one: those that fail, tear writes
//! and lose what was not synced (`faulty`, in the tests, and the one of the simulation).

use std::any::Any;
use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use super::layout::size;

/// How many zeros are written at once.
const ZEROS: usize = 1 << 20;

/// One flat directory.
pub trait Disk: Debug + Send + Sync {
    /// Holds the directory against other processes until the guard is dropped.
    fn lock(&self) -> Result<Box<dyn Any + Send>, Error>;
    fn list(&self) -> io::Result<Vec<String>>;
    /// Fails if the file exists.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Takes the place of a file that has the new name; at once and whole, also in the eyes of a
    /// crash.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, renames and unlinks durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// What can still be written, as far as the file system tells; a quota may be nearer.
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    /// The size of the file system that it lies on.
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    /// All its files together.
    fn used_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for name in self.list()? {
            // One that was just unlinked takes nothing.
            bytes += self.open(&name).and_then(|file| file.len()).unwrap_or(0);
        }
        Ok(bytes)
    }
    /// For messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// One file. Reads may come from any thread, writes only from the writer, or from the keeper as
/// long as the file is no segment.
#[allow(
    clippy::len_without_is_empty,
    reason = "nobody asks whether a file is empty"
)]
pub trait DiskFile: Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// fdatasync: the bytes, and the length if it grew.
    fn sync_data(&self) -> io::Result<()>;
    /// fsync: after creating or cutting.
    fn sync_all(&self) -> io::Result<()>;
}

/// Reads `bytes` at `offset` into memory of its own.
pub(super) fn read_vec(file: &dyn DiskFile, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    file.read_at(&mut buffer, offset)?;
    Ok(buffer)
}

/// The content of a whole file.
pub(crate) fn read_file(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let bytes = usize::try_from(file.len()?).map_err(io::Error::other)?;
    read_vec(&*file, 0, bytes)
}

/// Gives a file a new content, or its first one: after a crash it has the old one or the new one.
/// Durable when it returns.
pub(crate) fn replace_file(disk: &dyn Disk, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    if disk.list()?.contains(&temporary) {
        disk.unlink(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    file.write_at(&mut [IoSlice::new(content)], 0)?;
    file.sync_all()?;
    disk.rename(&temporary, name)?;
    disk.sync_directory()
}

/// Writes zeros over `from..to`, or beyond the end; they are not synced.
pub(super) fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS.min(size(to.saturating_sub(from)))];
    let mut at = from;
    while at < to {
        let bytes = zeros.len().min(size(to - at));
        file.write_at(&mut [IoSlice::new(&zeros[..bytes])], at)?;
        at += bytes as u64;
    }
    Ok(())
}

/// A directory of the real file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Nothing is changed, and files are opened so that nothing can be.
    read_only: bool,
}

impl Directory {
    /// Creates the directory if it is missing, durably.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let error = |e| Error::io("create directory", path.to_owned(), e);
        std::fs::create_dir_all(path).map_err(error)?;
        if let Some(parent) = path.canonicalize().map_err(error)?.parent() {
            File::open(parent)
                .and_then(|p| p.sync_all())
                .map_err(error)?;
        }
        Ok(Self {
            path: path.to_owned(),
            read_only: false,
        })
    }

    /// A directory that is only looked at.
    pub(super) fn read_only(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read_only: true,
        }
    }

    fn may_change(&self) -> io::Result<()> {
        match self.read_only {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    /// Holds the directory against processes that would change it, as far as it was ever locked.
    fn lock_shared(&self, path: &Path) -> Result<Box<dyn Any + Send>, Error> {
        let error = |e| Error::io("lock", path.to_owned(), e);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Box::new(())),
            Err(e) => return Err(error(e)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                directory: self.path.clone(),
            }),
            Err(TryLockError::Error(e)) => Err(error(e)),
        }
    }
}

impl Disk for Directory {
    fn lock(&self) -> Result<Box<dyn Any + Send>, Error> {
        let path = self.path("LOCK");
        if self.read_only {
            return self.lock_shared(&path);
        }
        let error = |e| Error::io("lock", path.clone(), e);
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(error)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                directory: self.path.clone(),
            }),
            Err(TryLockError::Error(e)) => Err(error(e)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.may_change()?;
        let mut options = OpenOptions::new();
        let file = options
            .create_new(true)
            .read(true)
            .write(true)
            .open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(!self.read_only)
            .open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.may_change()?;
        std::fs::remove_file(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.may_change()?;
        std::fs::rename(self.path(from), self.path(to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let free = rustix::fs::statvfs(&self.path)?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    fn size_bytes(&self) -> io::Result<u64> {
        let size = rustix::fs::statvfs(&self.path)?;
        Ok(size.f_blocks.saturating_mul(size.f_frsize))
    }

    fn used_bytes(&self) -> io::Result<u64> {
        let entries = std::fs::read_dir(&self.path)?;
        let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
        let files = files.filter(std::fs::Metadata::is_file);
        Ok(files.map(|file| file.len()).sum())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, mut slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(offset))?;
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
