//! While nothing is measured: waits until everything has arrived everywhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::time::Instant;

use super::gauges::{Sample, Statuses, lag, unwritten};
use super::ledger::Account;
use crate::pyramid::Observer;

/// Without any progress for this long, it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the acknowledgements of the machines, the layers above and the historians.
pub(super) async fn drain(
    accounts: &[Arc<Account>],
    hubs: &[Observer],
    samples: &mut watch::Receiver<Sample>,
) -> anyhow::Result<()> {
    let mut patience = Patience {
        left: u64::MAX,
        until: Instant::now() + PATIENCE,
    };
    loop {
        // In this order: what was acknowledged just now must be in what the hubs say.
        let mut waiting = unacknowledged(accounts);
        let now = Instant::now();
        {
            let later = samples.wait_for(|sample| sample.asked >= now).await;
            let sample = later.context("nobody asks the hubs any more")?;
            waiting.extend(not_arrived(hubs, &sample.statuses));
        }
        waiting.retain(|(_, left)| *left > 0);
        if waiting.is_empty() {
            return Ok(());
        }
        patience.check(&waiting)?;
    }
}

/// What is waited for, and how much of it.
fn unacknowledged(accounts: &[Arc<Account>]) -> Vec<(String, u64)> {
    let waiting = accounts.iter().map(|account| {
        let (machine, hub) = (&account.machine, &account.hub);
        let at = format!("{machine} waits for acknowledgements from {hub}");
        (at, account.standing().under_way())
    });
    waiting.collect()
}

fn not_arrived(hubs: &[Observer], statuses: &Statuses) -> Vec<(String, u64)> {
    let mut waiting = Vec::new();
    for (asked, status) in hubs.iter().zip(statuses) {
        let hub = asked.path();
        let behind = lag(hub, statuses);
        // What does not answer is not drained, however much it has.
        waiting.push((
            format!("records below {hub} have not arrived there"),
            behind.unwrap_or(1),
        ));
        match status {
            None => waiting.push((format!("{hub} does not answer"), 1)),
            Some(status) => {
                let left = unwritten(asked, status).unwrap_or(0);
                waiting.push((format!("records in {hub} are not in its historian"), left));
            }
        }
    }
    waiting
}

struct Patience {
    left: u64,
    until: Instant,
}

impl Patience {
    fn check(&mut self, waiting: &[(String, u64)]) -> anyhow::Result<()> {
        let left = waiting.iter().map(|(_, left)| left).sum();
        if left < self.left {
            *self = Patience {
                left,
                until: Instant::now() + PATIENCE,
            };
        }
        if Instant::now() > self.until {
            let all: Vec<String> = waiting
                .iter()
                .map(|(what, left)| format!("{what} ({left} left)"))
                .collect();
            bail!("nothing has moved for {PATIENCE:?}: {}", all.join("; "));
        }
        Ok(())
    }
}
