//! What is to be seen, apart from how it is drawn.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use console::lab::{LabState, NodeState};
use tokio::time::Instant;

use crate::demo::gauges::{Sample, lag, unwritten};
use crate::demo::ledger::Account;
use crate::demo::plant::short;
use crate::demo::story::{Now, Phase};
use crate::pyramid::Observer;

#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) phase: Phase,
    /// Since the machines started.
    pub(super) elapsed: Duration,
    /// What is broken, and for how long.
    pub(super) fault: Option<(String, Duration)>,
    /// From the top to the bottom.
    pub(super) hubs: Vec<Hub>,
    pub(super) machines: Vec<Machine>,
    /// When they happened, since the machines started; the newest last.
    pub(super) events: Vec<(Duration, String)>,
    /// The console's address, and its users.
    pub(super) web: Option<(String, String)>,
    /// Somebody has asked to end.
    pub(super) ending: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Hub {
    /// With its place in the tree: "  ├ line-1".
    pub(super) name: String,
    pub(super) nodes: Vec<(u64, Node)>,
    /// Whether the link upward is cut; `None` at the top.
    pub(super) cut: Option<bool>,
    /// `None` when no node answers.
    pub(super) records: Option<u64>,
    /// Per second, the newest last.
    pub(super) rates: Vec<Option<u64>>,
    /// Records that the layer below has and this one has not.
    pub(super) lag: Option<u64>,
    /// Records that the historian has not; `None` also without a historian.
    pub(super) unwritten: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Leader,
    Follower,
    /// It takes part in an election, or learns what the others have.
    Candidate,
    Learner,
    Starting,
    Killed,
    /// Its process is there and does not answer.
    Silent,
}

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) name: String,
    /// Short name of its hub, and the node it is connected to.
    pub(super) at: (String, usize),
    pub(super) acknowledged: u64,
    pub(super) under_way: u64,
}

impl Scene {
    /// `hubs` in the order of the sample. Without machines, see [`Scene::take_machines`].
    pub(super) fn of(
        now: &Now,
        hubs: &[Observer],
        sample: &Sample,
        lab: &LabState,
        instant: Instant,
        time: SystemTime,
    ) -> Scene {
        let (started, began) = now.started.unwrap_or((instant, time));
        let fault = now.fault.as_ref();
        let events = lab.events.iter().map(|event| {
            let at = event.time.duration_since(began).unwrap_or_default();
            (at, event.text.clone())
        });
        let mut order: Vec<usize> = (0..hubs.len()).collect();
        order.sort_by_key(|index| hubs[*index].path());
        let paths: Vec<&str> = order.iter().map(|index| hubs[*index].path()).collect();
        let hubs = order.iter().enumerate().map(|(position, index)| Hub {
            name: in_tree(&paths, position),
            ..hub(*index, &hubs[*index], sample, lab)
        });
        Scene {
            phase: now.phase,
            elapsed: instant.duration_since(started),
            fault: fault.map(|fault| (fault.what.clone(), instant.duration_since(fault.since))),
            hubs: hubs.collect(),
            machines: Vec::new(),
            events: events.collect(),
            web: now.web.as_ref().map(|web| (web.url.clone(), web.users())),
            ending: false,
        }
    }

    pub(super) fn take_machines(&mut self, accounts: &[Arc<Account>]) {
        let machines = accounts.iter().map(|account| {
            let standing = account.standing();
            Machine {
                name: account.machine.clone(),
                at: (
                    short(account.hub.as_str()).to_owned(),
                    account.broker.load(Ordering::Relaxed) + 1,
                ),
                acknowledged: standing.acknowledged,
                under_way: standing.under_way(),
            }
        });
        self.machines = machines.collect();
    }

    /// How much of the run time is over, from 0 to 1.
    pub(super) fn progress(&self) -> Option<f64> {
        let Phase::Running(total) = self.phase else {
            return None;
        };
        Some((self.elapsed.as_secs_f64() / total.as_secs_f64()).clamp(0.0, 1.0))
    }
}

fn hub(index: usize, hub: &Observer, sample: &Sample, lab: &LabState) -> Hub {
    let path = hub.path();
    let status = sample.statuses[index].as_ref();
    let nodes = lab.nodes.iter().filter(|node| node.hub == path);
    let nodes = nodes.enumerate().map(|(place, node)| {
        let answer = sample.nodes[index].get(place).and_then(Option::as_ref);
        let role = answer.map(|status| status.role.as_str());
        (node.node, state(node.state, role))
    });
    Hub {
        name: String::new(),
        nodes: nodes.collect(),
        cut: lab
            .links
            .iter()
            .find(|link| link.child == path)
            .map(|link| link.cut),
        records: status.map(|status| status.next_offset),
        rates: sample.rates[index].iter().copied().collect(),
        lag: lag(path, &sample.statuses),
        unwritten: status.and_then(|status| unwritten(hub, status)),
    }
}

/// What the lab knows for certain counts more than what a node said a moment ago.
fn state(state: NodeState, role: Option<&str>) -> Node {
    match (state, role) {
        (NodeState::Killed, _) => Node::Killed,
        (NodeState::Starting, _) => Node::Starting,
        (NodeState::Running, Some("leader")) => Node::Leader,
        (NodeState::Running, Some("follower")) => Node::Follower,
        (NodeState::Running, Some("learner")) => Node::Learner,
        (NodeState::Running, Some(_)) => Node::Candidate,
        (NodeState::Running, None) => Node::Silent,
    }
}

/// The last part of a path, below its parent. `paths` are sorted, the top first.
fn in_tree(paths: &[&str], position: usize) -> String {
    let path = paths[position];
    let Some((parent, name)) = path.rsplit_once('.').filter(|_| position > 0) else {
        return path.to_owned();
    };
    let top = paths[0].matches('.').count();
    let depth = path.matches('.').count().saturating_sub(top + 1);
    let siblings = |path: &&&str| {
        path.rsplit_once('.')
            .is_some_and(|(above, _)| above == parent)
    };
    let last = paths[position + 1..].iter().find(siblings).is_none();
    let branch = if last { '└' } else { '├' };
    format!("{}{branch} {name}", "  ".repeat(depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_stand_below_their_parents() {
        let paths = ["a", "a.b", "a.b.x", "a.b.y", "a.c"];
        let names: Vec<String> = (0..5).map(|place| in_tree(&paths, place)).collect();
        assert_eq!(names, ["a", "├ b", "  ├ x", "  └ y", "└ c"]);
    }

    #[test]
    fn a_killed_node_is_no_leader_whatever_it_said() {
        for (lab, role, expected) in [
            (NodeState::Killed, Some("leader"), Node::Killed),
            (NodeState::Starting, Some("follower"), Node::Starting),
            (NodeState::Running, Some("leader"), Node::Leader),
            (NodeState::Running, Some("candidate"), Node::Candidate),
            (NodeState::Running, None, Node::Silent),
        ] {
            assert_eq!(state(lab, role), expected);
        }
    }
}
