//! openraft's log storage over our segment files.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use prost::Message as _;
use proto::rpc;
use tokio::sync::oneshot;

use crate::raft::convert;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use crate::segment::{self, Recovered, Segments};

/// What one read hands to replication or to the state machine at once.
const READ_BYTES: usize = 1 << 20;

/// The log of one node; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    segments: Segments,
    vote: Arc<Mutex<Option<Vote>>>,
    committed: Option<LogId>,
}

impl Store {
    pub(crate) fn new(segments: Segments, recovered: &Recovered) -> Result<Store, io::Error> {
        let vote = match &recovered.vote {
            None => None,
            Some(bytes) => {
                let message = rpc::RaftVote::decode(bytes.as_slice()).map_err(io::Error::other)?;
                Some(convert::vote(&message))
            }
        };
        let committed = recovered.committed.map(convert::log_id_at);
        Ok(Store {
            segments,
            vote: Arc::new(Mutex::new(vote)),
            committed,
        })
    }

    fn read(&self, range: std::ops::Range<u64>, max: usize) -> Result<Vec<Entry>, io::Error> {
        let frames = self.segments.read(range, max).map_err(fatal)?;
        frames
            .into_iter()
            .map(|f| convert::entry_of_frame(f).map_err(io::Error::other))
            .collect()
    }

    fn range(&self, range: &impl RangeBounds<u64>) -> std::ops::Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => self.segments.bounds().end,
        };
        start..end
    }
}

/// Every storage error stops the node: openraft does not retry, and neither do we.
fn fatal(error: segment::Error) -> io::Error {
    io::Error::other(error)
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let mut range = self.range(&range);
        let mut entries: Vec<Entry> = Vec::new();
        while !range.is_empty() {
            let more = self.read(range.clone(), usize::MAX)?;
            let Some(last) = more.last() else { break };
            range.start = last.index() + 1;
            entries.extend(more);
        }
        Ok(entries)
    }

    /// At most about a mebibyte, so that a follower far behind costs bounded memory.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES)
    }

    /// Feeds the state machine piece by piece: after a restart this is a whole segment.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let store = self.clone();
        let pieces = stream::unfold(Some(self.range(&range)), move |range| {
            let store = store.clone();
            async move {
                let range = range.filter(|range| !range.is_empty())?;
                match store.read(range.clone(), READ_BYTES) {
                    Ok(entries) => {
                        let next = entries.last()?.index() + 1;
                        let items: Vec<_> = entries.into_iter().map(Ok).collect();
                        Some((stream::iter(items), Some(next..range.end)))
                    }
                    Err(error) => Some((stream::iter(vec![Err(error)]), None)),
                }
            }
        });
        Box::pin(pieces.flatten())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(*self.vote.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let bounds = self.segments.bounds();
        Ok(LogState {
            last_purged_log_id: bounds.purged.map(convert::log_id_at),
            last_log_id: bounds.last.map(convert::log_id_at),
        })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = convert::vote_message(vote).encode_to_vec();
        done(|callback| self.segments.save_vote(bytes, callback)).await?;
        *self.vote.lock().unwrap_or_else(PoisonError::into_inner) = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = &committed {
            self.segments.set_committed(convert::position(committed));
        }
        self.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let frames = entries
            .into_iter()
            .map(|entry| convert::frame(&entry))
            .collect();
        let flushed = move |result: Result<(), segment::Error>| {
            callback.io_completed(result.map_err(fatal));
        };
        self.segments.append(frames, flushed).await.map_err(fatal)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let index = last.map(|log_id| log_id.index());
        done(|callback| self.segments.truncate_after(index, callback)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let position = convert::position(&log_id);
        done(|callback| self.segments.purge(position, callback)).await
    }
}

type Callback = Box<dyn FnOnce(Result<(), segment::Error>) + Send>;

/// Waits until the writer says that a request is durable.
async fn done(
    request: impl FnOnce(Callback) -> Result<(), segment::Error>,
) -> Result<(), io::Error> {
    let (sender, receiver) = oneshot::channel();
    let callback = Box::new(move |result| {
        let _ = sender.send(result);
    });
    request(callback).map_err(fatal)?;
    receiver
        .await
        .unwrap_or(Err(segment::Error::Closed))
        .map_err(fatal)
}
