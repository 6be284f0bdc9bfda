//! How the hubs of the tree are, from what they report. Pure: reports and time come in.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proto::rpc::{HubReport, NodeReport, OriginState};
use proto::{HubPath, Nanos};

/// A hub below that was not heard of for so long is silent; it reports every second.
const SILENT_AFTER: Duration = Duration::from_millis(3500);
/// Of a follower behind its leader, a historian or a parent behind the log: so many records or
/// entries are on their way in any case.
const USUAL_LAG: u64 = 1000;
/// What comes in so many seconds may wait for the next layer, before it is worth a look.
const LAG_SECONDS: f64 = 10.0;
/// How much of a new rate enters the smoothed one per second.
const SMOOTHING: f64 = 0.35;

/// How something is, as a person should take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Ok,
    /// Not known.
    Idle,
    Warn,
    Bad,
}

/// Remembers what rates are made of, and what was heard last.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    last: Vec<HubReport>,
    /// When the own hub answered last.
    answered: Nanos,
    rates: HashMap<String, Rate>,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    offset: u64,
    time: Nanos,
    per_second: Option<f64>,
}

/// The hubs from the top down, each after its parent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overview {
    pub(crate) hubs: Vec<Hub>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hub {
    pub(crate) path: String,
    /// Of `Overview::hubs`: the hub above it.
    pub(crate) parent: Option<usize>,
    pub(crate) state: State,
    /// The state in a word or two.
    pub(crate) word: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) records: u64,
    /// Records per second.
    pub(crate) rate: Option<f64>,
    /// Records that the hub above does not have yet.
    pub(crate) behind: Option<u64>,
    /// Records that each historian does not have yet, by its cursor's name.
    pub(crate) historians: Vec<(String, u64)>,
    pub(crate) disk_bytes: u64,
    /// It was not heard of for too long, whyever: what else is told of it is as it was then.
    pub(crate) gone: bool,
    /// How long ago it was heard of; `None` for the hub of this console while it answers.
    pub(crate) silence: Option<Duration>,
    pub(crate) version: String,
    pub(crate) alarms: Vec<Alarm>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) state: State,
    /// `leader`, `follower`, `unreachable`, …
    pub(crate) word: String,
    /// Entries that the leader has and this node has not applied.
    pub(crate) behind: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) state: State,
    pub(crate) text: String,
}

impl Tree {
    /// What the log answered now: the own hub first, then those below. Without an answer, the own
    /// hub is what it was, with no node that answers.
    pub(crate) fn update(&mut self, now: Nanos, answer: Option<Vec<HubReport>>) -> Overview {
        let answers = answer.is_some();
        if let Some(reports) = answer {
            self.last = reports;
            self.answered = now;
        }
        for (index, report) in self.last.iter().enumerate() {
            let heard = if index == 0 {
                now
            } else {
                Nanos(report.received)
            };
            if index > 0 || answers {
                measure(&mut self.rates, report, heard);
            }
        }
        let last = &self.last;
        self.rates
            .retain(|hub, _| last.iter().any(|report| report.hub == *hub));
        self.overview(now, answers)
    }

    fn overview(&self, now: Nanos, answers: bool) -> Overview {
        let mut reports: Vec<(HubPath, &HubReport)> = self
            .last
            .iter()
            .filter_map(|report| Some((report.hub.parse().ok()?, report)))
            .collect();
        // By levels, so that a hub stands directly after its parent and what is below that.
        reports.sort_by(|(a, _), (b, _)| levels(a).cmp(levels(b)));
        let mut hubs: Vec<Hub> = Vec::with_capacity(reports.len());
        for (path, report) in &reports {
            let own = self.last.first().is_some_and(|own| own.hub == report.hub);
            let parent = reports[..hubs.len()]
                .iter()
                .rposition(|(above, _)| above.covers(path) && above != path);
            let above = parent.map(|index| (reports[index].1, &hubs[index]));
            let silence = match (own, answers) {
                (true, true) => None,
                (true, false) => Some(since(now, self.answered)),
                (false, _) => Some(since(now, Nanos(report.received))),
            };
            let rate = self.rates.get(&report.hub).and_then(|rate| rate.per_second);
            let mut hub = hub(report, above, silence, rate);
            hub.parent = parent;
            hubs.push(hub);
        }
        Overview { hubs }
    }
}

