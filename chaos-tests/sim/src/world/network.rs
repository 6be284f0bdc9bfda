//! Which connections are cut.

use std::collections::BTreeMap;
use std::time::Duration;

use turmoil::Sim;

use crate::host;
use crate::plan::Action;

/// How long messages take at most when nothing is wrong.
pub(super) const CALM: Duration = Duration::from_millis(4);

/// One machine can't reach another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// What is sent is lost.
    Lost(String, String),
    /// What is sent either way waits.
    Stalled(String, String),
}

/// All machines, and how often each way between them is cut.
#[derive(Debug)]
pub(super) struct Network {
    machines: Vec<String>,
    cuts: BTreeMap<Cut, u32>,
}

impl Network {
    pub(super) fn new(machines: Vec<String>) -> Network {
        Network {
            machines,
            cuts: BTreeMap::new(),
        }
    }

    /// What an action cuts, and for how long.
    pub(super) fn cuts_of(&self, action: &Action) -> Vec<(Cut, Duration)> {
        let lost = |a: &str, b: &str| Cut::Lost(a.into(), b.into());
        let both = |a: &str, b: &str| [lost(a, b), lost(b, a)];
        let (cuts, lasting): (Vec<Cut>, Duration) = match action {
            Action::Partition {
                nodes,
                with_clients,
                lasting,
            } => {
                let inside: Vec<String> = nodes.iter().map(|id| host::name(*id)).collect();
                let outside = self.machines.iter().filter(|name| {
                    !inside.contains(name) && (*with_clients || name.starts_with("node"))
                });
                let cuts = outside.flat_map(|b| inside.iter().flat_map(move |a| both(a, b)));
                (cuts.collect(), *lasting)
            }
            Action::OneWay { from, to, lasting } => {
                let cut = lost(&host::name(*from), &host::name(*to));
                (vec![cut], *lasting)
            }
            Action::Stall {
                one,
                other,
                lasting,
            } => {
                let cut = Cut::Stalled(host::name(*one), host::name(*other));
                (vec![cut], *lasting)
            }
            Action::CutClient {
                node,
                client,
                lasting,
            } => {
                let cuts = both(&host::name(*node), &format!("producer-{client}"));
                (cuts.into(), *lasting)
            }
            _ => (Vec::new(), Duration::ZERO),
        };
        cuts.into_iter().map(|cut| (cut, lasting)).collect()
    }

    pub(super) fn cut(&mut self, sim: &Sim<'_>, cut: &Cut) {
        *self.cuts.entry(cut.clone()).or_default() += 1;
        apply(sim, cut);
    }

    pub(super) fn repair(&mut self, sim: &Sim<'_>, cut: &Cut) {
        let Some(times) = self.cuts.get_mut(cut) else {
            return;
        };
        *times -= 1;
        if *times > 0 {
            return;
        }
        self.cuts.remove(cut);
        match cut {
            Cut::Lost(from, to) => sim.repair_oneway(from.as_str(), to.as_str()),
            Cut::Stalled(one, other) => {
                sim.release(one.as_str(), other.as_str());
                self.restore(sim, one);
            }
        }
    }

    pub(super) fn heal(&mut self, sim: &Sim<'_>) {
        sim.set_max_message_latency(CALM);
        for cut in std::mem::take(&mut self.cuts).into_keys() {
            self.cuts.insert(cut.clone(), 1);
            self.repair(sim, &cut);
        }
    }

    /// Nothing that a machine sends gets anywhere, until [`Network::restore`].
    pub(super) fn silence(&self, sim: &Sim<'_>, name: &str) {
        for other in self.machines.iter().filter(|other| *other != name) {
            sim.partition_oneway(name, other.as_str());
        }
    }

    /// Makes a machine's connections what the cuts say.
    pub(super) fn restore(&self, sim: &Sim<'_>, name: &str) {
        for other in self.machines.iter().filter(|other| *other != name) {
            sim.repair(name, other.as_str());
        }
        for cut in self.cuts.keys() {
            let (Cut::Lost(a, b) | Cut::Stalled(a, b)) = cut;
            if a == name || b == name {
                apply(sim, cut);
            }
        }
    }
}

fn apply(sim: &Sim<'_>, cut: &Cut) {
    match cut {
        Cut::Lost(from, to) => sim.partition_oneway(from.as_str(), to.as_str()),
        Cut::Stalled(one, other) => sim.hold(one.as_str(), other.as_str()),
    }
}
