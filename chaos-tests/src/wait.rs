//! Waiting for conditions.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(50);

/// Until `condition` is `Ok`; what it said last stands in the error when `limit` is over.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() > deadline => {
                bail!("not within {limit:?}: {what}; at last: {state}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Until `count` reaches `goal` (true), or does not grow any more for `patience` (false).
pub async fn while_growing(
    goal: u64,
    patience: Duration,
    mut count: impl AsyncFnMut() -> u64,
) -> bool {
    let mut best = 0;
    let mut deadline = Instant::now() + patience;
    loop {
        let now = count().await;
        if now >= goal {
            return true;
        }
        if now > best {
            best = now;
            deadline = Instant::now() + patience;
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(POLL).await;
    }
}
