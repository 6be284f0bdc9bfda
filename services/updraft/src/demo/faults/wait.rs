//! What a fault waits for.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use super::{POLL, RECOVERY_LIMIT};
use crate::demo::ledger::Account;
use crate::pyramid::Observer;

/// To find messages under way.
const ATTEMPTS: u32 = 10;

/// Waits until a machine's messages are on their way to being acknowledged, and more than halfway,
/// judged by how long the ones before took; returns how many they are.
pub(super) async fn under_way(account: &Account) -> u64 {
    for _ in 0..ATTEMPTS {
        wait_for(account, |under_way| under_way > 0).await;
        let began = Instant::now();
        wait_for(account, |under_way| under_way == 0).await;
        let took = began.elapsed();
        wait_for(account, |under_way| under_way > 0).await;
        sleep(took * 6 / 10).await;
        let under_way = account.standing().under_way();
        if under_way > 0 {
            return under_way;
        }
    }
    0
}

async fn wait_for(account: &Account, wanted: fn(u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while !wanted(account.standing().under_way()) && Instant::now() < deadline {
        sleep(Duration::from_millis(1)).await;
    }
}

pub(super) async fn acknowledges_again(account: &Account) -> anyhow::Result<()> {
    // What is published from now on has not been sent before.
    let published = account.standing().published;
    let deadline = Instant::now() + RECOVERY_LIMIT;
    while account.standing().acknowledged_to <= published {
        if Instant::now() > deadline {
            bail!(
                "{} gets no acknowledgement from {}",
                account.machine,
                account.hub
            );
        }
        sleep(POLL).await;
    }
    Ok(())
}

pub(super) async fn caught_up(hub: &Observer, node: usize, to: u64) -> anyhow::Result<()> {
    let process = hub.nodes().get(node).context("find the node")?;
    let deadline = Instant::now() + RECOVERY_LIMIT;
    while process
        .status()
        .await
        .is_none_or(|status| status.next_offset < to)
    {
        if Instant::now() > deadline {
            bail!("{} does not catch up with the others", process.name());
        }
        sleep(POLL).await;
    }
    Ok(())
}
