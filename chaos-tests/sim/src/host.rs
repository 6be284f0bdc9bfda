//! A node of the hub as the simulated network sees it: the real log, its two gRPC services, and
//! what became of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::NodeId;
use raft_log::node::DiskConfig;
use raft_log::{Node, NodeConfig};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use turmoil::net::TcpListener;

use crate::machine::Machine;
use crate::net;
use crate::plan::Plan;

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_millis(400);
/// As in the service.
const HAND_OVER: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_secs(1);
const HUB: &str = "sim.hub";

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: u64,
    pub(crate) machine: Arc<Machine>,
    pub(crate) config: NodeConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    node: Option<Node>,
    /// Why it is no longer there.
    ended: Option<String>,
    /// Its state was found to be another one than that of its peers.
    differs: Option<String>,
    /// It is switched on.
    used: bool,
    shutdown: CancellationToken,
}

pub(crate) fn name(id: u64) -> String {
    format!("node-{id}")
}

pub(crate) fn address(id: u64) -> String {
    format!("{}:{}", name(id), net::PORT)
}

impl Host {
    pub(crate) fn new(
        id: u64,
        machine: Arc<Machine>,
        directory: &Path,
        plan: &Plan,
    ) -> anyhow::Result<Arc<Host>> {
        let members = (1..=plan.nodes).chain((id > plan.nodes).then_some(id));
        let members = members.map(|id| (NodeId(id), address(id)));
        let config = NodeConfig {
            node_id: NodeId(id),
            group: 0,
            hub: HUB.parse().map_err(|error| anyhow::anyhow!("{error}"))?,
            data_dir: directory.join(name(id)),
            nodes: members.collect::<BTreeMap<_, _>>(),
            segment_bytes: plan.segment_bytes,
            heartbeat: HEARTBEAT,
            election_timeout: ELECTION_TIMEOUT,
            // Little, so that much is read from the disk.
            memory_bytes: 48 << 10,
            retention: plan.keeping.retention,
            disk: DiskConfig {
                budget: plan.keeping.budget,
                reserve: None,
            },
            quota_bytes_per_second: None,
            tls: None,
            environment: machine.clone(),
        };
        Ok(Arc::new(Host {
            id,
            machine,
            config,
            state: Mutex::new(State {
                node: None,
                ended: None,
                differs: None,
                used: id <= plan.nodes,
                shutdown: CancellationToken::new(),
            }),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node while it runs.
    pub(crate) fn node(&self) -> Option<Node> {
        self.state().node.clone()
    }

    /// Why it has ended by itself.
    pub(crate) fn ended(&self) -> Option<String> {
        self.state().ended.clone()
    }

    /// Why it must not serve: nothing that goes wrong here may bring a node there.
    pub(crate) fn differs(&self) -> Option<String> {
        let state = self.state();
        let gate = || state.node.as_ref()?.not_serving();
        state.differs.clone().or_else(gate)
    }

    pub(crate) fn is_used(&self) -> bool {
        self.state().used
    }

    pub(crate) fn set_used(&self, used: bool) {
        self.state().used = used;
    }

    /// Its disk is lost.
    pub(crate) fn wipe(&self) {
        self.machine.storage.wipe();
        let _ = std::fs::remove_dir_all(&self.config.data_dir);
    }

    /// Ends it in order, soon.
    pub(crate) fn stop(&self) {
        self.state().shutdown.cancel();
    }

    /// Before the host crashes, so that nobody holds the node's files any more.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.node = None;
        state.ended = None;
        state.shutdown = CancellationToken::new();
    }

    /// Runs the node until it ends by itself or is told to; then waits to be taken away.
    pub(crate) async fn run(self: Arc<Host>) -> turmoil::Result {
        if !self.is_used() {
            std::future::pending::<()>().await;
        }
        let shutdown = self.state().shutdown.clone();
        let ended = match Box::pin(self.serve(shutdown)).await {
            Ok(reason) => reason,
            Err(error) => format!("{error:#}"),
        };
        tracing::debug!(node = self.id, reason = ended, "ended");
        self.end(ended);
        std::future::pending().await
    }

    fn end(&self, reason: String) {
        let mut state = self.state();
        state.node = None;
        state.ended = Some(reason);
    }

    async fn serve(&self, shutdown: CancellationToken) -> anyhow::Result<String> {
        std::fs::create_dir_all(&self.config.data_dir)?;
        let node = Node::open(self.config.clone()).await?;
        self.state().node = Some(node.clone());
        let listener = TcpListener::bind(("0.0.0.0", net::PORT)).await?;
        let served = CancellationToken::new();
        let group = self.config.group;
        let serving = Server::builder()
            .add_service(node.peer_service())
            .add_service(log_service::log_server(node.clone(), group, served.clone()))
            .add_service(log_service::cluster_server(
                node.clone(),
                group,
                served.clone(),
            ))
            .serve_with_incoming_shutdown(net::incoming(listener), served.cancelled());
        let leaving = async {
            shutdown.cancelled().await;
            node.leave(HAND_OVER).await;
            served.cancel();
            tokio::time::sleep(DRAIN).await;
        };
        let ended = tokio::select! {
            served = serving => {
                served?;
                "serving ended".into()
            }
            reason = node.stopped() => reason,
            reason = node.compare() => {
                self.state().differs = Some(reason.clone());
                reason
            }
            () = leaving => "told to".into(),
            never = attend(&node) => match never {},
            never = form(&node) => match never {},
            never = node.retain() => match never {},
        };
        node.shutdown().await;
        Ok(ended)
    }
}

/// Never ends before the node does.
async fn attend(node: &Node) -> Infallible {
    node.attend().await;
    std::future::pending().await
}

async fn form(node: &Node) -> Infallible {
    node.bootstrap().await;
    std::future::pending().await
}
