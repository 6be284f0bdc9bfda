//! The faults: one after the other, each awaited until its layer serves again.

mod wait;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::console::Console;
use super::machines::Machines;
use super::plant::{ENTERPRISE, FRIDGE_2, LINE_1, LINE_2, Plant, SITE};
use crate::pyramid::Link;
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
pub(super) struct Faults<'a> {
    pub(super) plant: &'a mut Plant,
    pub(super) machines: &'a Machines,
    pub(super) console: Console,
    /// When the machines started.
    pub(super) started: Instant,
    /// What is broken now; empty when nothing is.
    pub(super) current: &'a watch::Sender<String>,
}

impl Faults<'_> {
    /// Ends when the run time is over and all faults were made and mended.
    pub(super) async fn run(mut self, run_time: Duration) -> anyhow::Result<Vec<Done>> {
        let mut done = Vec::new();
        for (fault, begin) in BEGIN {
            sleep_until(self.started + part(run_time, begin)).await;
            self.plant.pyramid.check_alive()?;
            let fault = match fault {
                Fault::SiteLeader => self.kill_site_leader().await?,
                Fault::EdgeNode => self.kill_edge_node().await?,
                Fault::Enterprise => self.kill_enterprise(outage(run_time, DOWN)).await?,
                Fault::EdgeLink => self.cut_edge(outage(run_time, CUT)).await?,
            };
            self.current.send_replace(String::new());
            done.push(fault);
        }
        sleep_until(self.started + run_time).await;
        self.plant.pyramid.check_alive()?;
        Ok(done)
    }

    async fn kill_site_leader(&mut self) -> anyhow::Result<Done> {
        let site = self.plant.pyramid.hub(SITE)?;
        let leader = site.wait_leader(RECOVERY_LIMIT).await?;
        let committed = leader.status.next_offset;
        let recovery = self.kill(SITE, leader.index, "the site's log leader")?;
        self.plant
            .pyramid
            .hub(SITE)?
            .wait_committed(committed + 1, RECOVERY_LIMIT)
            .await?;
        let done = self.recovered(recovery);
        self.bring_back(SITE, leader.index).await?;
        Ok(done)
    }

    /// The node that a machine is connected to, at a moment when messages are under way: some are
    /// committed, but their acknowledgement is not sent.
    async fn kill_edge_node(&mut self) -> anyhow::Result<Done> {
        let fridge = self
            .machines
            .account(FRIDGE_2)
            .context("find the refrigerator")?;
        let fridge = Arc::clone(fridge);
        let under_way = under_way(&fridge).await;
        let node = fridge.broker.load(Ordering::Relaxed);
        let what = format!("serves {FRIDGE_2}, {under_way} of its messages are under way");
        let recovery = self.kill(LINE_2, node, &what)?;
        acknowledges_again(&fridge).await?;
        let done = self.recovered(recovery);
        self.bring_back(LINE_2, node).await?;
        Ok(done)
    }

    async fn kill_enterprise(&mut self, down: Duration) -> anyhow::Result<Done> {
        let enterprise = self.plant.pyramid.hub(ENTERPRISE)?;
        let committed = enterprise
            .wait_leader(RECOVERY_LIMIT)
            .await?
            .status
            .next_offset;
        let recovery = self.kill(ENTERPRISE, 0, "the enterprise's only process")?;
        sleep(down).await;
        self.plant
            .pyramid
            .hub_mut(ENTERPRISE)?
            .node_mut(0)?
            .start()?;
        let enterprise = self.plant.pyramid.hub(ENTERPRISE)?;
        enterprise
            .wait_committed(committed + 1, RECOVERY_LIMIT)
            .await?;
        Ok(self.recovered(recovery))
    }

    async fn cut_edge(&mut self, cut: Duration) -> anyhow::Result<Done> {
        let target = format!("{LINE_1} to {SITE}");
        let what = format!("{target} for {} ms", millis(cut));
        let recovery = self.begin("cut", target, &what);
        self.plant.relay.set(Link::Refused);
        sleep(cut).await;
        let held = self.arrived_from_line_1().await.unwrap_or_default();
        self.plant.relay.set(Link::Up);
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
        let site = self.plant.pyramid.hub(SITE).ok()?;
        let origins = site.leader().await?.status.origins;
        let of_line_1 = origins.iter().filter(|state| {
            state
                .origin
                .as_ref()
                .is_some_and(|origin| origin.hub == LINE_1)
        });
        Some(of_line_1.map(|state| state.next_sequence).sum())
    }

    fn kill(&mut self, hub: &str, node: usize, what: &str) -> anyhow::Result<Recovery> {
        let process = self.plant.pyramid.hub_mut(hub)?.node_mut(node)?;
        let name = process.name().to_owned();
        process.kill()?;
        let what = format!("{name} ({what})");
        Ok(self.begin("kill", name, &what))
    }

    /// The layer acknowledges again.
    fn recovered(&self, recovery: Recovery) -> Done {
        let done = recovery.done();
        let (target, millis) = (&done.target, done.recovered_ms);
        self.console.line(format!(
            "         {target}: acknowledging again after {millis} ms"
        ));
        done
    }

    fn begin(&self, kind: &'static str, target: String, what: &str) -> Recovery {
        let now = Instant::now();
        let at = now.duration_since(self.started);
        self.console
            .line(format!("{:6.1}s  FAULT: {kind} {what}", at.as_secs_f64()));
        self.current.send_replace(format!("fault: {kind} {target}"));
        Recovery {
            kind,
            target,
            at,
            began: now,
        }
    }

    /// Starts the node and waits until it has what the others have.
    async fn bring_back(&mut self, hub: &str, node: usize) -> anyhow::Result<()> {
        let hub = self.plant.pyramid.hub_mut(hub)?;
        let to = hub.wait_leader(RECOVERY_LIMIT).await?.status.next_offset;
        let process = hub.node_mut(node)?;
        let name = process.name().to_owned();
        let started = Instant::now();
        process.start()?;
        process.wait_ready(RECOVERY_LIMIT).await?;
        caught_up(hub, node, to).await?;
        let after = started.elapsed().as_millis();
        self.console.line(format!(
            "         {name}: back and level with the others {after} ms after its start"
        ));
        Ok(())
    }
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
