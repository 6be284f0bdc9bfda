//! The nodes of one hub.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use raft_log::client::{ClientConfig, LogClient};

use super::node::NodeProcess;
use super::observer::{Leader, Observer};
use super::ports::free_ports;
use super::spec::{Addresses, HubSpec, historian_path};

/// A hub of one, three or five processes.
#[derive(Debug)]
pub struct Hub {
    spec: HubSpec,
    nodes: Vec<NodeProcess>,
    observer: Observer,
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
        let historian = spec.historian.then(|| nodes.first()).flatten();
        let observer = Observer {
            path: spec.path.clone(),
            client,
            nodes: nodes.iter().map(|node| node.observer().clone()).collect(),
            historian: historian.map(|node| historian_path(node.directory())),
        };
        Ok(Hub {
            spec,
            nodes,
            observer,
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
        self.observer.client()
    }

    /// For whoever wants to ask this hub and must not own its processes.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    pub fn brokers(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(NodeProcess::mqtt).collect()
    }

    pub fn uplinks(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(NodeProcess::uplink).collect()
    }

    /// The SQLite file that node 1 writes, when the hub has a historian.
    pub fn historian(&self) -> Option<PathBuf> {
        self.observer.historian().map(Path::to_owned)
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

    pub async fn leader(&self) -> Option<Leader> {
        self.observer.leader().await
    }

    pub async fn wait_leader(&self, limit: Duration) -> anyhow::Result<Leader> {
        self.observer.wait_leader(limit).await
    }

    /// Waits until a node leads that has committed records beyond `offset`.
    pub async fn wait_committed(&self, offset: u64, limit: Duration) -> anyhow::Result<Leader> {
        self.observer.wait_committed(offset, limit).await
    }
}
