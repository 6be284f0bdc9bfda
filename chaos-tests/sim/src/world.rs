//! Runs one simulation: steps the time, lets things go wrong, looks, and judges.

mod members;
mod network;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft_log::node::Leader;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use turmoil::Sim;

use crate::clients::{self, Appending, Changing, Consuming, Tailing};
use crate::coverage::Coverage;
use crate::disk::{Fault, Lie, Storage};
use crate::history::{Event, History};
use crate::host::{self, Host};
use crate::invariants::{self, End, Invariant, Violation};
use crate::look::{Eye, Look};
use crate::machine::Machine;
use crate::plan::{Action, Death, Plan};
use network::Network;

const TICK: Duration = Duration::from_millis(1);
/// The hub is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// And soon after something was acknowledged.
const LOOK_SOON: Duration = Duration::from_millis(25);
const FORMED_WITHIN: Duration = Duration::from_secs(60);
/// When all faults are gone, everything must be answered and equal within this time.
const HEALED_WITHIN: Duration = Duration::from_secs(120);
const AFTERGLOW: Duration = Duration::from_secs(3);
/// A node whose disk failed serves no longer than this.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// How a simulation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub nodes: u64,
    pub simulated: Duration,
    pub acknowledged: u64,
    pub coverage: Coverage,
    /// Of everything that happened, in order: equal for equal runs.
    pub trace: u64,
}

/// Runs the simulation of a seed, on this thread; once per process (see [`crate`]). The invariants
/// are those named, or all.
///
/// # Errors
/// When the world itself could not be made.
pub fn run(seed: u64, lie: Lie, judges: &[String]) -> anyhow::Result<Outcome> {
    let directory = tempfile::Builder::new()
        .prefix("updraft-sim-")
        .tempdir_in(scratch())?;
    let mut world = World::new(seed, lie, directory.path())?;
    world.invariants = invariants::named(judges);
    let result = world.run();
    Ok(Outcome {
        violation: result.err(),
        nodes: world.plan.nodes,
        simulated: world.sim.elapsed(),
        acknowledged: world.history.acknowledged(),
        coverage: world.coverage.clone(),
        trace: world.trace.finish(),
    })
}

/// In memory, where there is such a place.
fn scratch() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

struct World {
    plan: Plan,
    sim: Sim<'static>,
    rng: StdRng,
    hosts: Vec<Arc<Host>>,
    network: Network,
    history: History,
    invariants: Vec<Box<dyn Invariant>>,
    eye: Eye,
    coverage: Coverage,
    /// Since the last look.
    events: Vec<Event>,
    looked: Duration,
    /// What is due when, in order.
    agenda: BTreeMap<(Duration, u64), Step>,
    steps: u64,
    nodes: BTreeMap<u64, Standing>,
    trace: DefaultHasher,
    panics: Arc<Mutex<Vec<String>>>,
}

/// How the world treats a node.
#[derive(Debug, Default)]
struct Standing {
    down: bool,
    /// There is a reason why it may end by itself.
    excused: bool,
    /// Its disk has failed: when it must have ended.
    must_end: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Step {
    Act(Action),
    Start(u64),
    Repair(network::Cut),
    CalmNetwork,
    CalmDisk(u64),
    FreeDisk(u64),
}

type Judged = Result<(), Violation>;

fn violation(invariant: &'static str, what: impl Into<String>) -> Violation {
    Violation {
        invariant,
        what: what.into(),
    }
}

impl Standing {
    fn new(down: bool) -> Standing {
        Standing {
            down,
            ..Standing::default()
        }
    }
}

impl World {
    fn new(seed: u64, lie: Lie, directory: &Path) -> anyhow::Result<World> {
        let plan = Plan::of(seed);
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(std::time::UNIX_EPOCH)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(24 * 3600))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(network::CALM)
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        let mut hosts = Vec::new();
        for id in 1..=plan.hosts() {
            let machine = Machine::new(Storage::new(lie), rng.random());
            let host = Host::new(id, machine, directory, &plan)?;
            let running = host.clone();
            sim.host(host::name(id), move || running.clone().run());
            hosts.push(host);
        }
        let history = History::default();
        let clients = add_clients(&mut sim, &plan, &history, &mut rng);
        let names = hosts.iter().map(|host| host::name(host.id)).chain(clients);
        Ok(World {
            network: Network::new(names.collect()),
            nodes: (1..=plan.hosts())
                .map(|id| (id, Standing::new(id > plan.nodes)))
                .collect(),
            plan,
            sim,
            rng,
            hosts,
            history,
            invariants: Vec::new(),
            eye: Eye::default(),
            coverage: Coverage::default(),
            events: Vec::new(),
            looked: Duration::ZERO,
            agenda: BTreeMap::new(),
            steps: 0,
            trace: DefaultHasher::new(),
            panics: catch_panics(),
        })
    }

