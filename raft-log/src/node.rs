//! One node of a hub's log: files, Raft and readers put together.

mod bootstrap;
mod config;
mod identity;
mod progress;
mod report;
mod tail;

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader};
use openraft::impls::ProgressResponder;
use prost::Message as _;
use proto::ids::NodeIdentity;
use proto::rpc::command::Operation;
use proto::rpc::raft_server::RaftServer;
use proto::rpc::{self, Command, MAX_MESSAGE_BYTES, Refusal, RefusalKind};
use proto::{Record, TopicFilter};
use tokio::sync::oneshot;

pub use config::{NodeConfig, NodeError};
pub use progress::Progress;
pub use report::Gauges;
pub use tail::TailError;

use crate::checkpoint::Checkpoints;
use crate::environment::blocking;
use crate::index::Index;
use crate::raft::heard::Heard;
use crate::raft::machine::Machine;
use crate::raft::network::Network;
use crate::raft::service::Service;
use crate::raft::store::Store;
use crate::raft::types::{Proposal, Raft, TypeConfig};
use crate::refusal::refusal;
use crate::segment::Segments;
use crate::shared::Shared;
use crate::state::Applied;

/// A handle on the node; clones share it.
#[derive(Clone)]
pub struct Node {
    config: Arc<NodeConfig>,
    identity: NodeIdentity,
    raft: Raft,
    shared: Arc<Shared>,
    heard: Heard,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Which node leads, as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    This,
    /// Its host:port.
    Other(String),
    Unknown,
}

/// What comes of something that was submitted.
#[derive(Debug)]
pub struct Submitted(oneshot::Receiver<WriteResult>);

type WriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

impl Node {
    /// Opens or makes the data directory and recovers what is in it.
    pub async fn open(config: NodeConfig) -> Result<Node, NodeError> {
        let config = Arc::new(config);
        let opening = config.clone();
        let files = blocking(&*config.environment, move || open_files(&opening));
        let (identity, machine, store) = files
            .await
            .map_err(|error| NodeError::Raft(error.to_string()))??;
        let shared = machine.shared();
        let network = Network {
            group: config.group,
            tls: config.tls.clone(),
            environment: config.environment.clone(),
        };
        let raft_config = config.raft_config()?;
        let raft = Raft::new(config.node_id.0, raft_config, network, store, machine)
            .await
            .map_err(|error| NodeError::Raft(error.to_string()))?;
        Ok(Node {
            config,
            identity,
            raft,
            shared,
            heard: Heard::default(),
        })
    }

    /// Forms the hub with the configured nodes if that has not happened yet, and names it. Ends
    /// when the hub has its name.
    pub async fn bootstrap(&self) {
        bootstrap::form(self).await;
        bootstrap::name(self).await;
    }

