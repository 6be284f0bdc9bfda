//! The demo's pyramid: two edges, a site and an enterprise, and the machines at the edges.
//!
//! ```text
//!                acme                 1 node,  SQLite
//!                  │
//!            acme.cologne             3 nodes, SQLite
//!             ╱ (relay)  ╲
//!  acme.cologne.line-1   acme.cologne.line-2
//!  1 node                3 nodes
//!  fridge-01             fridge-02, spindle-01
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use proto::HubPath;
use raft_log::client::LogClient;

use super::machines::{Fridge, Machines, Spindle};
use crate::pyramid::{HubSpec, Pyramid, Relay};

pub(super) const ENTERPRISE: &str = "acme";
pub(super) const SITE: &str = "acme.cologne";
/// One node; its link upward goes through the relay.
pub(super) const LINE_1: &str = "acme.cologne.line-1";
/// Three nodes.
pub(super) const LINE_2: &str = "acme.cologne.line-2";
/// From the bottom to the top.
pub(super) const HUBS: [&str; 4] = [LINE_1, LINE_2, SITE, ENTERPRISE];
/// At line 2.
pub(super) const FRIDGE_2: &str = "fridge-02";

const START_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Plant {
    pub(super) pyramid: Pyramid,
    /// Between line 1 and the site.
    pub(super) relay: Relay,
}

/// How to ask a hub, apart from the plant.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) hub: &'static str,
    pub(super) client: LogClient,
    pub(super) historian: bool,
}

impl Plant {
    pub(super) async fn start(executable: &Path, directory: &Path) -> anyhow::Result<Plant> {
        let mut pyramid = Pyramid::new(executable, directory);
        let mut enterprise = HubSpec::new(ENTERPRISE);
        enterprise.historian = true;
        let parent = urls(&pyramid.add(enterprise)?.uplinks());

        let site = HubSpec {
            nodes: 3,
            historian: true,
            parent,
            ..HubSpec::new(SITE)
        };
        let uplinks = pyramid.add(site)?.uplinks();
        let relay = Relay::start(&uplinks).await?;
        pyramid.add(HubSpec {
            parent: urls(relay.addresses()),
            ..HubSpec::new(LINE_1)
        })?;
        pyramid.add(HubSpec {
            nodes: 3,
            parent: urls(&uplinks),
            ..HubSpec::new(LINE_2)
        })?;
        pyramid.start(START_LIMIT).await?;
        Ok(Plant { pyramid, relay })
    }

    pub(super) fn processes(&self) -> usize {
        self.pyramid
            .hubs()
            .iter()
            .map(|hub| hub.nodes().len())
            .sum()
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

    /// All hubs from the bottom to the top.
    pub(super) fn asked(&self) -> anyhow::Result<Vec<Asked>> {
        let asked = HUBS.iter().map(|path| {
            let hub = self.pyramid.hub(path)?;
            let (client, historian) = (hub.client().clone(), hub.historian().is_some());
            Ok(Asked {
                hub: path,
                client,
                historian,
            })
        });
        asked.collect()
    }
}

/// The last part of a hub's path, as progress lines have it.
pub(super) fn short(hub: &'static str) -> &'static str {
    match hub {
        ENTERPRISE => "enterprise",
        SITE => "site",
        hub => hub.rsplit('.').next().unwrap_or(hub),
    }
}

fn urls(addresses: &[SocketAddr]) -> Vec<String> {
    addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect()
}
