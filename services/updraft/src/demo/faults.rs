//! The faults: one after the other, each awaited until its layer serves again.

mod wait;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use console::lab::Action;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::lab::Orders;
use super::ledger::Account;
use super::plant::{ENTERPRISE, FRIDGE_2, LINE_1, LINE_2, SITE};
use super::story::Story;
use crate::pyramid::Observer;
use wait::{acknowledges_again, caught_up, under_way};

/// A layer that does not serve again within this time has failed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// When each fault begins, in thousandths of the run time.
const BEGIN: [(Fault, u32); 4] = [
    (Fault::SiteLeader, 120),
    (Fault::EdgeNode, 330),
    (Fault::Enterprise, 520),
    (Fault::EdgeLink, 720),
];
/// How long the enterprise's process is gone, and the link is cut, in thousandths of the run time.
const DOWN: u32 = 60;
const CUT: u32 = 120;
/// The limits of both.
const SHORTEST: Duration = Duration::from_millis(1500);
const LONGEST: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    SiteLeader,
    EdgeNode,
    Enterprise,
    EdgeLink,
}

/// What was done and how long it was felt.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Done {
    /// "kill" or "cut".
    kind: &'static str,
    target: String,
    /// Since the machines started.
    at_ms: u64,
    /// From then until the layer acknowledged again.
    recovered_ms: u64,
}

impl Done {
    /// For people.
    pub(super) fn line(&self) -> String {
        let Done {
            kind,
            target,
            at_ms,
            recovered_ms,
        } = self;
        format!("{kind:4} {target} at {at_ms} ms: acknowledging again after {recovered_ms} ms")
    }
}

/// Breaks a plant while its machines run.
pub(super) struct Faults {
    pub(super) orders: Orders,
    pub(super) hubs: Vec<Observer>,
    pub(super) accounts: Vec<Arc<Account>>,
    pub(super) story: Story,
    /// When the machines started.
    pub(super) started: Instant,
}

impl Faults {
    /// Ends when all faults were made and mended.
    pub(super) async fn run(self, run_time: Duration, done: &mut Vec<Done>) -> anyhow::Result<()> {
        for (fault, begin) in BEGIN {
            sleep_until(self.started + part(run_time, begin)).await;
            let fault = match fault {
                Fault::SiteLeader => self.kill_site_leader().await?,
                Fault::EdgeNode => self.kill_edge_node().await?,
                Fault::Enterprise => self.kill_enterprise(outage(run_time, DOWN)).await?,
                Fault::EdgeLink => self.cut_edge(outage(run_time, CUT)).await?,
            };
            self.story.felt(None);
            done.push(fault);
        }
        Ok(())
    }

    fn hub(&self, path: &str) -> anyhow::Result<&Observer> {
        let hub = self.hubs.iter().find(|hub| hub.path() == path);
        hub.with_context(|| format!("there is no hub {path}"))
    }

    async fn kill_site_leader(&self) -> anyhow::Result<Done> {
        let site = self.hub(SITE)?;
        let leader = site.wait_leader(RECOVERY_LIMIT).await?;
        let committed = leader.status.next_offset;
        let recovery = self
            .kill(SITE, leader.index, "the site's log leader")
            .await?;
        site.wait_committed(committed + 1, RECOVERY_LIMIT).await?;
        let done = self.recovered(recovery);
        self.bring_back(SITE, leader.index).await?;
        Ok(done)
    }

    /// The node that a machine is connected to, at a moment when messages are under way: some are
    /// committed, but their acknowledgement is not sent.
    async fn kill_edge_node(&self) -> anyhow::Result<Done> {
        let fridge = self
            .accounts
            .iter()
            .find(|account| account.machine == FRIDGE_2)
            .context("find the refrigerator")?;
        let under_way = under_way(fridge).await;
        let node = fridge.broker.load(Ordering::Relaxed);
        let what = format!("serves {FRIDGE_2}, {under_way} of its messages are under way");
        let recovery = self.kill(LINE_2, node, &what).await?;
        acknowledges_again(fridge).await?;
        let done = self.recovered(recovery);
        self.bring_back(LINE_2, node).await?;
        Ok(done)
    }

    async fn kill_enterprise(&self, down: Duration) -> anyhow::Result<Done> {
        let enterprise = self.hub(ENTERPRISE)?;
        let leader = enterprise.wait_leader(RECOVERY_LIMIT).await?;
        let committed = leader.status.next_offset;
        let what = "the enterprise's only process";
        let recovery = self.kill(ENTERPRISE, 0, what).await?;
        sleep(down).await;
        let starts = self.orders.give(start(ENTERPRISE, 0));
        let commits = async {
            enterprise
                .wait_committed(committed + 1, RECOVERY_LIMIT)
                .await?;
            Ok(self.recovered(recovery))
        };
        let (_, done) = tokio::try_join!(starts, commits)?;
        Ok(done)
    }

