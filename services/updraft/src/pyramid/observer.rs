//! Asks the nodes of a hub how they are; owns no process, so anybody may hold one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use proto::rpc::StatusResponse;
use raft_log::client::LogClient;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// A node that does not answer within this time is not there.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// Asks the nodes of one hub.
#[derive(Clone, Debug)]
pub struct Observer {
    pub(super) path: String,
    pub(super) client: LogClient,
    pub(super) nodes: Vec<NodeObserver>,
    pub(super) historian: Option<PathBuf>,
}

/// Asks one node.
#[derive(Clone, Debug)]
pub struct NodeObserver {
    pub(super) name: String,
    pub(super) client: LogClient,
    pub(super) mqtt: SocketAddr,
}

/// A node that says it leads, and what else it says.
#[derive(Clone, Debug)]
pub struct Leader {
    /// Into the hub's nodes.
    pub index: usize,
    pub status: StatusResponse,
}

impl NodeObserver {
    /// For people: "acme.cologne node 2".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks this node alone.
    pub fn client(&self) -> &LogClient {
        &self.client
    }

    /// What the node says of its log; `None` when it does not answer.
    pub async fn status(&self) -> Option<StatusResponse> {
        timeout(ASK_TIMEOUT, self.client.status()).await.ok()?.ok()
    }

    /// Whether it knows its hub and a leader, and its MQTT port accepts.
    pub async fn is_ready(&self) -> bool {
        let accepts = async || TcpStream::connect(self.mqtt).await.is_ok();
        let formed = |status: StatusResponse| !status.hub.is_empty() && status.leader_id.is_some();
        self.status().await.is_some_and(formed) && accepts().await
    }
}

impl Observer {
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Asks whichever node answers.
    pub fn client(&self) -> &LogClient {
        &self.client
    }

    pub fn nodes(&self) -> &[NodeObserver] {
        &self.nodes
    }

    /// The SQLite file that node 1 writes, when the hub has a historian.
    pub fn historian(&self) -> Option<&Path> {
        self.historian.as_deref()
    }

    /// Of each node; `None` for one that does not answer.
    pub async fn statuses(&self) -> Vec<Option<StatusResponse>> {
        futures::future::join_all(self.nodes.iter().map(NodeObserver::status)).await
    }

    /// The node that leads now. Of two that say so, the one of the higher term does.
    pub async fn leader(&self) -> Option<Leader> {
        let statuses = self.statuses().await.into_iter().enumerate();
        let leading = statuses.filter_map(|(index, status)| {
            let status = status.filter(|status| status.role == "leader")?;
            Some(Leader { index, status })
        });
        leading.max_by_key(|leader| leader.status.term)
    }

    pub async fn wait_leader(&self, limit: Duration) -> anyhow::Result<Leader> {
        self.wait_committed(0, limit).await
    }

    /// Waits until a node leads that has committed records beyond `offset`.
    pub async fn wait_committed(&self, offset: u64, limit: Duration) -> anyhow::Result<Leader> {
        let deadline = Instant::now() + limit;
        loop {
            let leader = self.leader().await;
            if let Some(leader) = leader.filter(|leader| leader.status.next_offset >= offset) {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                bail!(
                    "hub {} commits nothing: no progress within {limit:?}",
                    self.path()
                );
            }
            sleep(POLL).await;
        }
    }
}
