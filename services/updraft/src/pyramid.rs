//! Hubs of real processes on loopback: written, started, killed and brought back.
//!
//! ```text
//! DIR/<hub path>/node-<id>/hub.yaml     its configuration
//!                          node.log     what it prints, over all of its lives
//!                          data/        its files
//! ```
//! No process outlives the [`Pyramid`]: it kills them when it is dropped, and each of them ends by
//! itself when its standard input closes, which happens even when this process is killed.

mod hub;
mod node;
mod observer;
mod ports;
mod relay;
mod spec;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

pub use hub::Hub;
pub use node::NodeProcess;
pub use observer::{Leader, NodeObserver, Observer};
pub use ports::free_ports;
pub use relay::{Link, Relay};
pub use spec::HubSpec;
pub(crate) use spec::quoted;

/// Hubs, one above the other or side by side.
#[derive(Debug)]
pub struct Pyramid {
    executable: PathBuf,
    directory: PathBuf,
    hubs: Vec<Hub>,
}

impl Pyramid {
    /// `executable` must understand `run -c FILE --exit-with-parent`.
    pub fn new(executable: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Pyramid {
        Pyramid {
            executable: executable.into(),
            directory: directory.into(),
            hubs: Vec::new(),
        }
    }

    /// Finds ports for a hub and writes its files; starts nothing.
    pub fn add(&mut self, spec: HubSpec) -> anyhow::Result<&Hub> {
        let hub = Hub::create(spec, &self.executable, &self.directory)?;
        self.hubs.push(hub);
        self.hubs.last().context("find the hub that was just added")
    }

    /// Starts all nodes, and waits until every hub serves.
    pub async fn start(&mut self, limit: Duration) -> anyhow::Result<()> {
        for hub in &mut self.hubs {
            hub.start()?;
        }
        for hub in &mut self.hubs {
            hub.wait_ready(limit).await?;
        }
        Ok(())
    }

    pub fn hubs(&self) -> &[Hub] {
        &self.hubs
    }

    pub fn hubs_mut(&mut self) -> &mut [Hub] {
        &mut self.hubs
    }

    pub fn hub(&self, path: &str) -> anyhow::Result<&Hub> {
        let hub = self.hubs.iter().find(|hub| hub.path() == path);
        hub.with_context(|| format!("there is no hub {path}"))
    }

    pub fn hub_mut(&mut self, path: &str) -> anyhow::Result<&mut Hub> {
        let hub = self.hubs.iter_mut().find(|hub| hub.path() == path);
        hub.with_context(|| format!("there is no hub {path}"))
    }

    /// An error when a process has ended that nobody killed or stopped.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        self.hubs.iter_mut().try_for_each(Hub::check_alive)
    }

    /// Asks all processes to end (SIGTERM), and kills what is left after `limit`.
    pub async fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        let nodes = self.hubs.iter_mut().flat_map(Hub::nodes_mut);
        futures::future::try_join_all(nodes.map(|node| node.stop(limit))).await?;
        Ok(())
    }
}