impl Overview {
    pub(crate) fn children(&self, parent: Option<usize>) -> impl Iterator<Item = (usize, &Hub)> {
        let hubs = self.hubs.iter().enumerate();
        hubs.filter(move |(_, hub)| hub.parent == parent)
    }

    /// The worst of all.
    pub(crate) fn worst(&self) -> State {
        let states = self.hubs.iter().map(|hub| hub.state);
        states.max().unwrap_or(State::Idle)
    }
}

fn levels(path: &HubPath) -> std::str::Split<'_, char> {
    path.as_str().split('.')
}

fn since(now: Nanos, then: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a rate needs no more than a float holds"
)]
fn measure(rates: &mut HashMap<String, Rate>, report: &HubReport, heard: Nanos) {
    let offset = report.next_offset;
    let first = Rate {
        offset,
        time: heard,
        per_second: None,
    };
    let rate = rates.entry(report.hub.clone()).or_insert(first);
    let elapsed = heard.0.saturating_sub(rate.time.0) as f64 / 1e9;
    // The same report again, or two within a moment.
    if elapsed < 0.2 {
        return;
    }
    // A log that begins anew is no negative rate.
    let now = offset.saturating_sub(rate.offset) as f64 / elapsed;
    let weight = 1.0 - (1.0 - SMOOTHING).powf(elapsed);
    let smooth = rate
        .per_second
        .map_or(now, |old| old + weight * (now - old));
    *rate = Rate {
        offset,
        time: heard,
        per_second: Some(smooth),
    };
}

fn hub(
    report: &HubReport,
    above: Option<(&HubReport, &Hub)>,
    silence: Option<Duration>,
    rate: Option<f64>,
) -> Hub {
    // It is heard of through the hub above: as long as that one is silent, so is this one.
    let excused = above.and_then(|(_, above)| above.silence);
    let own_silence = silence.unwrap_or_default();
    let silent = own_silence.saturating_sub(excused.unwrap_or_default()) > SILENT_AFTER;
    let cut_off = above.is_some_and(|(_, above)| above.gone);
    // Of the own hub, any silence means that no node of it answers.
    let gone = silent || cut_off || (above.is_none() && silence.is_some());
    let behind = match above {
        Some((above, _)) => Some(behind(&report.origins, &above.origins)),
        None => forwarded(report),
    };
    let mut hub = Hub {
        path: report.hub.clone(),
        parent: None,
        state: State::Ok,
        word: String::new(),
        nodes: nodes(report, gone, above.is_some()),
        records: report.next_offset,
        rate: rate.filter(|_| !gone),
        // What was missing when it was heard of last says nothing of now.
        behind: behind.filter(|_| !gone),
        historians: if gone { Vec::new() } else { historians(report) },
        disk_bytes: report.nodes.iter().map(|node| node.disk_bytes).sum(),
        gone,
        silence,
        version: report.version.clone(),
        alarms: Vec::new(),
    };
    hub.alarms = match (gone, above) {
        (false, _) => alarms(&hub),
        (true, Some((_, above))) if !silent => vec![Alarm {
            state: State::Idle,
            text: format!("heard of through {}, which is silent", above.path),
        }],
        (true, above) => vec![silent_alarm(above.is_some(), own_silence)],
    };
    let worst = hub.alarms.iter().map(|alarm| alarm.state).max();
    hub.state = worst.unwrap_or(State::Ok);
    hub.word = word(&hub);
    hub
}

fn word(hub: &Hub) -> String {
    let word = match hub.state {
        State::Ok => "running",
        State::Bad if hub.gone => "silent",
        State::Bad => "down",
        State::Warn if hub.nodes.iter().any(|node| node.state == State::Bad) => "degraded",
        State::Warn => "behind",
        State::Idle => "unknown",
    };
    word.to_owned()
}

