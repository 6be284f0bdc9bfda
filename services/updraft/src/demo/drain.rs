//! After the machines have stopped: waits until everything has arrived everywhere.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use super::machines::Machines;
use super::plant::{Asked, HUBS, Plant};
use super::progress::{Progress, Statuses, lag, unwritten};

/// Without any progress for this long, it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(1);

/// Waits for the acknowledgements of the machines, the layers above and the historians.
pub(super) async fn drain(
    plant: &mut Plant,
    machines: &mut Machines,
    hubs: &[Asked],
    progress: &mut Progress,
) -> anyhow::Result<()> {
    machines.stop();
    let mut patience = Patience {
        left: u64::MAX,
        until: Instant::now() + PATIENCE,
    };
    loop {
        plant.pyramid.check_alive()?;
        let statuses = progress.line("draining").await;
        let waiting = waiting(machines, hubs, &statuses);
        if waiting.is_empty() {
            break;
        }
        patience.check(&waiting)?;
        sleep(EVERY).await;
    }
    machines.ended().await;
    Ok(())
}

/// What is waited for, and how much of it.
fn waiting(machines: &Machines, hubs: &[Asked], statuses: &Statuses) -> Vec<(String, u64)> {
    let mut waiting = Vec::new();
    for account in machines.accounts() {
        let left = account.standing().under_way();
        let at = format!(
            "{} waits for acknowledgements from {}",
            account.machine, account.hub
        );
        waiting.push((at, left));
    }
    for (asked, status) in hubs.iter().zip(statuses) {
        let hub = asked.hub;
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
    debug_assert_eq!(hubs.len(), HUBS.len());
    waiting.retain(|(_, left)| *left > 0);
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
