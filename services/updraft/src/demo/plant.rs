//! The demo's pyramid: two edges, a site and an enterprise, and the machines at the edges.
//!
//! ```text
//!                acme                 1 node,  SQLite
//!                  │
//!            acme.cologne             3 nodes, SQLite
//!             ╱          ╲
//!  acme.cologne.line-1   acme.cologne.line-2
//!  1 node                3 nodes
//!  fridge-01             fridge-02, spindle-01
//! ```
//!
//! Each link upward goes through a relay, so that it can be cut.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use proto::HubPath;

use super::machines::{Fridge, Machines, Spindle};
use crate::pyramid::{Hub, HubSpec, Link, NodeProcess, Observer, Pyramid, Relay};

pub(super) const ENTERPRISE: &str = "acme";
pub(super) const SITE: &str = "acme.cologne";
/// One node.
pub(super) const LINE_1: &str = "acme.cologne.line-1";
/// Three nodes.
pub(super) const LINE_2: &str = "acme.cologne.line-2";
/// From the bottom to the top.
pub(super) const HUBS: [&str; 4] = [LINE_1, LINE_2, SITE, ENTERPRISE];
/// At line 2.
pub(super) const FRIDGE_2: &str = "fridge-02";

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Plant {
    pyramid: Pyramid,
    /// By the hub at their lower end.
    links: BTreeMap<&'static str, Uplink>,
}

/// The way from a hub to its parent.
#[derive(Debug)]
struct Uplink {
    parent: &'static str,
    relay: Relay,
    cut: bool,
}

impl Plant {
    pub(super) async fn start(executable: &Path, directory: &Path) -> anyhow::Result<Plant> {
        let mut plant = Plant {
            pyramid: Pyramid::new(executable, directory),
            links: BTreeMap::new(),
        };
        let mut enterprise = HubSpec::new(ENTERPRISE);
        enterprise.historian = true;
        let uplinks = plant.pyramid.add(enterprise)?.uplinks();
        let site = HubSpec {
            nodes: 3,
            historian: true,
            parent: plant.link(SITE, ENTERPRISE, &uplinks).await?,
            ..HubSpec::new(SITE)
        };
        let uplinks = plant.pyramid.add(site)?.uplinks();
        for (path, nodes) in [(LINE_1, 1), (LINE_2, 3)] {
            let parent = plant.link(path, SITE, &uplinks).await?;
            plant.pyramid.add(HubSpec {
                nodes,
                parent,
                ..HubSpec::new(path)
            })?;
        }
        plant.pyramid.start(START_LIMIT).await?;
        Ok(plant)
    }

    /// Opens the way between two hubs; returns where the lower one finds the upper one.
    async fn link(
        &mut self,
        child: &'static str,
        parent: &'static str,
        uplinks: &[SocketAddr],
    ) -> anyhow::Result<Vec<String>> {
        let relay = Relay::start(uplinks).await?;
        let urls = relay.addresses().iter().map(|at| format!("http://{at}"));
        let urls = urls.collect();
        let link = Uplink {
            parent,
            relay,
            cut: false,
        };
        self.links.insert(child, link);
        Ok(urls)
    }

    /// From the top to the bottom.
    pub(super) fn hubs(&self) -> &[Hub] {
        self.pyramid.hubs()
    }

    pub(super) fn processes(&self) -> usize {
        self.pyramid
            .hubs()
            .iter()
            .map(|hub| hub.nodes().len())
            .sum()
    }

    /// All hubs from the bottom to the top, to be asked.
    pub(super) fn observers(&self) -> anyhow::Result<Vec<Observer>> {
        let observers = HUBS.iter().map(|path| {
            let hub = self.pyramid.hub(path)?;
            Ok(hub.observer().clone())
        });
        observers.collect()
    }

    pub(super) fn hub(&self, path: &str) -> anyhow::Result<&Hub> {
        self.pyramid.hub(path)
    }

    /// The node `id` of a hub.
    pub(super) fn node(&mut self, hub: &str, id: u64) -> anyhow::Result<&mut NodeProcess> {
        let nodes = self.pyramid.hub_mut(hub)?.nodes_mut();
        let count = nodes.len();
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        let node = index.and_then(|index| nodes.get_mut(index));
        node.with_context(|| format!("hub {hub} has no node {id}: it has {count}"))
    }

    /// All nodes from the top to the bottom: hub, number, and its process.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, u64, &NodeProcess)> {
        let hubs = self.pyramid.hubs().iter();
        hubs.flat_map(|hub| {
            (1..)
                .zip(hub.nodes())
                .map(|(id, node)| (hub.path(), id, node))
        })
    }

    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut NodeProcess> {
        self.pyramid.hubs_mut().iter_mut().flat_map(Hub::nodes_mut)
    }

    /// Cuts or heals the link from `child` to its parent; returns the parent. `None` when it is so
    /// already.
    pub(super) fn set_link(&mut self, child: &str, cut: bool) -> anyhow::Result<Option<&str>> {
        let Some(link) = self.links.get_mut(child) else {
            self.pyramid.hub(child)?;
            bail!("{child} is the hub at the top: it has no link upward");
        };
        if link.cut == cut {
            return Ok(None);
        }
        link.cut = cut;
        link.relay.set(if cut { Link::Refused } else { Link::Up });
        Ok(Some(link.parent))
    }

    /// All links from the top to the bottom: child, parent, and whether it is cut.
    pub(super) fn links(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let links = self.links.iter();
        links.map(|(child, link)| (*child, link.parent, link.cut))
    }

    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        self.pyramid.stop(STOP_LIMIT).await
    }

    pub(super) fn connect_machines(&self) -> anyhow::Result<Machines> {
        let mut machines = Machines::new();
        let (line_1, brokers_1) = self.place(LINE_1)?;
        let (line_2, brokers_2) = self.place(LINE_2)?;
        // Each at another node; the first one usually leads, and is the one that is killed.
        let mut rotated = brokers_2.clone();
        rotated.rotate_left(1);
        machines.add("fridge-01", &line_1, brokers_1, Fridge::new(1));
        machines.add(FRIDGE_2, &line_2, brokers_2, Fridge::new(2));
        machines.add("spindle-01", &line_2, rotated, Spindle::new(3));
        Ok(machines)
    }

    fn place(&self, hub: &str) -> anyhow::Result<(HubPath, Vec<SocketAddr>)> {
        let path = hub.parse().context("name a hub")?;
        Ok((path, self.pyramid.hub(hub)?.brokers()))
    }
}

/// The last part of a hub's path, as progress lines have it.
pub(super) fn short(hub: &str) -> &str {
    match hub {
        ENTERPRISE => "enterprise",
        SITE => "site",
        hub => hub.rsplit('.').next().unwrap_or(hub),
    }
}
