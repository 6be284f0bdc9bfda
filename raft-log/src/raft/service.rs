//! The receiving end of the wire between the nodes of a hub.

use std::sync::Arc;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use proto::Nanos;
use proto::ids::NodeIdentity;
use proto::rpc;
use proto::rpc::append_entries_response::Result as Answer;
use proto::rpc::raft_server;
use tonic::{Request, Response, Status};

use crate::raft::convert;
use crate::raft::heard::Heard;
use crate::raft::network;
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
    pub(crate) heard: Heard,
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
            tracing::error!(
                node = self.node_id,
                "the data directory of this node is not the one that joined the hub; it must join \
                 as a new node"
            );
            return Err(Status::failed_precondition(
                "the node's data directory is another one",
            ));
        }
        Ok(())
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
        let response = self
            .raft
            .pre_vote(vote_request(&request)?)
            .await
            .map_err(internal)?;
        Ok(vote_response(&response))
    }

    async fn transfer_leader(
        &self,
        request: Request<rpc::TransferLeaderRequest>,
    ) -> Result<Response<rpc::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
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
        }))
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
            time: Nanos::now().0,
            format: state::FORMAT.into(),
        }))
    }
}
