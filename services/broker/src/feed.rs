//! The committed log of the hub as this node's sessions see it.
//!
//! One task follows the log and puts what it reads, decoded once, into the ring ([`crate::ring`]).
//! Each session has a [`Source`] that reads the ring at the session's own position, and the log
//! itself while that position is older than the ring.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use proto::rpc::TailResponse;
use proto::{Batch, Offset};
use raft_log::client::{ClientError, LogClient, TailFrom};
use tokio::sync::watch;

use crate::error::BrokerError;
use crate::message::Message;
use crate::ring::{Chunk, Lookup, Ring};

/// Estimated memory of the ring.
const RING_BYTES: usize = 64 << 20;
/// Pause before the log is asked again where it ends.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The newest part of the log. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    log: LogClient,
    ring: Arc<Mutex<Option<Ring>>>,
    /// Offset after the last one that was read; absent until the log has answered.
    next: watch::Receiver<Option<Offset>>,
}

/// Follows the log.
#[derive(Debug)]
pub(crate) struct FeedTask {
    log: LogClient,
    ring: Arc<Mutex<Option<Ring>>>,
    next: watch::Sender<Option<Offset>>,
}

impl Feed {
    pub(crate) fn new(log: LogClient) -> (Feed, FeedTask) {
        let ring = Arc::new(Mutex::new(None));
        let (sender, next) = watch::channel(None);
        let task = FeedTask {
            log: log.clone(),
            ring: ring.clone(),
            next: sender,
        };
        (Feed { log, ring, next }, task)
    }

    /// Where the log ends, as far as this node has read it; waits for the log's first answer.
    pub(crate) async fn end(&self) -> Offset {
        let mut next = self.next.clone();
        let end = next
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|end| *end);
        match end {
            Some(end) => end,
            // The task has ended, and with it the broker.
            None => std::future::pending().await,
        }
    }

    pub(crate) fn source(&self) -> Source {
        Source {
            feed: self.clone(),
            catch_up: None,
        }
    }

    fn get(&self, position: Offset) -> Lookup {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.as_ref()
            .map_or(Lookup::NotYet, |ring| ring.get(position))
    }
}

impl FeedTask {
    /// Ends only with an error; drop it to stop it.
    pub(crate) async fn run(self) -> Result<(), BrokerError> {
        let start = self.end_of_log().await;
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Ring::new(start, RING_BYTES));
        self.next.send_replace(Some(start));
        tracing::info!(offset = start.0, "following the log");
        let mut tail = Box::pin(self.log.tail(TailFrom {
            offset: start,
            ..TailFrom::default()
        }));
        while let Some(response) = tail.next().await {
            self.push(chunk(response?));
        }
        Err(BrokerError::FeedEnded)
    }

    async fn end_of_log(&self) -> Offset {
        let mut warned = false;
        loop {
            match self.log.status().await {
                Ok(status) => return Offset(status.next_offset),
                Err(error) if !warned => tracing::info!(%error, "waiting for the log"),
                Err(_) => {}
            }
            warned = true;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn push(&self, chunk: Chunk) {
        let next = {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(ring) = ring.as_mut() else { return };
            ring.push(chunk);
            ring.next()
        };
        self.next.send_if_modified(|current| {
            let moved = *current != Some(next);
            *current = Some(next);
            moved
        });
    }
}

/// Where one session gets its records from.
pub(crate) struct Source {
    feed: Feed,
    /// Set while the session's position is older than the ring.
    catch_up: Option<CatchUp>,
}

type CatchUp = Pin<Box<dyn Stream<Item = Result<TailResponse, ClientError>> + Send>>;

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Source")
            .field("catching_up", &self.catch_up.is_some())
            .finish_non_exhaustive()
    }
}

impl Source {
    /// The chunk at `position`, which never goes back; waits until it is committed. May be dropped
    /// and called again without losing anything.
    pub(crate) async fn next(&mut self, position: Offset) -> Arc<Chunk> {
        loop {
            let mut next = self.feed.next.clone();
            next.borrow_and_update();
            match self.feed.get(position) {
                Lookup::Found(chunk) => {
                    self.catch_up = None;
                    return chunk;
                }
                Lookup::NotYet => {
                    self.catch_up = None;
                    if next.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                Lookup::Behind => {
                    if let Some(chunk) = self.read_log(position).await {
                        return Arc::new(chunk);
                    }
                }
            }
        }
    }

    /// `None` when what was read lies before `position`, or nothing was.
    async fn read_log(&mut self, position: Offset) -> Option<Chunk> {
        let log = &self.feed.log;
        let tail = self.catch_up.get_or_insert_with(|| {
            tracing::debug!(offset = position.0, "reading from the log");
            Box::pin(log.tail(TailFrom {
                offset: position,
                ..TailFrom::default()
            }))
        });
        match tail.next().await {
            Some(Ok(response)) => {
                if response.first_offset > position.0 {
                    let to = response.first_offset;
                    tracing::warn!(from = position.0, to, "records expired unread");
                }
                let chunk = chunk(response);
                (chunk.next > position).then_some(chunk)
            }
            Some(Err(_)) | None => {
                self.catch_up = None;
                tokio::time::sleep(RETRY_PAUSE).await;
                None
            }
        }
    }
}

/// The records of a piece of the log. What can't be read by this version, or did not come up from
/// a lower hub, takes up offsets all the same.
fn chunk(response: TailResponse) -> Chunk {
    let mut messages = Vec::new();
    let mut bytes = 0;
    for delivery in response.deliveries {
        let Some(envelope) = delivery.envelope.filter(|envelope| envelope.carries_data()) else {
            continue;
        };
        match Batch::decode(&envelope.batch) {
            Ok(records) => {
                for (offset, record) in (delivery.offset..).zip(records) {
                    bytes += record.size_bytes() + size_of::<Message>();
                    messages.push(Message::new(Offset(offset), record));
                }
            }
            Err(error) => {
                tracing::error!(offset = delivery.offset, %error, "records can't be delivered");
            }
        }
    }
    Chunk {
        next: Offset(response.next_offset),
        messages,
        bytes,
    }
}