fn nodes(report: &HubReport, gone: bool, below: bool) -> Vec<Node> {
    let head = report.nodes.iter().map(|node| node.last_index).max();
    let node = |node: &NodeReport| {
        let (state, word) = match (node.reachable, gone) {
            // What it said of its nodes when it was heard of last says nothing of now.
            (_, true) if below => (State::Idle, "unknown"),
            (_, true) | (false, _) => (State::Bad, "unreachable"),
            (true, false) if Some(node.node_id) == report.leader_id => (State::Ok, "leader"),
            (true, false) if node.role.is_empty() => (State::Idle, "starting"),
            (true, false) if node.role == "candidate" => (State::Warn, "candidate"),
            // The others know of one with a higher term, or of none.
            (true, false) if node.role == "leader" => (State::Warn, "old leader"),
            (true, false) => (State::Ok, node.role.as_str()),
        };
        let behind = head.map(|head| head.saturating_sub(node.applied_index));
        Node {
            id: node.node_id,
            address: node.address.clone(),
            state,
            word: word.to_owned(),
            behind: behind.filter(|_| node.reachable && !gone),
        }
    };
    report.nodes.iter().map(node).collect()
}

/// What the lower hub has and the upper one has not, of all origins that both could have.
fn behind(below: &[OriginState], above: &[OriginState]) -> u64 {
    let key = |state: &OriginState| {
        let origin = state.origin.clone().unwrap_or_default();
        (origin.hub, origin.incarnation, origin.lane)
    };
    let has: BTreeMap<_, u64> = above
        .iter()
        .map(|state| (key(state), state.next_sequence))
        .collect();
    let missing = below.iter().map(|state| {
        let there = has.get(&key(state)).copied().unwrap_or(0);
        state.next_sequence.saturating_sub(there)
    });
    missing.sum()
}

/// What the forwarders have not passed yet, for a hub whose parent nobody here sees.
fn forwarded(report: &HubReport) -> Option<u64> {
    let forwarders = report
        .cursors
        .iter()
        .filter(|cursor| cursor.name.starts_with("forwarder/"));
    let slowest = forwarders.map(|cursor| cursor.next_offset).min()?;
    Some(report.next_offset.saturating_sub(slowest))
}

fn historians(report: &HubReport) -> Vec<(String, u64)> {
    let writers = report.cursors.iter().filter_map(|cursor| {
        let name = cursor.name.strip_prefix("writer/")?;
        let behind = report.next_offset.saturating_sub(cursor.next_offset);
        Some((name.to_owned(), behind))
    });
    writers.collect()
}

fn silent_alarm(below: bool, silence: Duration) -> Alarm {
    let text = match below {
        true => format!(
            "not heard of for {}: it or the link to it is down",
            crate::format::duration(silence)
        ),
        false => "no node of this hub answers".to_owned(),
    };
    Alarm {
        state: State::Bad,
        text,
    }
}

fn alarms(hub: &Hub) -> Vec<Alarm> {
    let alarm = |state, text| Alarm { state, text };
    let mut alarms = Vec::new();
    let down: Vec<u64> = down(hub).collect();
    let leads = hub.nodes.iter().any(|node| node.word == "leader");
    if down.len() * 2 >= hub.nodes.len().max(1) {
        let text = "no quorum: nothing is taken until most of its nodes are back";
        alarms.push(alarm(State::Bad, text.to_owned()));
    } else if !leads {
        let text = "no leader: nothing is taken until its nodes have elected one";
        alarms.push(alarm(State::Bad, text.to_owned()));
    }
    for id in down {
        let text = format!("node {id} does not answer");
        alarms.push(alarm(State::Warn, text));
    }
    let lagging = hub
        .nodes
        .iter()
        .filter(|node| node.behind > Some(USUAL_LAG));
    for node in lagging {
        let text = format!("node {} is catching up", node.id);
        alarms.push(alarm(State::Warn, text));
    }
    let usual = usual_lag(hub.rate);
    for (name, _) in hub.historians.iter().filter(|(_, behind)| *behind > usual) {
        let text = format!("historian {name} is behind");
        alarms.push(alarm(State::Warn, text));
    }
    if hub.behind > Some(usual) {
        let text = "the hub above is behind".to_owned();
        alarms.push(alarm(State::Warn, text));
    }
    alarms
}

fn down(hub: &Hub) -> impl Iterator<Item = u64> {
    let down = hub.nodes.iter().filter(|node| node.state == State::Bad);
    down.map(|node| node.id)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a threshold, and never negative"
)]
fn usual_lag(rate: Option<f64>) -> u64 {
    let seconds = rate.unwrap_or(0.0) * LAG_SECONDS;
    (seconds as u64).max(USUAL_LAG)
}

#[cfg(test)]
mod tests;
