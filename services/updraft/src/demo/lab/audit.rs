//! An audit that somebody asked for, while the plant runs on.

use std::future::pending;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Reply, reply};
use crate::demo::drain::{PATIENCE, drain};
use crate::demo::gauges::Sample;
use crate::demo::ledger::{Account, Ledger};
use crate::demo::machines::Switch;
use crate::demo::plant::Plant;
use crate::demo::report;
use crate::demo::story::{Phase, Story};
use crate::demo::verdict::{Verdict, judge, lost_sessions};
use crate::pyramid::Observer;

#[derive(Debug)]
pub(super) struct Audit {
    samples: watch::Receiver<Sample>,
    running: JoinSet<anyhow::Result<Verdict>>,
    done: Option<Reply>,
}

impl Audit {
    pub(super) fn new(samples: watch::Receiver<Sample>) -> Audit {
        Audit {
            samples,
            running: JoinSet::new(),
            done: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.done.is_some()
    }

    pub(super) fn begin(
        &mut self,
        switch: Switch,
        hubs: Vec<Observer>,
        accounts: Vec<Arc<Account>>,
        absent: Vec<String>,
        story: Story,
        done: Reply,
    ) {
        self.done = Some(done);
        let mut samples = self.samples.clone();
        self.running.spawn(async move {
            let before = story.now().phase;
            let verdict = audit(&switch, &hubs, &accounts, &absent, &mut samples, &story).await;
            story.phase(before);
            verdict
        });
    }

    /// How it came out.
    pub(super) async fn ended(&mut self) -> anyhow::Result<Verdict> {
        match self.running.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => Err(error).context("audit"),
            None => pending().await,
        }
    }

    pub(super) fn give_up(&mut self, why: &str) {
        // Dropping it lets the machines go on.
        self.running = JoinSet::new();
        if let Some(done) = self.done.take() {
            reply(done, Err(anyhow!("the audit came to no end: {why}")));
        }
    }

    pub(super) fn tell(&mut self, outcome: anyhow::Result<Verdict>, story: &Story) {
        let outcome = outcome.context("the audit came to no end");
        let told = match &outcome {
            Ok(verdict) => {
                story.line(report::text(verdict, &[]));
                report::summary(verdict)
            }
            Err(error) => format!("{error:#}"),
        };
        story.event(&told);
        if let Some(done) = self.done.take() {
            reply(done, outcome.map(|_| told));
        }
    }
}

/// Why an audit could not come to an end now.
pub(super) fn obstacle(plant: &Plant) -> Option<String> {
    if let Some((child, parent, _)) = plant.links().find(|(.., cut)| *cut) {
        return Some(format!(
            "the link from {child} to {parent} is cut: heal it first"
        ));
    }
    plant.hubs().iter().find_map(|hub| {
        let path = hub.path();
        let up = hub.nodes().iter().filter(|node| node.is_up()).count();
        if up * 2 <= hub.nodes().len() {
            return Some(format!(
                "{path} has no majority of its nodes: start them first"
            ));
        }
        let writer = hub.nodes().first().filter(|_| hub.historian().is_some())?;
        (!writer.is_up()).then(|| {
            let name = writer.name();
            format!("{name} writes the historian and is killed: start it first")
        })
    })
}

/// Pauses the machines meanwhile.
async fn audit(
    switch: &Switch,
    hubs: &[Observer],
    accounts: &[Arc<Account>],
    absent: &[String],
    samples: &mut watch::Receiver<Sample>,
    story: &Story,
) -> anyhow::Result<Verdict> {
    story.phase(Phase::Draining);
    story.event("auditing: the machines pause until all has arrived and is compared");
    let paused = timeout(PATIENCE, switch.pause()).await;
    let _paused = paused.context("a machine waits for its broker and can't pause")?;
    drain(accounts, hubs, samples).await?;
    story.phase(Phase::Auditing);
    let mut verdict = judge(hubs, &Arc::new(Ledger::of(accounts)), absent).await?;
    verdict.further.extend(lost_sessions(accounts));
    Ok(verdict)
}
