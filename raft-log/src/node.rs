//! One node of a hub's log: files, Raft and readers put together.

mod bootstrap;
mod clock;
mod compare;
mod config;
mod gate;
mod handover;
mod identity;
mod membership;
mod progress;
mod quota;
mod read;
mod report;
mod retention;
pub(crate) mod space;
mod standing;
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
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use clock::Clock;
pub use config::{NodeConfig, NodeError};
use gate::Gate;
pub use progress::Progress;
pub use read::RetainedPage;
pub use report::Gauges;
pub use retention::RetentionConfig;
pub use space::DiskConfig;
pub use standing::Standing;
pub use tail::TailError;

use crate::checkpoint::Checkpoints;
use crate::environment::blocking;
use crate::index::Index;
use crate::raft::heard::Heard;
use crate::raft::machine::Machine;
use crate::raft::network::Network;
use crate::raft::peers::Peers;
use crate::raft::service::Service;
use crate::raft::store::Store;
use crate::raft::succession::{Gone, Succession};
use crate::raft::types::{Proposal, Raft, TypeConfig};
use crate::refusal::refusal;
use crate::segment::Segments;
use crate::shared::Shared;
use crate::state::Applied;
use quota::Quota;
use space::{Admitted, Space};

/// A handle on the node; clones share it.
#[derive(Clone)]
pub struct Node {
    config: Arc<NodeConfig>,
    identity: NodeIdentity,
    raft: Raft,
    shared: Arc<Shared>,
    heard: Heard,
    gone: Gone,
    /// Held while the members are changed.
    changing: Arc<Mutex<()>>,
    /// The node was told to stop: it takes no leadership any more.
    stopping: CancellationToken,
    /// It has handed over what it could.
    leaving: CancellationToken,
    clock: Clock,
    gate: Gate,
    space: Arc<Space>,
    quota: Arc<Quota>,
    files: retention::Files,
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
pub struct Submitted {
    receiver: oneshot::Receiver<WriteResult>,
    /// Until the outcome the disk does not show what it takes.
    admitted: Option<Admitted>,
}

type WriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

impl Node {
    /// Opens or makes the data directory and recovers what is in it.
    pub async fn open(config: NodeConfig) -> Result<Node, NodeError> {
        let config = Arc::new(config);
        compare::refuse_marked(&*config.environment, &config.data_dir)?;
        let opening = config.clone();
        let opened = blocking(&*config.environment, move || open_files(&opening));
        let (identity, machine, store) = opened
            .await
            .map_err(|error| NodeError::Raft(error.to_string()))??;
        let shared = machine.shared();
        #[cfg(feature = "sabotage")]
        shared
            .node_id
            .store(config.node_id.0, std::sync::atomic::Ordering::Relaxed);
        let files = retention::Files {
            checkpoints: machine.checkpoints.clone(),
            point: machine.retention_point.clone(),
        };
        let peers = Peers::default();
        let network = Network {
            group: config.group,
            tls: config.tls.clone(),
            environment: config.environment.clone(),
            peers: peers.clone(),
        };
        let quota = Quota::new(config.quota_bytes_per_second);
        let space = Space::new(&config, shared.segments.clone(), peers)?;
        let raft_config = config.raft_config()?;
        let raft = Raft::new(config.node_id.0, raft_config, network, store, machine)
            .await
            .map_err(|error| NodeError::Raft(error.to_string()))?;
        let voters = config.nodes.keys().map(|id| id.0);
        Ok(Node {
            clock: Clock::new(config.node_id.0, voters),
            gate: Gate::default(),
            config,
            identity,
            raft,
            shared,
            heard: Heard::default(),
            gone: Gone::default(),
            changing: Arc::default(),
            stopping: CancellationToken::new(),
            leaving: CancellationToken::new(),
            space: Arc::new(space),
            quota: Arc::new(quota),
            files,
        })
    }

    /// Watches over the leader, and over what a leader has to end; for as long as the node runs.
    pub async fn attend(&self) {
        let succession = Succession {
            raft: self.raft.clone(),
            group: self.config.group,
            node_id: self.config.node_id.0,
            identity: self.identity,
            tls: self.config.tls.clone(),
            environment: self.config.environment.clone(),
            gone: self.gone.clone(),
        };
        tokio::select! {
            () = succession.run() => {}
            () = self.settle_when_leading() => {}
        }
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
            shared: self.shared.clone(),
            group: self.config.group,
            node_id: self.config.node_id.0,
            identity: self.identity,
            hub: self.config.hub.to_string(),
            heard: self.heard.clone(),
            gone: self.gone.clone(),
            stopping: self.stopping.clone(),
            leaving: self.leaving.clone(),
            stranger: Arc::default(),
            space: self.space.clone(),
            environment: self.config.environment.clone(),
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
        self.gate.check()?;
        let (wall, at) = (self.config.environment.now(), Instant::now());
        let is_data = matches!(operation, Operation::Append(_) | Operation::Relay(_));
        let producer = match &operation {
            Operation::Append(append) => append.producer.as_ref().map(|it| it.producer_id.clone()),
            _ => None,
        };
        let leads = self.leader() == Leader::This;
        if is_data && leads {
            self.check_room()?;
        }
        let state = self.shared.time();
        // A node that does not lead is refused by Raft, and must not remember what it stamped.
        let leader_time = match leads {
            true => self.clock.stamp(state, wall, at),
            false => self.clock.time(state, wall, at),
        };
        let command = Command {
            leader_time: leader_time.0,
            operation: Some(operation),
        };
        let (responder, receiver) = ProgressResponder::complete_only();
        let proposal = Proposal(command.encode_to_vec().into());
        let admitted = self.admit(is_data && leads, producer.as_ref(), proposal.0.len())?;
        match self.raft.client_write_ff(proposal, Some(responder)).await {
            Ok(()) => Ok(Submitted { receiver, admitted }),
            Err(fatal) => Err(stopped(&fatal)),
        }
    }

    /// While there is no room a leader takes only what is not data, such as what frees room (I5).
    fn check_room(&self) -> Result<(), Refusal> {
        match self.refuses_data() {
            Some(reason) => Err(refusal(RefusalKind::Full, reason)),
            None => Ok(()),
        }
    }

    /// Takes from no producer more than its quota, and counts what is under way to the disk.
    fn admit(
        &self,
        counts: bool,
        producer: Option<&bytes::Bytes>,
        bytes: usize,
    ) -> Result<Option<Admitted>, Refusal> {
        if !counts {
            return Ok(None);
        }
        if let Some(producer) = producer {
            let taken = self.quota.take(producer, bytes, Instant::now());
            taken.map_err(|reason| refusal(RefusalKind::Full, reason))?;
        }
        let admitted = Space::admit(&self.space, bytes);
        self.check_room()?;
        Ok(Some(admitted))
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
        let retention = Some(self.retention_status());
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
            not_serving: self.gate.reason().unwrap_or_default(),
            retention,
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
        let outcome = self.receiver.await;
        drop(self.admitted);
        match outcome {
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
    let index = Index::open(&config.data_dir.join("index"), config.index_cache_bytes())?;
    let machine = Machine::open(checkpoints, index, segments, config.recent_bytes())?;
    Ok((identity, machine, store))
}
