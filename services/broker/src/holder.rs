//! Says to the log that this broker lives, for all of its sessions together.
//!
//! A broker that is killed says goodbye for none of its sessions. The log knows who holds them and
//! counts them as closed when the holder has not said for [`LEASE`] that it lives, so that their
//! expiry starts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::NodeId;
use raft_log::client::LogClient;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Longer than an election takes, so that a fail-over ends no session.
pub(crate) const LEASE: Duration = Duration::from_secs(20);
const RENEW_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Holder {
    /// Of this start of the broker: the next one does not hold what this one leaves behind.
    name: String,
    /// It has opened sessions.
    used: AtomicBool,
}

impl Holder {
    pub(crate) fn new(node: NodeId) -> Holder {
        Holder {
            name: format!("node {node}/{:016x}", rand::random::<u64>()),
            used: AtomicBool::new(false),
        }
    }

    /// Its name, for a session that is to be held.
    pub(crate) fn hold(&self) -> String {
        self.used.store(true, Ordering::Relaxed);
        self.name.clone()
    }

    /// Renews until `ended` is cancelled.
    pub(crate) async fn run(&self, log: &LogClient, ended: &CancellationToken) {
        let renew_all = async {
            let mut ticks = interval(RENEW_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if self.used.load(Ordering::Relaxed)
                    && let Err(error) = log.hold_sessions(&self.name, LEASE).await
                {
                    tracing::debug!(%error, "the lease of the sessions was not renewed");
                }
            }
        };
        tokio::select! {
            () = renew_all => {}
            () = ended.cancelled() => {}
        }
    }
}