    /// What the node's peers talk to.
    pub fn peer_service(&self) -> RaftServer<impl rpc::raft_server::Raft + use<>> {
        let service = Service {
            raft: self.raft.clone(),
            group: self.config.group,
            node_id: self.config.node_id.0,
            identity: self.identity,
            heard: self.heard.clone(),
        };
        RaftServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Proposes and waits until it is committed and applied.
    pub async fn propose(&self, operation: Operation) -> Result<Applied, Refusal> {
        self.submit(operation).await?.outcome().await
    }

    /// Proposes in the order of the calls. The outcome comes when it is committed and applied (I1).
    pub async fn submit(&self, operation: Operation) -> Result<Submitted, Refusal> {
        let command = Command {
            leader_time: self.config.environment.now().0,
            operation: Some(operation),
        };
        let (responder, receiver) = ProgressResponder::complete_only();
        let proposal = Proposal(command.encode_to_vec().into());
        match self.raft.client_write_ff(proposal, Some(responder)).await {
            Ok(()) => Ok(Submitted(receiver)),
            Err(fatal) => Err(stopped(&fatal)),
        }
    }

    pub fn retained(&self, filters: &[TopicFilter]) -> (Vec<Record>, u64) {
        let state = self.shared.state();
        (state.retained.matching(filters), state.next_offset)
    }

    pub fn cursors(&self) -> Vec<rpc::CursorState> {
        self.shared.state().cursors.iter().collect()
    }

    pub fn session(&self, client_id: &str) -> Option<rpc::SessionState> {
        let state = self.shared.state();
        state.sessions.get(client_id, state.next_offset)
    }

    /// What is accounted for of the origins at or below a hub.
    pub fn origins_below(&self, hub: &proto::HubPath) -> Vec<rpc::OriginState> {
        let state = self.shared.state();
        let below = state
            .origins
            .iter()
            .filter(|(origin, _)| hub.covers(&origin.hub));
        below.map(|(_, origin)| origin).collect()
    }

    /// This hub's path and incarnation, once it has them.
    pub fn hub(&self) -> Option<crate::state::Hub> {
        self.shared.state().hub.clone()
    }

    pub fn leader(&self) -> Leader {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(id) = metrics.current_leader else {
            return Leader::Unknown;
        };
        if id == self.config.node_id.0 {
            return Leader::This;
        }
        let member = metrics.membership_config.membership().get_node(&id);
        member.map_or(Leader::Unknown, |member| {
            Leader::Other(member.address.clone())
        })
    }

    /// Resolves when Raft has stopped by itself, because its storage failed or the node was told to
    /// end; says why.
    pub async fn stopped(&self) -> String {
        tokio::select! {
            reason = self.raft_stopped() => reason,
            error = self.shared.segments.stopped() => error.to_string(),
        }
    }

    async fn raft_stopped(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "raft has ended".into();
            }
        }
    }

    pub fn status(&self) -> rpc::StatusResponse {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let state = self.shared.state();
        let segments = self.shared.segments.segments();
        let matched: BTreeMap<u64, Option<u64>> = metrics
            .replication
            .iter()
            .flatten()
            .map(|(id, log_id)| (*id, log_id.as_ref().map(|log_id| log_id.index())))
            .collect();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        rpc::StatusResponse {
            hub: state
                .hub
                .as_ref()
                .map(|hub| hub.path.to_string())
                .unwrap_or_default(),
            incarnation: state
                .hub
                .as_ref()
                .map_or_else(Default::default, |hub| hub.incarnation.to_bytes()),
            node_id: self.config.node_id.0,
            role: format!("{:?}", metrics.state).to_lowercase(),
            term: metrics.current_term,
            leader_id: metrics.current_leader,
            applied_index: metrics.last_applied.map_or(0, |log_id| log_id.index()),
            last_index: metrics.last_log_index.unwrap_or_default(),
            next_offset: state.next_offset,
            origins: state.origins.iter().map(|(_, origin)| origin).collect(),
            cursors: state.cursors.iter().collect(),
            nodes: membership
                .nodes()
                .map(|(id, member)| rpc::NodeState {
                    node_id: *id,
                    address: member.address.clone(),
                    voter: voters.contains(id),
                    matched_index: matched.get(id).copied().flatten(),
                })
                .collect(),
            segments: segments.len() as u64,
            disk_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            state_hash: state.hash().to_vec().into(),
        }
    }

    /// Stops Raft and closes the files; what was acknowledged is durable anyway.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end cleanly");
        }
        let segments = self.shared.segments.clone();
        let _ = blocking(&*self.config.environment, move || segments.close()).await;
    }
}

impl Submitted {
    pub async fn outcome(self) -> Result<Applied, Refusal> {
        match self.0.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(refusal(
                RefusalKind::ShuttingDown,
                "the node is shutting down",
            )),
        }
    }
}

fn refused(error: &ClientWriteError<TypeConfig>) -> Refusal {
    match error {
        ClientWriteError::ForwardToLeader(forward)
        | ClientWriteError::LogEntryDiscarded(forward) => not_leader(forward),
        other => refusal(RefusalKind::NoQuorum, other.to_string()),
    }
}

fn not_leader(forward: &ForwardToLeader<TypeConfig>) -> Refusal {
    let leader = forward
        .leader_node
        .as_ref()
        .map(|member| member.address.clone());
    Refusal {
        leader: leader.unwrap_or_default(),
        ..refusal(RefusalKind::NotLeader, "another node leads")
    }
}

fn stopped(fatal: &Fatal<TypeConfig>) -> Refusal {
    refusal(
        RefusalKind::ShuttingDown,
        format!("the node has stopped: {fatal}"),
    )
}

fn open_files(config: &NodeConfig) -> Result<(NodeIdentity, Machine, Store), NodeError> {
    let environment = &config.environment;
    let identity = identity::load_or_create(&*environment.directory(&config.data_dir)?)?;
    let (segments, recovered) = Segments::open(config.segment_options(identity))?;
    let store = Store::new(segments.clone(), &recovered)
        .map_err(|error| NodeError::Raft(error.to_string()))?;
    let checkpoints = environment.directory(&config.data_dir.join("checkpoints"))?;
    let checkpoints = Checkpoints::new(checkpoints);
    let index = Index::open(&config.data_dir.join("index"))?;
    let machine = Machine::open(checkpoints, index, segments, config.cache_bytes)?;
    Ok((identity, machine, store))
}
