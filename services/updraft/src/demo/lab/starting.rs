//! Nodes whose process is there and does not serve yet.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use anyhow::anyhow;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::{Reply, reply};
use crate::demo::plant::Plant;
use crate::pyramid::{NodeObserver, NodeProcess};

/// A node that does not serve after this time has failed to start, though it may still do it.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Starting {
    /// By the name of the node.
    nodes: BTreeMap<String, Node>,
    /// Each ends when its node serves.
    waiting: JoinSet<String>,
}

#[derive(Debug)]
struct Node {
    hub: String,
    id: u64,
    since: Instant,
    /// Its start is an event.
    told: bool,
    done: Option<Reply>,
    waiting: AbortHandle,
}

impl Starting {
    pub(super) fn add(
        &mut self,
        hub: &str,
        id: u64,
        observer: NodeObserver,
        told: bool,
        done: Reply,
    ) {
        let name = observer.name().to_owned();
        let waiting = self.waiting.spawn(async move {
            while !observer.is_ready().await {
                sleep(POLL).await;
            }
            observer.name().to_owned()
        });
        let node = Node {
            hub: hub.to_owned(),
            id,
            since: Instant::now(),
            told,
            done: Some(done),
            waiting,
        };
        self.nodes.insert(name, node);
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.nodes.contains_key(name)
    }

    /// The name of the next node that serves.
    pub(super) async fn served(&mut self) -> String {
        loop {
            match self.waiting.join_next().await {
                Some(Ok(name)) => return name,
                // It was forgotten.
                Some(Err(_)) => {}
                None => pending().await,
            }
        }
    }

    /// Tells who waits for a node that it serves; returns the event, when it is one.
    pub(super) fn done(&mut self, name: &str) -> Option<String> {
        let node = self.nodes.remove(name)?;
        let millis = node.since.elapsed().as_millis();
        let told = format!("{name} serves {millis} ms after its start");
        if let Some(done) = node.done {
            reply(done, Ok(told.clone()));
        }
        node.told.then_some(told)
    }

    /// The node starts no more.
    pub(super) fn forget(&mut self, name: &str, why: &str) {
        if let Some(node) = self.nodes.remove(name) {
            node.waiting.abort();
            if let Some(done) = node.done {
                reply(done, Err(anyhow!("{name} does not serve: {why}")));
            }
        }
    }

    /// Looks after the processes that start.
    pub(super) fn look(&mut self, plant: &mut Plant) {
        let mut failed = Vec::new();
        for (name, node) in &mut self.nodes {
            let tended = plant.node(&node.hub, node.id).and_then(NodeProcess::tend);
            if let Err(error) = tended {
                failed.push((name.clone(), format!("{error:#}")));
            } else if node.since.elapsed() > LIMIT
                && let Some(done) = node.done.take()
            {
                reply(done, Err(anyhow!("{name} does not serve after {LIMIT:?}")));
            }
        }
        for (name, why) in failed {
            self.forget(&name, &why);
        }
    }

    /// For all processes that do not start now.
    pub(super) fn others(
        &self,
        plant: &mut Plant,
        mut each: impl FnMut(&mut NodeProcess) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let nodes = plant.nodes_mut();
        let others = nodes.filter(|process| !self.contains(process.name()));
        others.into_iter().try_for_each(&mut each)
    }
}
