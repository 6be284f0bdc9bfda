//! The course of a demo: start, break, look around, settle, judge.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use console::lab::Action;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::drain::drain;
use super::faults::{Done, Faults};
use super::gauges::{self, Sample};
use super::lab::{Lab, Mode};
use super::ledger::Ledger;
use super::plant::{ENTERPRISE, Plant};
use super::screen::{Screen, Watched};
use super::stops::Stops;
use super::story::{Phase, Story};
use super::verdict::{Verdict, judge, lost_sessions};
use super::{Args, web};

/// What the demo is about.
pub(super) struct Report {
    pub(super) verdict: Verdict,
    pub(super) faults: Vec<Done>,
}

/// Dropping it kills every process and gives the terminal back.
pub(super) struct Course<'a> {
    pub(super) args: &'a Args,
    pub(super) story: &'a Story,
    pub(super) stops: &'a Stops,
}

impl Course<'_> {
    pub(super) async fn run(self, directory: &Path) -> anyhow::Result<Report> {
        let plant = self.start(directory).await?;
        let enterprise = plant.hub(ENTERPRISE)?.nodes()[0].config();
        let machines = plant.connect_machines()?;
        let started = Instant::now();
        self.story
            .update(|now| now.started = Some((started, SystemTime::now())));

        let (samples, watched) = watch::channel(Sample::empty(plant.hubs().len()));
        let mut lab = Lab::new(plant, machines, watched.clone(), self.story.clone())?;
        let mut background = JoinSet::new();
        let hubs = lab.hubs().to_vec();
        background.spawn(gauges::run(hubs, self.story.clone(), samples));
        self.open_console(&enterprise, directory, &lab, &mut background)
            .await?;
        let screen = self.open_screen(&lab, watched.clone());

        let faults = self.break_it(&mut lab, started).await?;
        if self.args.keep {
            self.look_around(&mut lab, !faults.is_empty()).await?;
        }
        let verdict = self.settle(&mut lab, watched).await?;
        drop(screen);
        lab.stop().await?;
        Ok(Report { verdict, faults })
    }

    async fn start(&self, directory: &Path) -> anyhow::Result<Plant> {
        let executable = std::env::current_exe().context("find this executable")?;
        self.story.line(format!(
            "starting the hubs; data and logs in {}",
            directory.display()
        ));
        let starting = Instant::now();
        let plant = Plant::start(&executable, directory).await?;
        let (processes, after) = (plant.processes(), starting.elapsed().as_millis());
        self.story.line(format!(
            "{processes} processes are ready after {after} ms\n{}",
            describe(&plant)
        ));
        Ok(plant)
    }

    async fn open_console(
        &self,
        enterprise: &Path,
        directory: &Path,
        lab: &Lab,
        background: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        web::keep_log(directory)?;
        let listen = self.args.console_listen;
        let (console, web) = web::build(enterprise, directory, listen, lab.page()).await?;
        web.lines().iter().for_each(|line| self.story.line(line));
        self.story.update(|now| now.web = Some(web));
        let story = self.story.clone();
        background.spawn(async move {
            if let Err(error) = console.run().await {
                story.event(format!("the console has ended: {error}"));
            }
        });
        Ok(())
    }

    /// `None` when lines will do.
    fn open_screen(&self, lab: &Lab, samples: watch::Receiver<Sample>) -> Option<Screen> {
        if self.args.json || self.args.plain || !super::screen::suits() {
            return None;
        }
        let watched = Watched {
            hubs: lab.hubs().to_vec(),
            accounts: lab.accounts().to_vec(),
            samples,
            story: self.story.clone(),
            stops: self.stops.clone(),
        };
        match Screen::open(watched) {
            Ok(screen) => Some(screen),
            Err(error) => {
                self.story
                    .line(format!("no view, the terminal refuses it: {error}"));
                None
            }
        }
    }

    /// The faults that were made. With --keep, a wish to end cuts it short.
    async fn break_it(&self, lab: &mut Lab, started: Instant) -> anyhow::Result<Vec<Done>> {
        let mut done = Vec::new();
        if self.args.no_faults && self.args.keep {
            return Ok(done);
        }
        self.story.phase(Phase::Running(self.args.run_time));
        let faults = Faults {
            orders: lab.orders(),
            hubs: lab.hubs().to_vec(),
            accounts: lab.accounts().to_vec(),
            story: self.story.clone(),
            started,
        };
        lab.set_mode(if self.args.no_faults {
            Mode::Free
        } else {
            Mode::Script
        });
        let script = async {
            if !self.args.no_faults {
                faults.run(self.args.run_time, &mut done).await?;
            }
            sleep_until(started + self.args.run_time).await;
            Ok(())
        };
        tokio::select! {
            error = lab.run() => Err(error),
            ended = Box::pin(script) => ended,
            () = self.stops.enough.cancelled(), if self.args.keep => Ok(()),
        }?;
        Ok(done)
    }

    /// Until somebody has seen enough.
    async fn look_around(&self, lab: &mut Lab, audit: bool) -> anyhow::Result<()> {
        lab.set_mode(Mode::Free);
        self.story.felt(None);
        self.story.phase(Phase::LookingAround);
        let orders = lab.orders();
        let first = async {
            if audit {
                // What comes of it is an event.
                let _ = orders.give(Action::Audit).await;
            }
            self.story
                .event("look around, and break what you like; Ctrl-C ends it with an audit");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            error = lab.run() => Err(error),
            () = self.stops.enough.cancelled() => Ok(()),
            () = first => Ok(()),
        }
    }

    /// Stops the machines, waits until all has arrived, and compares.
    async fn settle(
        &self,
        lab: &mut Lab,
        mut samples: watch::Receiver<Sample>,
    ) -> anyhow::Result<Verdict> {
        lab.set_mode(Mode::Ending);
        let (mending, orders) = (lab.mending(), lab.orders());
        let (hubs, accounts) = (lab.hubs().to_vec(), lab.accounts().to_vec());
        if !mending.is_empty() {
            self.story
                .event("starting what is killed and healing what is cut, for the audit");
        }
        self.story.felt(None);
        self.story.phase(Phase::Draining);
        lab.machines().stop().await;
        let settling = async {
            let mending = mending.into_iter().map(|action| orders.give(action));
            futures::future::try_join_all(mending).await?;
            drain(&accounts, &hubs, &mut samples).await?;
            self.story.phase(Phase::Auditing);
            self.story
                .line("auditing: the machines' account against each log and each historian");
            judge(&hubs, &Arc::new(Ledger::of(&accounts)), &[]).await
        };
        let mut verdict = tokio::select! {
            error = lab.run() => Err(error),
            verdict = Box::pin(settling) => verdict,
        }?;
        lab.machines().ended().await;
        verdict.further.extend(lost_sessions(&accounts));
        verdict.further.extend(lab.fallen().iter().cloned());
        Ok(verdict)
    }
}

/// One line per hub: where a person can look while it runs.
fn describe(plant: &Plant) -> String {
    let hubs = plant.hubs().iter().map(|hub| {
        let nodes = hub.nodes().iter().map(|node| node.mqtt().to_string());
        let nodes: Vec<String> = nodes.collect();
        format!("  {:22} MQTT {}", hub.path(), nodes.join(", "))
    });
    hubs.collect::<Vec<_>>().join("\n")
}
