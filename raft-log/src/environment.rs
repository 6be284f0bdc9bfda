//! What a node or a client needs of the machine it runs on: disks, connections, the time of day.
//!
//! A trait, because two worlds stand behind it: the real one, and the simulated one of
//! `chaos-tests/sim`, in which time passes as fast as it can and everything fails by a seed.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::Nanos;
use tokio::task::JoinError;
use tonic::transport::{Channel, Endpoint};

use crate::segment::{self, Directory, Disk};

/// Its provided methods are the real world.
pub trait Environment: Debug + Send + Sync {
    /// Opens a directory of files; made if it is missing.
    fn directory(&self, path: &Path) -> Result<Arc<dyn Disk>, segment::Error> {
        Ok(Arc::new(Directory::open(path)?))
    }

    /// A channel that connects when it is used.
    fn connect(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_lazy()
    }

    fn now(&self) -> Nanos {
        Nanos::now()
    }

    /// How long the disk takes for the next piece of work. `None` when it blocks for as long as it
    /// takes: then threads of their own wait for it, otherwise a task does.
    fn disk_delay(&self) -> Option<Duration> {
        None
    }
}

/// The machine this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Environment for Real {}

/// Does work that reads or writes files.
pub(crate) async fn blocking<T: Send + 'static>(
    environment: &dyn Environment,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match environment.disk_delay() {
        Some(delay) => {
            tokio::time::sleep(delay).await;
            Ok(work())
        }
        None => tokio::task::spawn_blocking(work).await,
    }
}
