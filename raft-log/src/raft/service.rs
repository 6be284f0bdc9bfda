//! The receiving end of the wire between the nodes of a hub.

use std::sync::Arc;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use proto::ids::NodeIdentity;
use proto::rpc;
use proto::rpc::append_entries_response::Result as Answer;
use proto::rpc::raft_server;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt as _, stream};
use openraft::async_runtime::WatchReceiver as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::environment::Environment;
use crate::node::space::Space;
use crate::raft::convert;
use crate::raft::heard::Heard;
use crate::raft::network;
use crate::raft::succession::Gone;
use crate::raft::types::{Raft, Snapshot, TypeConfig};
use crate::shared::Shared;
use crate::state;

/// Serves one node's Raft to its peers.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) raft: Raft,
    pub(crate) shared: Arc<Shared>,
    pub(crate) group: u32,
    pub(crate) node_id: u64,
    pub(crate) identity: NodeIdentity,
    pub(crate) hub: String,
    pub(crate) heard: Heard,
    pub(crate) space: Arc<Space>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) gone: Gone,
    pub(crate) stopping: CancellationToken,
    pub(crate) leaving: CancellationToken,
    /// A message came for other data than this node has.
    pub(crate) stranger: Arc<AtomicBool>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A message for another node, or for one that kept its data here before this one, is refused:
    /// whoever lost acknowledged log may not vote as if it had it.
    fn check(&self, target: Option<&rpc::Target>) -> Result<(), Status> {
        let target = target.ok_or_else(|| Status::invalid_argument("no target"))?;
        if target.group != self.group || target.node_id != self.node_id {
            let message = format!(
                "this is node {} of group {}, not node {} of group {}; check log.nodes",
                self.node_id, self.group, target.node_id, target.group
            );
            return Err(Status::failed_precondition(message));
        }
        if target.identity != self.identity.to_bytes() {
            // Said once: its peers go on asking until somebody acts.
            if !self.stranger.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    node = self.node_id,
                    "the data directory of this node is not the one that joined the hub; run \
                     `updraft cluster replace {}`",
                    self.node_id
                );
            }
            return Err(Status::failed_precondition(
                "the node's data directory is another one",
            ));
        }
        Ok(())
    }
}

impl Service {
    async fn until_not_leading(self, vote: crate::raft::types::Vote) {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                // The metrics may be a moment behind the vote that this node leads with.
                let other = now.vote > vote || now.running_state.is_err();
                if other || self.leaving.is_cancelled() {
                    return;
                }
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                () = self.leaving.cancelled() => return,
            }
        }
    }
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn vote_of(vote: Option<&rpc::RaftVote>) -> Result<crate::raft::types::Vote, Status> {
    vote.map(convert::vote)
        .ok_or_else(|| Status::invalid_argument("no vote"))
}

fn vote_request(request: &rpc::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    let last = request.last_log_id.as_ref().map(convert::log_id);
    let mut vote = VoteRequest::new(vote_of(request.vote.as_ref())?, last);
    vote.leadership_transfer = request.leadership_transfer;
    Ok(vote)
}

