//! `updraft demo`: a pyramid of real processes on this machine, simulated machines that connect over
//! real MQTT, faults, and at the end a proof that nothing was lost.
//!
//! ```text
//! machines ──MQTT──▶ plant: edges ──▶ site ──▶ enterprise
//!    │                             SQLite      SQLite
//!    └─▶ ledger ──▶ oracle ◀── logs and rows (verdict) ──▶ report
//! ```
//!
//! [`course`] says what happens one after the other. While it runs, [`lab`] alone owns the plant:
//! the script of the [`faults`] and people at the console's lab page send it orders. What happens is
//! told to the [`story`], which prints it, or keeps it for the [`screen`] and for the lab page.

mod course;
mod plant;
mod machines;
mod ledger;
mod faults;
mod lab;
mod drain;
mod verdict;
mod oracle;
mod stored;
mod report;
mod story;
mod gauges;
mod progress;
mod screen;
mod web;
mod stops;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use kit::shutdown::INTERRUPTED;
use tempfile::TempDir;
use tokio::sync::watch;

use course::{Course, Report};
use gauges::Sample;
use lab::{Lab, Mode};
use plant::Plant;
use stops::Stops;
use story::{Phase, Story};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Starts 8 processes on loopback, on free ports: two edge hubs (one and three nodes), a site hub
(three nodes, SQLite) and an enterprise hub (SQLite). Two refrigerators and a milling spindle
(vibration at 20 kHz, sent raw) publish over MQTT, QoS 1. Meanwhile the site's log leader, a node
of an edge and the enterprise's process are killed (SIGKILL) and brought back, and one edge's link
upward is cut. At the end the machines' own account of every acknowledged record is compared with
the log of each layer and with the rows of each historian, values included.

On a terminal it is shown live; q or Ctrl-C ends it. In a browser it is shown by the console of the
enterprise, whose address and passwords are printed at the start. With --keep its page \"Lab\" has
buttons that kill and start nodes, cut and heal links, and audit.

Exit codes: 0 nothing is missing, doubled, reordered or altered; 1 something is, or the demo could
not run; 130 interrupted.")]
pub struct Args {
    /// How long the machines run, such as 30s or 5m
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = run_time)]
    run_time: Duration,
    /// Keep data and logs here, in a directory that is empty or does not exist yet; without it
    /// they go to a temporary directory that is removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// When the faults are over, let everything run on to look around, until Ctrl-C; the next
    /// Ctrl-C does not wait for the last audit
    #[arg(long)]
    keep: bool,
    /// Break nothing; with --keep, go straight to looking around
    #[arg(long)]
    no_faults: bool,
    /// Where the console listens [default: a free port on loopback]
    #[arg(long, value_name = "ADDRESS", default_value_t = anywhere(), hide_default_value = true)]
    console_listen: SocketAddr,
    /// Lines instead of the live view, also on a terminal
    #[arg(long)]
    plain: bool,
    /// One JSON object on stdout at the end; progress goes to stderr
    #[arg(long)]
    json: bool,
}

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn run_time(text: &str) -> Result<Duration, String> {
    let run_time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if run_time < Duration::from_secs(5) {
        return Err("at least 5s: the faults need their time".into());
    }
    Ok(run_time)
}

/// Ctrl-C may come at any moment: dropping what runs kills every process, and then the temporary
/// directory goes.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let story = Story::new(args.json);
    let directory = Directory::create(args.data.as_deref())?;
    let stops = Stops::new(args.keep);
    stops.on_signals().context("listen to signals")?;
    let course = Course {
        args: &args,
        story: &story,
        stops: &stops,
    };
    let outcome = tokio::select! {
        outcome = Box::pin(course.run(directory.path())) => outcome,
        () = stops.at_once.cancelled() => {
            story.line("interrupted: all processes are stopped");
            directory.finish(&story, true);
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    let clean = outcome
        .as_ref()
        .is_ok_and(|report| report.verdict.is_clean());
    if let Ok(report) = &outcome {
        print(report, &args, &story);
    }
    directory.finish(&story, clean);
    outcome?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A plant with its machines, which nothing breaks until it is ordered to. Orders are carried out,
/// and everything is killed when it is dropped, by the future; it ends by itself only when a process
/// did that had no reason to.
pub async fn laboratory(
    executable: &Path,
    directory: &Path,
) -> anyhow::Result<(console::lab::Lab, impl Future<Output = anyhow::Error>)> {
    let plant = Plant::start(executable, directory).await?;
    let machines = plant.connect_machines()?;
    let story = Story::new(true);
    story.phase(Phase::LookingAround);
    let (samples, watched) = watch::channel(Sample::empty(plant.hubs().len()));
    let mut lab = Lab::new(plant, machines, watched, story.clone())?;
    lab.set_mode(Mode::Free);
    let (page, hubs) = (lab.page(), lab.hubs().to_vec());
    let run = async move {
        tokio::select! {
            error = lab.run() => error,
            () = gauges::run(hubs, story, samples) => anyhow!("nobody asks the hubs any more"),
        }
    };
    Ok((page, run))
}

fn print(report: &Report, args: &Args, story: &Story) {
    story.line(report::text(&report.verdict, &report.faults));
    if args.json {
        println!("{:#}", report::json(&report.verdict, &report.faults));
    }
}

/// Where data and logs are.
enum Directory {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Directory {
    fn create(given: Option<&Path>) -> anyhow::Result<Directory> {
        let Some(path) = given else {
            let directory = tempfile::Builder::new().prefix("updraft-demo-").tempdir();
            return Ok(Directory::Temporary(
                directory.context("create a temporary directory")?,
            ));
        };
        let doing = || format!("create {}", path.display());
        std::fs::create_dir_all(path).with_context(doing)?;
        if path.read_dir().with_context(doing)?.next().is_some() {
            bail!(
                "{} is not empty: give --data an empty directory",
                path.display()
            );
        }
        Ok(Directory::Given(
            std::path::absolute(path).with_context(doing)?,
        ))
    }

    fn path(&self) -> &Path {
        match self {
            Directory::Given(path) => path,
            Directory::Temporary(directory) => directory.path(),
        }
    }

    /// A temporary directory stays when somebody has to find out what went wrong.
    fn finish(self, story: &Story, clean: bool) {
        match self {
            Directory::Given(path) => {
                story.line(format!("data and logs are kept in {}", path.display()));
            }
            Directory::Temporary(directory) if !clean => {
                let path = directory.keep();
                story.line(format!("data and logs are kept in {}", path.display()));
            }
            Directory::Temporary(_) => {}
        }
    }
}