    fn run(&mut self) -> Judged {
        self.until("formed", FORMED_WITHIN, |world| world.leader().is_some())?;
        let start = self.sim.elapsed();
        for (at, action) in self.plan.actions.clone() {
            self.schedule(start + at, Step::Act(action));
        }
        while self.sim.elapsed() < start + self.plan.chaos {
            self.step()?;
        }
        self.heal()?;
        let calm = self.sim.elapsed() + AFTERGLOW;
        while self.sim.elapsed() < calm {
            self.step()?;
        }
        self.history.close();
        self.until("converges", HEALED_WITHIN, World::has_converged)?;
        self.audit()
    }

    fn schedule(&mut self, at: Duration, step: Step) {
        self.steps += 1;
        self.agenda.insert((at, self.steps), step);
    }

    fn after(&mut self, pause: Duration, step: Step) {
        self.schedule(self.sim.elapsed() + pause, step);
    }

    fn until(
        &mut self,
        what: &'static str,
        limit: Duration,
        holds: impl Fn(&mut World) -> bool,
    ) -> Judged {
        let deadline = self.sim.elapsed() + limit;
        while !holds(self) {
            if self.sim.elapsed() > deadline {
                return Err(violation(what, self.describe()));
            }
            self.step()?;
        }
        Ok(())
    }

    /// A tick of time, and everything that is due.
    fn step(&mut self) -> Judged {
        if let Err(error) = self.sim.step() {
            return Err(violation("simulation", error.to_string()));
        }
        let now = self.sim.elapsed();
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now
        {
            let step = entry.remove();
            self.note(&step);
            self.perform(step)?;
        }
        self.mind_nodes()?;
        let mut acknowledged = false;
        for event in self.history.take() {
            acknowledged |= matches!(event, Event::Acknowledged { .. });
            self.note(&event);
            if let Event::Changed { change, done } = event {
                self.changed(change, done)?;
            }
            self.events.push(event);
        }
        let due = if acknowledged { LOOK_SOON } else { LOOK_EVERY };
        if now >= self.looked + due {
            self.look()?;
        }
        let panics = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        match panics.first() {
            Some(panic) => Err(violation("no panic", panic.clone())),
            None => Ok(()),
        }
    }

    fn note(&mut self, what: &dyn std::fmt::Debug) {
        let at = self.sim.elapsed();
        let text = format!("{what:?}");
        tracing::trace!(?at, "{text}");
        self.trace.write_u128(at.as_nanos());
        self.trace.write(text.as_bytes());
    }

    /// Asks the invariants.
    fn look(&mut self) -> Judged {
        self.looked = self.sim.elapsed();
        let events = std::mem::take(&mut self.events);
        let nodes = self.hosts.iter().map(|host| self.eye.node(host)).collect();
        let look = Look {
            at: self.looked,
            nodes,
            places: &self.eye.places,
            wiped: &self.eye.wiped,
            events: &events,
        };
        self.coverage.take_in(&look);
        for invariant in &mut self.invariants {
            let checked = invariant.check(&look);
            checked.map_err(|what| violation(invariant.name(), what))?;
        }
        for node in &look.nodes {
            if let Some(running) = node.running.as_ref().filter(|running| running.leads) {
                self.trace.write_u64(running.term);
            }
        }
        Ok(())
    }

