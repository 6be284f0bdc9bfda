//! Reading the log from an offset on.

use std::time::Duration;

use futures::Stream;
use proto::rpc::{TailRequest, TailResponse};
use proto::{Lane, Offset};

use super::{ClientError, LogClient, unavailable};

const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// The log says something at least every 5 s; after this long a node counts as lost.
const SILENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, Default)]
pub struct TailFrom {
    /// The first envelope is the one that holds it: its records below are for the reader to skip.
    pub offset: Offset,
    /// Empty means all.
    pub lanes: Vec<Lane>,
    /// End with what is applied now instead of waiting for more.
    pub stop_at_end: bool,
    /// Records that were deleted before they were read are an error that ends the tail. Otherwise
    /// it goes on at the first that is left, and the answer's `first_offset` tells.
    pub whole: bool,
}

impl LogClient {
    /// Everything committed from an offset on, in order, without a gap or a repeat. Goes to another
    /// node after a fault, or when the one it reads from is behind. An error ends it: of deleted
    /// records when `whole` is set, and when `stop_at_end` is set and no node answers.
    pub fn tail(
        &self,
        from: TailFrom,
    ) -> impl Stream<Item = Result<TailResponse, ClientError>> + Send + use<> {
        let start = Tail {
            client: self.clone(),
            from,
            stream: None,
            failures: 0,
            done: false,
        };
        futures::stream::unfold(start, |mut tail| async move {
            let item = tail.next().await?;
            Some((item, tail))
        })
    }
}

struct Tail {
    client: LogClient,
    from: TailFrom,
    /// And the node it comes from.
    stream: Option<(usize, tonic::Streaming<TailResponse>)>,
    failures: usize,
    done: bool,
}

impl Tail {
    async fn next(&mut self) -> Option<Result<TailResponse, ClientError>> {
        while !self.done {
            match self.step().await {
                Ok(Some(response)) if response.end_offset < self.from.offset.0 => {
                    self.leave();
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                Ok(Some(response))
                    if self.from.whole && response.first_offset > self.from.offset.0 =>
                {
                    self.done = true;
                    return Some(Err(ClientError::Deleted {
                        from: self.from.offset.0,
                        first: response.first_offset,
                    }));
                }
                Ok(Some(response)) => {
                    self.from.offset = Offset(response.next_offset);
                    self.failures = 0;
                    return Some(Ok(response));
                }
                Ok(None) if self.from.stop_at_end => return None,
                Ok(None) => self.stream = None,
                Err(status) => {
                    self.leave();
                    self.failures += 1;
                    if self.from.stop_at_end && self.failures > 2 * self.client.channels.len() {
                        self.done = true;
                        return Some(Err(unavailable(status.message())));
                    }
                    tracing::debug!(
                        error = status.message(),
                        "tail interrupted, connecting again"
                    );
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Option<TailResponse>, tonic::Status> {
        if self.stream.is_none() {
            self.stream = Some(self.connect().await?);
        }
        let Some((_, stream)) = &mut self.stream else {
            return Ok(None);
        };
        tokio::time::timeout(SILENCE, stream.message())
            .await
            .unwrap_or_else(|_| Err(tonic::Status::unavailable("the log node is silent")))
    }

    /// Another node shall answer from now on.
    fn leave(&mut self) {
        if let Some((node, _)) = self.stream.take() {
            self.client.channels.skip(node);
        }
    }

    async fn connect(&self) -> Result<(usize, tonic::Streaming<TailResponse>), tonic::Status> {
        let mut log = self.client.channels.nearest();
        let request = TailRequest {
            group: self.client.group,
            from_offset: self.from.offset.0,
            lanes: self
                .from
                .lanes
                .iter()
                .map(|lane| lane.number().into())
                .collect(),
            stop_at_end: self.from.stop_at_end,
        };
        let response = log.client.tail(request).await;
        if response.is_err() {
            self.client.channels.skip(log.index);
        }
        Ok((log.index, response?.into_inner()))
    }
}
