//! What happens in a demo: told as lines to people who read them, and kept for the view on a
//! terminal and for the lab page.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use console::lab::{LabEvent, LabLink, LabNode, LabState, NodeState};
use tokio::sync::watch;
use tokio::time::Instant;

/// So many events are kept, the newest.
const EVENTS: usize = 200;

/// Cheap to clone; all clones tell the same story.
#[derive(Clone, Debug)]
pub(super) struct Story {
    /// Stdout is kept for the JSON object.
    json: bool,
    /// A view covers the terminal: lines would tear it.
    covered: Arc<AtomicBool>,
    lab: Arc<watch::Sender<LabState>>,
    now: Arc<watch::Sender<Now>>,
}

/// Where the demo is.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    pub(super) phase: Phase,
    /// When the machines started.
    pub(super) started: Option<(Instant, SystemTime)>,
    pub(super) fault: Option<Felt>,
    pub(super) web: Option<Web>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Starting,
    /// The machines run for this long.
    Running(Duration),
    /// The machines run until somebody says that it is enough.
    LookingAround,
    /// The machines are stopped; what they sent is on its way.
    Draining,
    Auditing,
}

/// A fault that is felt now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Felt {
    pub(super) what: String,
    pub(super) since: Instant,
}

/// How to reach the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Web {
    pub(super) url: String,
    /// Name and password.
    pub(super) users: Vec<(&'static str, String)>,
}

impl Story {
    pub(super) fn new(json: bool) -> Story {
        Story {
            json,
            covered: Arc::default(),
            lab: Arc::new(watch::Sender::new(LabState::default())),
            now: Arc::new(watch::Sender::new(Now::default())),
        }
    }

    /// A line that is no event.
    ///
    /// A reader that is gone is no reason to leave the processes alone.
    pub(super) fn line(&self, text: impl std::fmt::Display) {
        if self.covered.load(Ordering::Relaxed) {
            return;
        }
        let _ = if self.json {
            writeln!(std::io::stderr(), "{text}")
        } else {
            writeln!(std::io::stdout(), "{text}")
        };
    }

    /// An event, with the time since the machines started before it.
    pub(super) fn event(&self, text: impl Into<String>) {
        let (text, started) = (text.into(), self.now.borrow().started);
        match started {
            Some((started, _)) => {
                self.line(format!("{:6.1}s  {text}", started.elapsed().as_secs_f64()));
            }
            None => self.line(&text),
        }
        self.keep(text);
    }

    /// An event that belongs to the one before.
    pub(super) fn more(&self, text: impl Into<String>) {
        let text = text.into();
        self.line(format!("         {text}"));
        self.keep(text);
    }

    fn keep(&self, text: String) {
        let time = SystemTime::now();
        self.lab.send_modify(|lab| {
            let surplus = (lab.events.len() + 1).saturating_sub(EVENTS);
            lab.events.drain(..surplus);
            lab.events.push(LabEvent { time, text });
        });
    }

    /// While it is covered, lines are only kept as events.
    pub(super) fn cover(&self, covered: bool) {
        self.covered.store(covered, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Now {
        self.now.borrow().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Now)) {
        self.now.send_modify(change);
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.update(|now| now.phase = phase);
    }

    /// What is felt from now on; `None` when nothing is any more.
    pub(super) fn felt(&self, what: Option<String>) {
        let since = Instant::now();
        self.update(|now| now.fault = what.map(|what| Felt { what, since }));
    }

    /// What is broken while people break things: it is felt since the first of it.
    pub(super) fn broken(&self, nodes: &[LabNode], links: &[LabLink]) {
        let killed = nodes.iter().filter(|node| node.state != NodeState::Running);
        let killed = killed.map(|node| format!("{} node {}", node.hub, node.node));
        let cut = links.iter().filter(|link| link.cut);
        let cut = cut.map(|link| format!("{} to {}", link.child, link.parent));
        let all: Vec<String> = killed.chain(cut).collect();
        let what = (!all.is_empty()).then(|| all.join(", "));
        self.now.send_if_modified(|now| {
            let before = now.fault.as_ref();
            if before.map(|fault| &fault.what) == what.as_ref() {
                return false;
            }
            let since = before.map_or_else(Instant::now, |fault| fault.since);
            now.fault = what.map(|what| Felt { what, since });
            true
        });
    }

    /// What stands and what is broken; the events are this story's own.
    pub(super) fn lab(&self) -> &watch::Sender<LabState> {
        &self.lab
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_events_are_kept() {
        let story = Story::new(false);
        story.cover(true);
        for number in 0..EVENTS + 5 {
            story.event(number.to_string());
        }
        let lab = story.lab().borrow().clone();
        assert_eq!(lab.events.len(), EVENTS);
        assert_eq!(lab.events[0].text, "5");
        assert_eq!(lab.events[EVENTS - 1].text, (EVENTS + 4).to_string());
    }
}