fn vote_response(
    response: &openraft::raft::VoteResponse<TypeConfig>,
) -> Response<rpc::VoteResponse> {
    Response::new(rpc::VoteResponse {
        vote: Some(convert::vote_message(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(convert::log_id_message),
    })
}

#[tonic::async_trait]
impl raft_server::Raft for Service {
    async fn append_entries(
        &self,
        request: Request<rpc::AppendEntriesRequest>,
    ) -> Result<Response<rpc::AppendEntriesResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        let entries: Result<Vec<_>, _> = request.entries.into_iter().map(convert::entry).collect();
        let append = AppendEntriesRequest {
            vote: vote_of(request.vote.as_ref())?,
            prev_log_id: request.previous.as_ref().map(convert::log_id),
            leader_commit: request.committed.as_ref().map(convert::log_id),
            entries: entries.map_err(|error| Status::invalid_argument(error.to_string()))?,
        };
        let answer = match self.raft.append_entries(append).await.map_err(internal)? {
            AppendEntriesResponse::Success => Answer::Accepted(rpc::Accepted {}),
            AppendEntriesResponse::Conflict => Answer::Conflict(true),
            AppendEntriesResponse::HigherVote(vote) => {
                Answer::HigherVote(convert::vote_message(&vote))
            }
            AppendEntriesResponse::PartialSuccess(matching) => {
                let matching = matching.as_ref().map(convert::log_id_message);
                Answer::Partly(rpc::PartlyAccepted { matching })
            }
        };
        if !matches!(answer, Answer::HigherVote(_)) {
            self.heard.now();
        }
        Ok(Response::new(rpc::AppendEntriesResponse {
            result: Some(answer),
            space: Some(self.space.short()),
        }))
    }

    async fn vote(
        &self,
        request: Request<rpc::VoteRequest>,
    ) -> Result<Response<rpc::VoteResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        let response = self
            .raft
            .vote(vote_request(&request)?)
            .await
            .map_err(internal)?;
        Ok(vote_response(&response))
    }

    async fn pre_vote(
        &self,
        request: Request<rpc::VoteRequest>,
    ) -> Result<Response<rpc::VoteResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        let vote = vote_request(&request)?;
        let (asked, last) = (vote.vote, vote.last_log_id);
        let mut response = self.raft.pre_vote(vote).await.map_err(internal)?;
        // The lease of a leader whose process has ended protects nobody; log and term count.
        if request.leader_gone && self.gone.is(&response.vote) {
            response.vote_granted = last >= response.last_log_id && asked >= response.vote;
        }
        Ok(vote_response(&response))
    }

    async fn transfer_leader(
        &self,
        request: Request<rpc::TransferLeaderRequest>,
    ) -> Result<Response<rpc::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        if self.stopping.is_cancelled() && request.to_node_id == self.node_id {
            return Err(Status::unavailable("the node is shutting down itself"));
        }
        let from = vote_of(request.from_leader.as_ref())?;
        let last = request.last_log_id.as_ref().map(convert::log_id);
        let transfer = TransferLeaderRequest::new(from, request.to_node_id, last);
        let taken = self
            .raft
            .handle_transfer_leader(transfer)
            .await
            .map_err(internal)?;
        let refused = taken
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        Ok(Response::new(rpc::TransferLeaderResponse { refused }))
    }

    async fn install_snapshot(
        &self,
        request: Request<tonic::Streaming<rpc::SnapshotChunk>>,
    ) -> Result<Response<rpc::SnapshotResponse>, Status> {
        let (header, data) = network::gather(request.into_inner()).await?;
        self.check(header.target.as_ref())?;
        let meta = convert::snapshot_meta(&header.meta.unwrap_or_default());
        let meta = meta.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let snapshot = Snapshot {
            meta,
            snapshot: data,
        };
        let vote = vote_of(header.vote.as_ref())?;
        let response = self
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(internal)?;
        let vote = Some(convert::vote_message(&response.vote));
        Ok(Response::new(rpc::SnapshotResponse { vote }))
    }

    async fn identity(
        &self,
        _request: Request<rpc::IdentityRequest>,
    ) -> Result<Response<rpc::IdentityResponse>, Status> {
        Ok(Response::new(rpc::IdentityResponse {
            node_id: self.node_id,
            identity: self.identity.to_bytes(),
            initialised: self.raft.is_initialized().await.map_err(internal)?,
            hub: self.hub.clone(),
            incarnation: {
                let state = self.shared.state();
                let hub = state.hub.as_ref();
                hub.map_or_else(Default::default, |hub| hub.incarnation.to_bytes())
            },
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<rpc::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<rpc::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        let vote = self.raft.with_raft_state(|state| *state.vote_ref());
        let vote = vote.await.map_err(internal)?;
        let led_by_this = vote.is_committed() && vote.leader_id().node_id == self.node_id;
        let leads = led_by_this && !self.leaving.is_cancelled();
        let first = stream::iter([Ok(rpc::WatchResponse {
            vote: Some(convert::vote_message(&vote)),
            leads,
        })]);
        if !leads {
            return Ok(Response::new(Box::pin(first)));
        }
        let open = stream::once(self.clone().until_not_leading(vote)).filter_map(async |()| None);
        Ok(Response::new(Box::pin(first.chain(open))))
    }

    async fn state_samples(
        &self,
        request: Request<rpc::StateSamplesRequest>,
    ) -> Result<Response<rpc::StateSamplesResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        let samples = self.shared.samples.after(request.after_index).into_iter();
        let sample = |(log_index, hash): (u64, [u8; 32])| rpc::StateSample {
            log_index,
            hash: hash.to_vec().into(),
        };
        Ok(Response::new(rpc::StateSamplesResponse {
            samples: samples.map(sample).collect(),
            time: self.environment.now().0,
            format: state::FORMAT.into(),
        }))
    }
}
