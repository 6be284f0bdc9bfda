//! Owns the plant while it runs: carries out the orders of the script and of people at the lab
//! page, and looks after the processes.

mod audit;
mod starting;

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use console::lab::{Action, LabLink, LabNode, NodeState, Order};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::gauges::Sample;
use super::ledger::Account;
use super::machines::Machines;
use super::plant::Plant;
use super::story::Story;
use crate::pyramid::Observer;
use audit::Audit;
use starting::Starting;

/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(50);
/// Orders that wait; who gives one more waits with it.
const ORDERS: usize = 16;

/// Where an outcome goes.
type Reply = oneshot::Sender<Result<String, String>>;

/// Who may break things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Only the script. A process that ends by itself is the end of the demo.
    Script,
    /// Whoever wants to.
    Free,
    /// Nobody. A process that ends by itself is the end of the demo.
    Ending,
}

/// Gives orders as the script does: they are carried out without a word about it.
#[derive(Clone, Debug)]
pub(super) struct Orders(mpsc::Sender<Order>);

impl Orders {
    /// Returns when it is carried out; a node that is started serves then.
    pub(super) async fn give(&self, action: Action) -> anyhow::Result<String> {
        let (done, outcome) = oneshot::channel();
        if self.0.send(Order { action, done }).await.is_err() {
            bail!("nobody takes orders any more");
        }
        match outcome.await {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(told)) => bail!(told),
            Err(_) => bail!("nobody carries out orders any more"),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lab {
    plant: Plant,
    machines: Machines,
    hubs: Vec<Observer>,
    story: Story,
    mode: Mode,
    script: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    page: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    starting: Starting,
    audit: Audit,
    /// Processes that ended by themselves while that was not the end of the demo.
    fallen: Vec<String>,
    /// It was told that a machine has stopped because its account is full.
    full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Script,
    Page,
}

impl Lab {
    pub(super) fn new(
        plant: Plant,
        machines: Machines,
        samples: watch::Receiver<Sample>,
        story: Story,
    ) -> anyhow::Result<Lab> {
        let lab = Lab {
            hubs: plant.observers()?,
            plant,
            machines,
            story,
            mode: Mode::Script,
            script: mpsc::channel(ORDERS),
            page: mpsc::channel(ORDERS),
            starting: Starting::default(),
            audit: Audit::new(samples),
            fallen: Vec::new(),
            full: false,
        };
        lab.show();
        Ok(lab)
    }

    pub(super) fn orders(&self) -> Orders {
        Orders(self.script.0.clone())
    }

    /// For the console.
    pub(super) fn page(&self) -> console::lab::Lab {
        console::lab::Lab {
            state: self.story.lab().subscribe(),
            orders: self.page.0.clone(),
        }
    }

    pub(super) fn hubs(&self) -> &[Observer] {
        &self.hubs
    }

    pub(super) fn accounts(&self) -> &[Arc<Account>] {
        self.machines.accounts()
    }

    pub(super) fn machines(&mut self) -> &mut Machines {
        &mut self.machines
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        if mode == Mode::Ending {
            self.audit.give_up("the demo is ending");
        }
    }

    /// What would mend all that is broken.
    pub(super) fn mending(&self) -> Vec<Action> {
        let killed = self.plant.nodes().filter(|(.., process)| !process.is_up());
        let start = killed.map(|(hub, node, _)| Action::Start {
            hub: hub.to_owned(),
            node,
        });
        let cut = self.plant.links().filter(|(.., cut)| *cut);
        let heal = cut.map(|(child, ..)| Action::Heal {
            child: child.to_owned(),
        });
        heal.chain(start).collect()
    }

    /// Processes that ended by themselves, in words.
    pub(super) fn fallen(&self) -> &[String] {
        &self.fallen
    }

    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        self.plant.stop().await
    }

    /// Carries out orders until it is dropped, and can be called again then; ends by itself only
    /// when a process did that had no reason to.
    pub(super) async fn run(&mut self) -> anyhow::Error {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(order) = self.script.1.recv() => self.take(order, By::Script),
                Some(order) = self.page.1.recv() => self.take(order, By::Page),
                name = self.starting.served() => self.serves(&name),
                outcome = self.audit.ended() => self.audit.tell(outcome, &self.story),
                _ = ticks.tick() => {
                    if let Err(error) = self.look() {
                        return error;
                    }
                }
            }
            self.show();
        }
    }

    fn take(&mut self, Order { action, done }: Order, by: By) {
        let outcome = match self.refusal(by) {
            Some(refusal) => Err(anyhow::anyhow!(refusal)),
            None => match action {
                Action::Kill { hub, node } => self.kill(&hub, node),
                Action::Start { hub, node } => return self.start(&hub, node, by, done),
                Action::Cut { child } => self.set_link(&child, true),
                Action::Heal { child } => self.set_link(&child, false),
                Action::Audit => return self.begin_audit(done),
            },
        };
        if let (Ok(told), By::Page) = (&outcome, by) {
            self.story.event(told);
        }
        reply(done, outcome);
    }

    fn refusal(&self, by: By) -> Option<&'static str> {
        match (self.mode, by) {
            (_, By::Script) => None,
            (Mode::Script, By::Page) => Some(
                "the demo breaks things by itself now: wait for its end with --keep, or start it \
                 with --no-faults",
            ),
            (Mode::Ending, By::Page) => Some("the demo is ending"),
            (Mode::Free, By::Page) => (self.audit.is_running())
                .then_some("an audit is running: give the order again when it is done"),
        }
    }

    fn kill(&mut self, hub: &str, node: u64) -> anyhow::Result<String> {
        let process = self.plant.node(hub, node)?;
        let name = process.name().to_owned();
        if !process.is_up() {
            bail!("{name} is killed already");
        }
        process.kill()?;
        self.starting
            .forget(&name, "it was killed while it started");
        Ok(format!("killed {name}"))
    }

    fn start(&mut self, hub: &str, node: u64, by: By, done: Reply) {
        let started = self.plant.node(hub, node).and_then(|process| {
            process.start()?;
            Ok(process.observer().clone())
        });
        match started {
            Ok(observer) => {
                if by == By::Page {
                    self.story.event(format!("starting {}", observer.name()));
                }
                let told = by == By::Page;
                self.starting.add(hub, node, observer, told, done);
            }
            Err(error) => reply(done, Err(error)),
        }
    }

    fn serves(&mut self, name: &str) {
        if let Some(told) = self.starting.done(name) {
            self.story.event(told);
        }
    }

    fn set_link(&mut self, child: &str, cut: bool) -> anyhow::Result<String> {
        let parent = self.plant.set_link(child, cut)?;
        match (parent, cut) {
            (Some(parent), true) => Ok(format!("cut the link from {child} to {parent}")),
            (Some(parent), false) => Ok(format!("healed the link from {child} to {parent}")),
            (None, true) => bail!("the link from {child} upward is cut already"),
            (None, false) => bail!("the link from {child} upward is not cut"),
        }
    }

    fn begin_audit(&mut self, done: Reply) {
        if self.audit.is_running() {
            return reply(done, Err(anyhow::anyhow!("an audit is running already")));
        }
        if let Some(obstacle) = audit::obstacle(&self.plant) {
            return reply(done, Err(anyhow::anyhow!(obstacle)));
        }
        let absent = self.plant.nodes().filter(|(.., process)| !process.is_up());
        let absent = absent
            .map(|(.., process)| process.name().to_owned())
            .collect();
        let (hubs, accounts) = (self.hubs.clone(), self.accounts().to_vec());
        let switch = self.machines.switch();
        self.audit
            .begin(switch, hubs, accounts, absent, self.story.clone(), done);
    }

    /// Looks after the processes.
    fn look(&mut self) -> anyhow::Result<()> {
        if self.machines.is_one_full() && !std::mem::replace(&mut self.full, true) {
            self.story
                .event("a machine has stopped: it can keep no longer account of its messages");
        }
        self.starting.look(&mut self.plant);
        if self.mode != Mode::Free {
            return self
                .starting
                .others(&mut self.plant, |process| process.check_alive());
        }
        let mut fallen = Vec::new();
        self.starting.others(&mut self.plant, |process| {
            if let Some(status) = process.reap()? {
                let name = process.name();
                let told = format!("{name} ended, though nobody here had asked it to ({status})");
                fallen.push((told, was_ended_by_hand(status), process.last_words()));
            }
            Ok(())
        })?;
        for (told, by_hand, last_words) in fallen {
            self.story.event(&told);
            if !by_hand {
                self.fallen.push(format!("{told}; {last_words}"));
            }
        }
        Ok(())
    }

    /// What stands and what is broken, to whoever watches.
    fn show(&self) {
        let nodes: Vec<LabNode> = self
            .plant
            .nodes()
            .map(|(hub, node, process)| {
                let state = match process.is_up() {
                    true if self.starting.contains(process.name()) => NodeState::Starting,
                    true => NodeState::Running,
                    false => NodeState::Killed,
                };
                LabNode {
                    hub: hub.to_owned(),
                    node,
                    state,
                }
            })
            .collect();
        let links = self.plant.links().map(|(child, parent, cut)| LabLink {
            child: child.to_owned(),
            parent: parent.to_owned(),
            cut,
        });
        let links: Vec<LabLink> = links.collect();
        if self.mode == Mode::Free {
            self.story.broken(&nodes, &links);
        }
        self.story.lab().send_if_modified(|state| {
            let changed = state.nodes != nodes || state.links != links;
            (state.nodes, state.links) = (nodes, links);
            changed
        });
    }
}

/// Somebody used `kill`: that is what a lab is for.
#[cfg(unix)]
fn was_ended_by_hand(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let signals = [rustix::process::Signal::KILL, rustix::process::Signal::TERM];
    let signals = signals.map(rustix::process::Signal::as_raw);
    status.success()
        || status
            .signal()
            .is_some_and(|signal| signals.contains(&signal))
}

#[cfg(not(unix))]
fn was_ended_by_hand(_: std::process::ExitStatus) -> bool {
    false
}

/// Who gave the order may be gone.
fn reply(done: Reply, outcome: anyhow::Result<String>) {
    let _ = done.send(outcome.map_err(|error| format!("{error:#}")));
}
