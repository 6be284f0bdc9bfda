//! Reading the committed log of a node, then waiting for more.

use std::time::Duration;

use futures::Stream;
use proto::rpc::TailResponse;
use proto::{Lane, Nanos, Offset};
use tokio::sync::watch;

use super::Node;
use crate::environment::blocking;
use crate::shared::{ReadError, Stretch};

/// What one answer carries at most, unless a single batch is larger.
const ANSWER_BYTES: usize = 1 << 20;
/// A tail says where it is at least this often.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the node is shutting down")]
    Ended,
    #[error("{0}")]
    NotServing(String),
}

impl Node {
    /// Offset of the first envelope that was committed at `time` or later; the log's end when there
    /// is none yet.
    pub async fn offset_at(&self, time: Nanos) -> Result<Offset, TailError> {
        let shared = self.shared.clone();
        let find = move || shared.offset_at(time);
        let found = blocking(&*self.config.environment, find).await;
        let found = found.map_err(|_| TailError::Ended)?;
        Ok(Offset(found.map_err(ReadError::Index)?))
    }

    /// Envelopes of some lanes (all when empty) from `offset` on, in order. Ends at what is applied
    /// now if `stop_at_end` is set, never otherwise.
    pub fn tail(
        &self,
        offset: Offset,
        lanes: Vec<Lane>,
        stop_at_end: bool,
    ) -> impl Stream<Item = Result<TailResponse, TailError>> + Send + use<> {
        let end = self.shared.watch_end();
        let tail = Tail {
            node: self.clone(),
            end,
            offset,
            first: 0,
            lanes,
            stop_at_end,
        };
        futures::stream::unfold(Some(tail), |tail| async move {
            let mut tail = tail?;
            match tail.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(tail))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

struct Tail {
    node: Node,
    end: watch::Receiver<u64>,
    offset: Offset,
    /// The first offset that was retained when `offset` was looked at last; never beyond it.
    first: u64,
    lanes: Vec<Lane>,
    stop_at_end: bool,
}

impl Tail {
    async fn next(&mut self) -> Result<Option<TailResponse>, TailError> {
        let until = tokio::time::Instant::now() + SILENCE;
        loop {
            if let Some(reason) = self.node.not_serving() {
                return Err(TailError::NotServing(reason));
            }
            if self.passes_over_deleted() {
                return Ok(Some(self.answer(Stretch::nothing(self.offset))));
            }
            if *self.end.borrow_and_update() > self.offset.0 {
                let stretch = match self.read().await {
                    Ok(stretch) => stretch,
                    // Deleted while it was read.
                    Err(_) if self.node.shared.first_offset() > self.offset.0 => continue,
                    Err(error) => return Err(error),
                };
                let moved = stretch.next_offset > self.offset.0;
                self.offset = Offset(stretch.next_offset);
                if moved {
                    return Ok(Some(self.answer(stretch)));
                }
            } else if self.stop_at_end {
                return Ok(None);
            }
            let changed = async {
                tokio::select! {
                    changed = self.end.changed() => changed,
                    () = self.node.gate.closed() => Ok(()),
                }
            };
            match tokio::time::timeout_at(until, changed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(TailError::Ended),
                Err(_) => return Ok(Some(self.answer(Stretch::nothing(self.offset)))),
            }
        }
    }

    /// Goes on where the retained part begins; whether something before it was left out.
    fn passes_over_deleted(&mut self) -> bool {
        self.first = self.node.shared.first_offset();
        let deleted = self.offset.0 < self.first;
        self.offset = self.offset.max(Offset(self.first));
        deleted
    }

    fn answer(&self, stretch: Stretch) -> TailResponse {
        TailResponse {
            deliveries: stretch.deliveries,
            next_offset: stretch.next_offset,
            end_offset: *self.end.borrow(),
            first_offset: self.first,
        }
    }

    async fn read(&self) -> Result<Stretch, TailError> {
        let shared = &self.node.shared;
        if let Some(stretch) = shared.read_recent(self.offset, &self.lanes, ANSWER_BYTES) {
            return Ok(stretch);
        }
        let (shared, lanes, offset) = (shared.clone(), self.lanes.clone(), self.offset);
        let read = move || shared.read_disk(offset, &lanes, ANSWER_BYTES);
        blocking(&*self.node.config.environment, read)
            .await
            .map_err(|_| TailError::Ended)?
            .map_err(TailError::Read)
    }
}
