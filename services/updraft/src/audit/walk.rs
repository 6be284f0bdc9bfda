//! Reading a log from where it begins up to a known end.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{Stream, StreamExt};
use proto::Offset;
use proto::rpc::{Delivery, TailResponse};
use raft_log::client::{ClientError, LogClient, TailFrom};
use tokio::time::{Instant, timeout_at};

/// Without any progress for this long there is no node left that has the rest.
const PATIENCE: Duration = Duration::from_secs(30);

type Tail = Pin<Box<dyn Stream<Item = Result<TailResponse, ClientError>> + Send>>;

/// All envelopes between two offsets, whichever nodes have them.
pub(crate) struct Walk {
    tail: Tail,
    at: u64,
    until: u64,
}

impl Walk {
    pub(crate) fn new(log: &LogClient, from: u64, until: u64) -> Walk {
        let tail = log.tail(TailFrom {
            offset: Offset(from),
            whole: true,
            ..TailFrom::default()
        });
        Walk {
            tail: Box::pin(tail),
            at: from,
            until,
        }
    }

    /// `None` at the end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Vec<Delivery>>> {
        // A log that has no more says so every few seconds: only progress counts.
        let patience = Instant::now() + PATIENCE;
        while self.at < self.until {
            let response = timeout_at(patience, self.tail.next()).await;
            let Ok(Some(response)) = response else {
                bail!("the log ends at offset {}, not at {}", self.at, self.until);
            };
            let mut response = match response {
                Err(error @ ClientError::Deleted { .. }) => {
                    return Err(error)
                        .context("the log was shortened while it was read: try again");
                }
                response => response.context("read the log")?,
            };
            self.at = self.at.max(response.next_offset);
            response
                .deliveries
                .retain(|delivery| delivery.offset < self.until);
            if !response.deliveries.is_empty() {
                return Ok(Some(response.deliveries));
            }
        }
        Ok(None)
    }
}
