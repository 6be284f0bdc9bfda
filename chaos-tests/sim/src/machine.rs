//! The simulated machines that nodes and clients run on.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::Nanos;
use raft_log::environment::Environment;
use raft_log::segment::{Disk, Error};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tonic::transport::{Channel, Endpoint};

use crate::disk::Storage;
use crate::net;

/// When every simulation begins: 2026-01-01.
const EPOCH: Nanos = Nanos(1_767_225_600_000_000_000);
const DISK_US: u64 = 2_000;

/// A node's.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) storage: Storage,
    /// How far its clock is ahead of the true time.
    ahead_nanos: AtomicI64,
    disk: Mutex<DiskSpeed>,
}

#[derive(Debug)]
struct DiskSpeed {
    rng: StdRng,
    us_max: u64,
}

impl Machine {
    pub(crate) fn new(storage: Storage, seed: u64) -> Arc<Machine> {
        let rng = StdRng::seed_from_u64(seed);
        Arc::new(Machine {
            storage,
            ahead_nanos: AtomicI64::new(0),
            disk: Mutex::new(DiskSpeed {
                rng,
                us_max: DISK_US,
            }),
        })
    }

    /// The clock jumps.
    pub(crate) fn jump(&self, nanos: i64) {
        self.ahead_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The disk takes up to this long; none means as long as usual.
    pub(crate) fn slow_down(&self, up_to: Option<Duration>) {
        let us = up_to.and_then(|up_to| u64::try_from(up_to.as_micros()).ok());
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.us_max = us.unwrap_or(DISK_US);
    }
}

impl Environment for Machine {
    fn directory(&self, path: &Path) -> Result<Arc<dyn Disk>, Error> {
        Ok(self.storage.directory(path))
    }

    fn connect(&self, endpoint: &Endpoint) -> Channel {
        net::channel(endpoint)
    }

    fn now(&self) -> Nanos {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default().as_nanos();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        Nanos(EPOCH.0 + elapsed + self.ahead_nanos.load(Ordering::Relaxed))
    }

    fn disk_delay(&self) -> Option<Duration> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let max = disk.us_max;
        Some(Duration::from_micros(disk.rng.random_range(100..=max)))
    }
}

/// A client's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk;

impl Environment for Desk {
    fn connect(&self, endpoint: &Endpoint) -> Channel {
        net::channel(endpoint)
    }
}

/// A disk that is only read, at once.
#[derive(Debug)]
pub(crate) struct Bench(pub(crate) Storage);

impl Environment for Bench {
    fn directory(&self, path: &Path) -> Result<Arc<dyn Disk>, Error> {
        Ok(self.0.directory(path))
    }

    fn disk_delay(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}
