//! Why the service can't start, and why a connection to a machine ended.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kit::config::ConfigError;
use raft_log::client::{AppendError, ClientError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("collector: configuration")]
    Config(#[from] ConfigError),
    #[error("collector: the log of this hub")]
    Log(#[from] ClientError),
    /// What it holds of the last samples is not known; machines send again what was not durable.
    #[error("collector {collector}: no answer of the log to the last samples")]
    Append {
        collector: String,
        source: AppendError,
    },
    #[error("collector: a task panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Why there is no connection to a machine; another attempt follows.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It was there, or is not there yet.
    #[error("{address}: {reason}")]
    Connection { address: String, reason: String },
    /// The server does not want this user.
    #[error("{address}: the server refuses {who}: {status}; {remedy}")]
    Identity {
        address: String,
        who: String,
        status: String,
        remedy: &'static str,
    },
    #[error(
        "{address}: the server's certificate is not trusted: {shown}; if it is the right one, set \
         fingerprint: {} or copy {} to {}",
        shown.sha1, rejected.display(), trusted.display()
    )]
    Untrusted {
        address: String,
        shown: Box<Shown>,
        rejected: PathBuf,
        /// The directory of trusted ones.
        trusted: PathBuf,
    },
    #[error(
        "{address}: the server shows another certificate than the fingerprint asks for: {shown}; \
         if it was renewed, set fingerprint: {}",
        shown.sha1
    )]
    OtherCertificate { address: String, shown: Box<Shown> },
    #[error("{address}: the server offers no endpoint with security {asked}; it offers {offered}")]
    Security {
        address: String,
        asked: String,
        offered: String,
    },
    /// Our own certificate can't be made or read.
    #[error("the directory {}: {reason}", directory.display())]
    Pki { directory: PathBuf, reason: String },
    #[error("shutting down")]
    Shutdown,
}

/// A certificate, for a person to compare with what the machine's own display says.
#[derive(Debug)]
pub struct Shown {
    pub subject: String,
    /// In hexadecimal.
    pub sha1: String,
    pub sha256: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown {
            subject,
            sha1,
            sha256,
        } = self;
        write!(formatter, "{subject}, SHA-1 {sha1}, SHA-256 {sha256}")
    }
}

impl Fault {
    /// The least to wait before the next attempt: servers lock out who knocks too often with a
    /// wrong password, and count every session.
    pub(crate) fn pause_min(&self) -> Duration {
        match self {
            Fault::Identity { .. } => Duration::from_secs(60),
            Fault::Untrusted { .. }
            | Fault::OtherCertificate { .. }
            | Fault::Security { .. }
            | Fault::Pki { .. } => Duration::from_secs(15),
            Fault::Connection { .. } | Fault::Shutdown => Duration::ZERO,
        }
    }
}