    fn perform(&mut self, step: Step) -> Judged {
        match step {
            Step::Act(action) => {
                tracing::debug!(at = ?self.sim.elapsed(), ?action, "goes wrong");
                self.act(action)?;
            }
            Step::Start(node) => self.start(node),
            Step::Repair(cut) => self.network.repair(&self.sim, &cut),
            Step::CalmNetwork => self.sim.set_max_message_latency(network::CALM),
            Step::CalmDisk(node) => self.host(node).machine.slow_down(None),
            Step::FreeDisk(node) => self.host(node).machine.storage.set_room(None),
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Judged {
        match action {
            Action::Crash { nodes, death, away } => {
                for node in nodes {
                    self.crash(node, death, away)?;
                }
            }
            Action::CrashInWrite { node, changes } => {
                let storage = &self.host(node).machine.storage;
                storage.fail_after(changes, Fault::PowerOff);
            }
            Action::DiskError {
                node,
                changes,
                kind,
            } => {
                let storage = &self.host(node).machine.storage;
                storage.fail_after(changes, Fault::Error(kind));
            }
            Action::Stop { node } if self.standing(node).down => {}
            Action::Stop { node } => {
                self.standing(node).excused = true;
                self.host(node).stop();
            }
            Action::SlowNetwork { up_to, lasting } => {
                self.sim.set_max_message_latency(up_to);
                self.after(lasting, Step::CalmNetwork);
            }
            Action::SlowDisk {
                node,
                up_to,
                lasting,
            } => {
                self.host(node).machine.slow_down(Some(up_to));
                self.after(lasting, Step::CalmDisk(node));
            }
            Action::DiskFull {
                node,
                room,
                lasting,
            } => {
                self.standing(node).excused = true;
                self.host(node).machine.storage.set_room(Some(room));
                self.after(lasting, Step::FreeDisk(node));
            }
            Action::Add { node } => self.add(node),
            Action::Remove { node } => self.remove(node),
            Action::Replace { node } => self.replace(node)?,
            Action::ClockJump { node, nanos } => self.host(node).machine.jump(nanos),
            Action::Partition { .. }
            | Action::OneWay { .. }
            | Action::Stall { .. }
            | Action::CutClient { .. } => {
                for (cut, lasting) in self.network.cuts_of(&action) {
                    self.network.cut(&self.sim, &cut);
                    self.after(lasting, Step::Repair(cut));
                }
            }
        }
        Ok(())
    }

    fn host(&self, node: u64) -> &Host {
        &self.hosts[usize::try_from(node - 1).unwrap_or_default()]
    }

    fn standing(&mut self, node: u64) -> &mut Standing {
        self.nodes.entry(node).or_default()
    }

    fn crash(&mut self, node: u64, death: Death, away: Duration) -> Judged {
        let standing = self.standing(node);
        if std::mem::replace(&mut standing.down, true) {
            return Ok(());
        }
        standing.must_end = None;
        let host = self.hosts[usize::try_from(node - 1).unwrap_or_default()].clone();
        host.forget();
        match death {
            Death::Process => {
                host.machine.storage.kill();
                self.sim.crash(host::name(node));
            }
            Death::Machine => {
                host.machine.storage.power_cut(&mut self.rng);
                self.network.silence(&self.sim, &host::name(node));
                self.sim.crash(host::name(node));
                self.network.restore(&self.sim, &host::name(node));
                // sled promises nothing after a power cut.
                if self.rng.random_ratio(1, 3) {
                    let _ = std::fs::remove_dir_all(host.config.data_dir.join("index"));
                }
            }
        }
        self.after(away, Step::Start(node));
        self.look()
    }

    fn start(&mut self, node: u64) {
        if !self.host(node).is_used() {
            return;
        }
        let full = self.host(node).machine.storage.is_limited();
        let standing = self.standing(node);
        if std::mem::replace(&mut standing.down, false) {
            standing.excused = full;
            self.sim.bounce(host::name(node));
        }
    }

    /// Nodes whose disk failed, and those that have ended.
    fn mind_nodes(&mut self) -> Judged {
        let now = self.sim.elapsed();
        for node in 1..=self.plan.hosts() {
            if let Some(reason) = self.host(node).differs() {
                return Err(violation("states are equal", reason));
            }
            let ended = self.host(node).ended();
            let fired = self.host(node).machine.storage.take_fired();
            let standing = self.standing(node);
            if let Some((fault, file)) = fired {
                standing.excused = true;
                if fault == Fault::PowerOff {
                    let away = Duration::from_millis(self.rng.random_range(50..3000));
                    self.crash(node, Death::Machine, away)?;
                    continue;
                }
                if is_needed(&file) {
                    standing.must_end = Some(now + ENDS_WITHIN);
                }
            }
            if standing.down {
                continue;
            }
            if let Some(reason) = ended {
                if !standing.excused {
                    return Err(violation("serves", format!("node {node} ended: {reason}")));
                }
                let away = Duration::from_millis(self.rng.random_range(50..3000));
                self.crash(node, Death::Process, away)?;
            } else if standing.must_end.is_some_and(|by| by < now) {
                let what = format!("node {node} goes on after its disk has failed");
                return Err(violation("stops when its disk fails", what));
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Judged {
        self.agenda.clear();
        self.network.heal(&self.sim);
        for node in 1..=self.plan.hosts() {
            let machine = &self.host(node).machine;
            machine.slow_down(None);
            machine.storage.heal();
            self.after(Duration::ZERO, Step::Start(node));
        }
        self.note(&"healed");
        self.look()
    }

    /// The node that all agree on, if there is one.
    fn leader(&mut self) -> Option<u64> {
        let members = self.members();
        let nodes: Option<Vec<_>> = members.iter().map(|host| host.node()).collect();
        let mut leaders = Vec::new();
        for (host, node) in members.iter().zip(nodes?) {
            node.hub()?;
            leaders.push(match node.leader() {
                Leader::This => host::address(host.id),
                Leader::Other(address) => address,
                Leader::Unknown => return None,
            });
        }
        let leader = leaders.first()?;
        let leads = |host: &&Arc<Host>| host::address(host.id) == *leader;
        let agreed = leaders.iter().all(|other| other == leader);
        agreed.then(|| self.hosts.iter().find(leads).map(|host| host.id))?
    }

    fn has_converged(&mut self) -> bool {
        let changing = self.history.asked().is_some();
        if changing || self.history.pending() > 0 || self.leader().is_none() {
            return false;
        }
        let members = self.members();
        let nodes = members.iter().filter_map(|host| host.node());
        let gauges: Vec<_> = nodes.map(|node| node.gauges()).collect();
        let Some(first) = gauges.first() else {
            return false;
        };
        gauges.iter().all(|node| {
            (node.applied_index, node.last_index) == (first.applied_index, first.applied_index)
        })
    }

    /// Reads everything from every node once more.
    fn audit(&mut self) -> Judged {
        // Consumers and bootstraps still move; what follows is compared at one moment.
        let audits = Rc::new(RefCell::new(Vec::new()));
        let members = self.members();
        for host in &members {
            let (history, audits, id) = (self.history.clone(), audits.clone(), host.id);
            self.sim.client(format!("audit-{id}"), async move {
                let reader = clients::audit(id, history).await?;
                audits.borrow_mut().push(reader);
                Ok(())
            });
        }
        let nodes = members.len();
        let all = audits.clone();
        self.until("is read", HEALED_WITHIN, |_| all.borrow().len() == nodes)?;
        self.until("converges", HEALED_WITHIN, World::has_converged)?;
        self.look()?;
        let states = members.iter().filter_map(|host| {
            let status = host.node()?.status();
            Some((host.id, status.applied_index, status.state_hash.to_vec()))
        });
        let first = members.iter().filter_map(|host| host.node());
        let end = End {
            first_offset: first
                .map(|node| node.gauges().first_offset)
                .max()
                .unwrap_or(0),
            states: states.collect(),
            audits: audits.take(),
        };
        for invariant in &mut self.invariants {
            let checked = invariant.check_at_end(&end);
            checked.map_err(|what| violation(invariant.name(), what))?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let mut text = format!("{} appends have no answer; ", self.history.pending());
        for host in &self.hosts {
            let node = host.node().map(|node| {
                let status = node.status();
                let first = node.gauges().first_offset;
                format!(
                    "{} in term {}, applied {} of {}, leader {:?}, offsets {first}..{}, {} \
                     segments, {:?}, {:?}",
                    status.role,
                    status.term,
                    status.applied_index,
                    status.last_index,
                    status.leader_id,
                    status.next_offset,
                    status.segments,
                    node.refuses_data(),
                    status.cursors,
                )
            });
            let ended = host.ended().unwrap_or_else(|| "down".into());
            text += &format!("node {}: {}; ", host.id, node.unwrap_or(ended));
        }
        text
    }
}

/// Their names.
fn add_clients(
    sim: &mut Sim<'static>,
    plan: &Plan,
    history: &History,
    rng: &mut StdRng,
) -> Vec<String> {
    let nodes = plan.nodes;
    let mut names = Vec::new();
    let changing = Changing {
        hosts: plan.hosts(),
        history: history.clone(),
    };
    sim.host("operator", move || changing.clone().run());
    names.push("operator".into());
    for producer in 1..=plan.producers {
        let appending = Appending {
            producer,
            nodes,
            seed: rng.random(),
            history: history.clone(),
        };
        names.push(format!("producer-{producer}"));
        sim.host(format!("producer-{producer}"), move || {
            appending.clone().run()
        });
    }
    for tail in 1..=plan.tails {
        let tailing = Tailing {
            nodes,
            seed: rng.random(),
            history: history.clone(),
        };
        names.push(format!("tail-{tail}"));
        sim.host(format!("tail-{tail}"), move || tailing.clone().run());
    }
    for consumer in 1..=plan.consumers {
        let consuming = Consuming {
            holder: format!("consumer-{consumer}"),
            // The first two share one.
            cursor: format!("cursor-{}", consumer.max(2)),
            pinning: consumer <= 2,
            nodes,
            seed: rng.random(),
            history: history.clone(),
        };
        names.push(format!("consumer-{consumer}"));
        sim.host(format!("consumer-{consumer}"), move || {
            consuming.clone().run()
        });
    }
    names
}

/// What a node can't be without. Files for later segments are made again, and what could not be
/// removed stays.
fn is_needed(file: &str) -> bool {
    ["segment-", ".ckpt", "vote"]
        .iter()
        .any(|part| file.contains(part))
}

/// A task that panics would only be missed otherwise.
fn catch_panics() -> Arc<Mutex<Vec<String>>> {
    let panics: Arc<Mutex<Vec<String>>> = Arc::default();
    let caught = panics.clone();
    std::panic::set_hook(Box::new(move |info| {
        let mut panics = caught.lock().unwrap_or_else(PoisonError::into_inner);
        panics.push(info.to_string());
    }));
    panics
}