    async fn cut_edge(&self, cut: Duration) -> anyhow::Result<Done> {
        let target = format!("{LINE_1} to {SITE}");
        let what = format!("{target} for {} ms", millis(cut));
        let child = LINE_1.to_owned();
        self.orders.give(Action::Cut { child }).await?;
        let recovery = self.begin("cut", target, &what);
        sleep(cut).await;
        let held = self.arrived_from_line_1().await.unwrap_or_default();
        let child = LINE_1.to_owned();
        self.orders.give(Action::Heal { child }).await?;
        let deadline = Instant::now() + RECOVERY_LIMIT;
        while self
            .arrived_from_line_1()
            .await
            .is_none_or(|arrived| arrived <= held)
        {
            if Instant::now() > deadline {
                bail!("{LINE_1} sends nothing up although its link is healed");
            }
            sleep(POLL).await;
        }
        Ok(self.recovered(recovery))
    }

    /// Records of line 1 that the site has committed.
    async fn arrived_from_line_1(&self) -> Option<u64> {
        let site = self.hub(SITE).ok()?;
        let origins = site.leader().await?.status.origins;
        let of_line_1 = origins.iter().filter(|state| {
            state
                .origin
                .as_ref()
                .is_some_and(|origin| origin.hub == LINE_1)
        });
        Some(of_line_1.map(|state| state.next_sequence).sum())
    }

    async fn kill(&self, hub: &str, index: usize, what: &str) -> anyhow::Result<Recovery> {
        let name = self.name(hub, index)?;
        let hub = hub.to_owned();
        let node = number(index);
        self.orders.give(Action::Kill { hub, node }).await?;
        let what = format!("{name} ({what})");
        Ok(self.begin("kill", name, &what))
    }

    fn name(&self, hub: &str, index: usize) -> anyhow::Result<String> {
        let node = self.hub(hub)?.nodes().get(index);
        Ok(node.context("find the node")?.name().to_owned())
    }

    /// The layer acknowledges again.
    fn recovered(&self, recovery: Recovery) -> Done {
        let done = recovery.done();
        let (target, millis) = (&done.target, done.recovered_ms);
        self.story
            .more(format!("{target}: acknowledging again after {millis} ms"));
        done
    }

    fn begin(&self, kind: &'static str, target: String, what: &str) -> Recovery {
        let now = Instant::now();
        self.story.event(format!("FAULT: {kind} {what}"));
        self.story.felt(Some(format!("{kind} {target}")));
        Recovery {
            kind,
            target,
            at: now.duration_since(self.started),
            began: now,
        }
    }

    /// Starts the node and waits until it has what the others have.
    async fn bring_back(&self, path: &str, index: usize) -> anyhow::Result<()> {
        let hub = self.hub(path)?;
        let to = hub.wait_leader(RECOVERY_LIMIT).await?.status.next_offset;
        let name = self.name(path, index)?;
        let started = Instant::now();
        self.orders.give(start(path, index)).await?;
        caught_up(hub, index, to).await?;
        let after = started.elapsed().as_millis();
        self.story.more(format!(
            "{name}: back and level with the others {after} ms after its start"
        ));
        Ok(())
    }
}

fn start(hub: &str, index: usize) -> Action {
    Action::Start {
        hub: hub.to_owned(),
        node: number(index),
    }
}

/// Nodes are counted from 1.
fn number(index: usize) -> u64 {
    index as u64 + 1
}

/// A fault that is felt.
struct Recovery {
    kind: &'static str,
    target: String,
    at: Duration,
    began: Instant,
}

impl Recovery {
    fn done(self) -> Done {
        Done {
            kind: self.kind,
            target: self.target,
            at_ms: millis(self.at),
            recovered_ms: millis(self.began.elapsed()),
        }
    }
}

fn outage(run_time: Duration, thousandths: u32) -> Duration {
    part(run_time, thousandths).clamp(SHORTEST, LONGEST)
}

fn part(run_time: Duration, thousandths: u32) -> Duration {
    run_time * thousandths / 1000
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_scale_with_the_run_time_within_limits() {
        for (run_seconds, down_ms, cut_ms) in
            [(10, 1500, 1500), (30, 1800, 3600), (3600, 20_000, 20_000)]
        {
            let run_time = Duration::from_secs(run_seconds);
            assert_eq!(outage(run_time, DOWN).as_millis(), down_ms);
            assert_eq!(outage(run_time, CUT).as_millis(), cut_ms);
        }
    }

    #[test]
    fn faults_begin_one_after_the_other_before_the_end() {
        assert!(BEGIN.is_sorted_by_key(|(_, begin)| *begin));
        assert!(BEGIN.iter().all(|(_, begin)| *begin < 1000 - CUT));
    }
}
