//! The sending end of the wire between the nodes of a hub.

use std::io;

use bytes::Bytes;
use futures::stream;
use openraft::OptionalSend;
use openraft::entry::RaftEntry as _;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message as _;
use proto::rpc::append_entries_response::Result as Answer;
use proto::rpc::raft_client::RaftClient;
use proto::rpc::{self, MAX_MESSAGE_BYTES};
use tonic::transport::{Channel, ClientTlsConfig};

use crate::client::connect_lazy;
use crate::raft::convert;
use crate::raft::peers::Peers;
use crate::raft::types::{Member, Snapshot, TypeConfig, Vote};

const CHUNK_BYTES: usize = 1 << 20;

/// Makes a client per peer.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) group: u32,
    pub(crate) tls: Option<ClientTlsConfig>,
    pub(crate) peers: Peers,
}

#[derive(Debug)]
pub(crate) struct Peer {
    target: rpc::Target,
    /// The error of an address that is none stays with whoever uses it.
    channel: Result<Channel, String>,
    peers: Peers,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        let channel = connect_lazy(&node.address, self.tls.as_ref());
        Peer {
            target: rpc::Target {
                group: self.group,
                node_id: target,
                identity: node.identity.to_bytes(),
            },
            channel: channel.map_err(|error| error.to_string()),
            peers: self.peers.clone(),
        }
    }
}

type Failed = RPCError<TypeConfig>;

impl Peer {
    fn client(&self) -> Result<RaftClient<Channel>, Failed> {
        let channel = self.channel.clone().map_err(Unreachable::from_string)?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    fn vote_request(&self, request: &VoteRequest<TypeConfig>) -> rpc::VoteRequest {
        rpc::VoteRequest {
            target: Some(self.target.clone()),
            vote: Some(convert::vote_message(&request.vote)),
            last_log_id: request.last_log_id.as_ref().map(convert::log_id_message),
            leadership_transfer: request.leadership_transfer,
        }
    }
}

/// Unreachable makes openraft wait before it tries again; a fault on the way does not.
fn failed(status: &tonic::Status) -> Failed {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::FailedPrecondition => {
            Unreachable::from_string(status.message()).into()
        }
        _ => NetworkError::from_string(status.message()).into(),
    }
}

/// The request with openraft's own time limit.
fn limited<T>(message: T, option: &RPCOption) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(option.hard_ttl());
    request
}

fn missing(field: &str) -> Failed {
    NetworkError::from_string(format!("the peer's answer has no {field}")).into()
}

fn vote_response(response: rpc::VoteResponse) -> Result<VoteResponse<TypeConfig>, Failed> {
    let vote = response.vote.ok_or_else(|| missing("vote"))?;
    let last = response.last_log_id.as_ref().map(convert::log_id);
    Ok(VoteResponse::new(
        convert::vote(&vote),
        last,
        response.granted,
    ))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failed> {
        let last = request.entries.last().map(|entry| entry.log_id().index());
        tracing::trace!(to = self.target.node_id, ?last, "append entries");
        let message = rpc::AppendEntriesRequest {
            target: Some(self.target.clone()),
            vote: Some(convert::vote_message(&request.vote)),
            previous: request.prev_log_id.as_ref().map(convert::log_id_message),
            committed: request.leader_commit.as_ref().map(convert::log_id_message),
            entries: request.entries.iter().map(convert::entry_message).collect(),
        };
        let answer = self
            .client()?
            .append_entries(limited(message, &option))
            .await;
        let answer = answer.map_err(|status| failed(&status))?.into_inner();
        self.peers
            .heard(self.target.node_id, answer.space.unwrap_or_default());
        Ok(match answer.result.ok_or_else(|| missing("result"))? {
            Answer::Accepted(_) => AppendEntriesResponse::Success,
            Answer::Conflict(_) => AppendEntriesResponse::Conflict,
            Answer::HigherVote(vote) => AppendEntriesResponse::HigherVote(convert::vote(&vote)),
            Answer::Partly(partly) => {
                let matching = partly.matching.as_ref().map(convert::log_id);
                AppendEntriesResponse::PartialSuccess(matching)
            }
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let message = limited(self.vote_request(&request), &option);
        let response = self
            .client()?
            .vote(message)
            .await
            .map_err(|status| failed(&status))?;
        vote_response(response.into_inner())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let message = limited(self.vote_request(&request), &option);
        let response = self
            .client()?
            .pre_vote(message)
            .await
            .map_err(|status| failed(&status))?;
        vote_response(response.into_inner())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let last = &snapshot.meta.last_membership;
        let header = rpc::SnapshotHeader {
            target: Some(self.target.clone()),
            vote: Some(convert::vote_message(&vote)),
            meta: Some(convert::snapshot_meta_message(
                snapshot.meta.last_log_id.as_ref(),
                last,
            )),
        };
        let mut client = self.client()?;
        let request = limited(stream::iter(chunks(header, snapshot.snapshot)), &option);
        tokio::select! {
            response = client.install_snapshot(request) => {
                let response = response.map_err(|status| failed(&status))?.into_inner();
                let vote = response.vote.ok_or_else(|| missing("vote"))?;
                Ok(SnapshotResponse::new(convert::vote(&vote)))
            }
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failed> {
        let message = rpc::TransferLeaderRequest {
            target: Some(self.target.clone()),
            from_leader: Some(convert::vote_message(request.from_leader())),
            to_node_id: *request.to_node_id(),
            last_log_id: request.last_log_id().map(convert::log_id_message),
        };
        let response = self
            .client()?
            .transfer_leader(limited(message, &option))
            .await;
        let refused = response
            .map_err(|status| failed(&status))?
            .into_inner()
            .refused;
        if refused.is_empty() {
            Ok(Ok(()))
        } else {
            Err(NetworkError::from_string(refused).into())
        }
    }
}

/// The description first, then the data in pieces.
fn chunks(header: rpc::SnapshotHeader, data: Bytes) -> Vec<rpc::SnapshotChunk> {
    let first = rpc::SnapshotChunk {
        header: Some(header),
        data: Bytes::new(),
    };
    let pieces = (0..data.len())
        .step_by(CHUNK_BYTES)
        .map(|from| rpc::SnapshotChunk {
            header: None,
            data: data.slice(from..data.len().min(from + CHUNK_BYTES)),
        });
    std::iter::once(first).chain(pieces).collect()
}

/// Puts the pieces of a snapshot together; refuses one that would not fit into memory.
pub(crate) async fn gather(
    mut chunks: tonic::Streaming<rpc::SnapshotChunk>,
) -> Result<(rpc::SnapshotHeader, Bytes), tonic::Status> {
    let mut header = None;
    let mut data = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        header = header.or(chunk.header);
        data.extend_from_slice(&chunk.data);
        if data.len() > MAX_SNAPSHOT_BYTES {
            return Err(tonic::Status::resource_exhausted(
                "snapshot is larger than 1 GiB",
            ));
        }
    }
    let header =
        header.ok_or_else(|| tonic::Status::invalid_argument("snapshot without header"))?;
    rpc::Checkpoint::decode(data.as_slice())
        .map_err(|error| tonic::Status::invalid_argument(io::Error::other(error).to_string()))?;
    Ok((header, data.into()))
}

const MAX_SNAPSHOT_BYTES: usize = 1 << 30;
