//! The nodes of one hub.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use proto::rpc::StatusResponse;
use raft_log::client::{ClientConfig, LogClient};
use tokio::time::{Instant, sleep};

use super::node::NodeProcess;
use super::ports::free_ports;
use super::spec::{Addresses, HubSpec, historian_path};

const POLL: Duration = Duration::from_millis(20);

/// A hub of one, three or five processes.
#[derive(Debug)]
pub struct Hub {
    spec: HubSpec,
    nodes: Vec<NodeProcess>,
    client: LogClient,
}

/// A node that says it leads, and what else it says.
#[derive(Clone, Debug)]
pub struct Leader {
    /// Into [`Hub::nodes`].
    pub index: usize,
    pub status: StatusResponse,
}

impl Hub {
    pub(super) fn create(spec: HubSpec, executable: &Path, root: &Path) -> anyhow::Result<Hub> {
        let ports = free_ports(3 * spec.nodes)?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let all: Vec<Addresses> = ports
            .chunks_exact(3)
            .map(|p| Addresses {
                log: at(p[0]),
                uplink: at(p[1]),
                mqtt: at(p[2]),
            })
            .collect();
        let mut nodes = Vec::with_capacity(spec.nodes);
        for (index, addresses) in all.iter().enumerate() {
            let directory = root.join(&spec.path).join(format!("node-{}", index + 1));
            let doing = || format!("create {}", directory.display());
            fs::create_dir_all(&directory).with_context(doing)?;
            let yaml = spec.yaml(index, &all, &directory);
            fs::write(directory.join("hub.yaml"), yaml).with_context(doing)?;
            let name = match spec.nodes {
                1 => spec.path.clone(),
                _ => format!("{} node {}", spec.path, index + 1),
            };
            nodes.push(NodeProcess::new(
                name,
                executable.into(),
                directory,
                *addresses,
            )?);
        }
        let endpoints = all
            .iter()
            .map(|addresses| addresses.log.to_string())
            .collect();
        let client = LogClient::new(ClientConfig {
            endpoints,
            group: 0,
            tls: None,
        })?;
        Ok(Hub {
            spec,
            nodes,
            client,
        })
    }

    pub fn path(&self) -> &str {
        &self.spec.path
    }

    pub fn spec(&self) -> &HubSpec {
        &self.spec
    }

    pub fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    pub fn nodes_mut(&mut self) -> &mut [NodeProcess] {
        &mut self.nodes
    }

    pub fn node_mut(&mut self, index: usize) -> anyhow::Result<&mut NodeProcess> {
        let path = &self.spec.path;
        self.nodes
            .get_mut(index)
            .with_context(|| format!("hub {path} has no node {}", index + 1))
    }

    /// Asks whichever node answers.
    pub fn client(&self) -> &LogClient {
        &self.client
    }

    pub fn brokers(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(NodeProcess::mqtt).collect()
    }

    pub fn uplinks(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(NodeProcess::uplink).collect()
    }

    /// The SQLite file that node 1 writes, when the hub has a historian.
    pub fn historian(&self) -> Option<PathBuf> {
        self.nodes
            .first()
            .filter(|_| self.spec.historian)
            .map(|n| historian_path(n.directory()))
    }

    pub fn start(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(NodeProcess::start)
    }

    /// Waits for each node by itself.
    pub async fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.wait_ready(limit).await?;
        }
        Ok(())
    }

    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(NodeProcess::check_alive)
    }

    /// The node that leads now. Of two that say so, the one of the higher term does.
    pub async fn leader(&self) -> Option<Leader> {
        let statuses = self.nodes.iter().map(NodeProcess::status);
        let statuses = futures::future::join_all(statuses).await;
        let leading = statuses
            .into_iter()
            .enumerate()
            .filter_map(|(index, status)| {
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
