//! What can go wrong with the log files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// An error of the log files. It can be cloned, because the first fatal one is the answer to
/// every later request.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "log directory {} is in use by another process; stop that one first",
        directory.display()
    )]
    Locked { directory: PathBuf },

    #[error("can't {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },

    #[error("no space left for {}: free some, then restart this node", path.display())]
    DiskFull {
        path: PathBuf,
        source: Arc<io::Error>,
    },

    /// Something that was durable is damaged or missing.
    #[error(
        "log file {} is corrupt at byte {offset} (index {index}): {what}; \
         wipe this node and run `updraft cluster replace`",
        path.display()
    )]
    Corrupt {
        path: PathBuf,
        offset: u64,
        index: u64,
        what: String,
    },

    #[error("log file {} belongs to another {what}; check data_dir", path.display())]
    Foreign { path: PathBuf, what: &'static str },

    #[error(
        "log file {} has format version {found}, this release reads up to {known}; \
         use the release that wrote it",
        path.display()
    )]
    Version {
        path: PathBuf,
        found: u32,
        known: u32,
    },

    #[error("frame {found} does not continue the log, which expects {expected}")]
    OutOfOrder { expected: u64, found: u64 },

    #[error("index {index} is below {first}, the first that was not purged")]
    Purged { index: u64, first: u64 },

    #[error("{what} of {bytes} bytes is larger than the maximum of {max}")]
    TooLarge {
        what: &'static str,
        bytes: usize,
        max: usize,
    },

    #[error("segment_bytes is {bytes}, but at least {min} is needed")]
    SegmentTooSmall { bytes: u64, min: u64 },

    #[error("the log is closed")]
    Closed,
}

impl Error {
    /// A failed fsync or fdatasync. Never [`Error::DiskFull`], which may be tried again: after a
    /// failed sync the kernel may have dropped what it could not write.
    pub(super) fn sync(path: PathBuf, source: io::Error) -> Self {
        Self::Io {
            action: "sync",
            path,
            source: Arc::new(source),
        }
    }

    pub(super) fn io(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        let source = Arc::new(source);
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&source.kind()) {
            Self::DiskFull { path, source }
        } else {
            Self::Io {
                action,
                path,
                source,
            }
        }
    }
}
