//! `updraft demo`: a pyramid of real processes on this machine, simulated machines that connect over
//! real MQTT, faults, and at the end a proof that nothing was lost.
//!
//! ```text
//! machines ──MQTT──▶ plant: edges ──▶ site ──▶ enterprise      faults: kill, kill, kill, cut
//!    │                             SQLite      SQLite
//!    └─▶ ledger ──▶ oracle ◀── logs and rows (verdict) ──▶ report
//! ```

mod console;
mod drain;
mod faults;
mod ledger;
mod machines;
mod oracle;
mod plant;
mod progress;
mod report;
mod stored;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use proto::rpc::StatusResponse;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::pyramid::NodeProcess;
use console::Console;
use drain::drain;
use faults::{Done, Faults};
use ledger::Ledger;
use machines::Machines;
use plant::{Asked, Plant};
use progress::Progress;
use verdict::{Verdict, judge};

/// What a shell reports for a process that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
const STOP_LIMIT: Duration = Duration::from_secs(5);
pub(crate) const ASK_LIMIT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Starts 8 processes on loopback, on free ports: two edge hubs (one and three nodes), a site hub
(three nodes, SQLite) and an enterprise hub (SQLite). Two refrigerators and a milling spindle
(vibration at 20 kHz, sent raw) publish over MQTT, QoS 1. Meanwhile the site's log leader, a node
of an edge and the enterprise's process are killed (SIGKILL) and brought back, and one edge's link
upward is cut. At the end the machines' own account of every acknowledged record is compared with
the log of each layer and with the rows of each historian, values included.

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
    /// One JSON object on stdout at the end; progress goes to stderr
    #[arg(long)]
    json: bool,
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
    let console = Console::new(args.json);
    let directory = Directory::create(args.data.as_deref())?;
    let interrupted = kit::shutdown::on_signal().context("listen to signals")?;
    let outcome = tokio::select! {
        outcome = Box::pin(demo(&args, console, directory.path())) => outcome,
        () = interrupted.cancelled() => {
            console.line("interrupted: all processes are stopped");
            directory.finish(console, true);
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    let clean = outcome
        .as_ref()
        .is_ok_and(|report| report.verdict.is_clean());
    if let Ok(report) = &outcome {
        report.print(&args, console);
    }
    directory.finish(console, clean);
    outcome?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the demo is about.
struct Report {
    verdict: Verdict,
    faults: Vec<Done>,
}

impl Report {
    fn print(&self, args: &Args, console: Console) {
        console.line(report::text(&self.verdict, &self.faults));
        if args.json {
            println!("{:#}", report::json(&self.verdict, &self.faults));
        }
    }
}

async fn demo(args: &Args, console: Console, directory: &Path) -> anyhow::Result<Report> {
    let executable = std::env::current_exe().context("find this executable")?;
    console.line(format!(
        "starting the hubs; data and logs in {}",
        directory.display()
    ));
    let starting = Instant::now();
    let mut plant = Plant::start(&executable, directory).await?;
    let (processes, after) = (plant.processes(), starting.elapsed().as_millis());
    console.line(format!(
        "{processes} processes are ready after {after} ms\n{}",
        describe(&plant)
    ));

    let hubs = plant.asked()?;
    let mut machines = plant.connect_machines()?;
    let started = Instant::now();
    let mut progress = Progress::new(hubs.clone(), console, started);
    let faults = break_it(
        args.run_time,
        &mut plant,
        &machines,
        &mut progress,
        console,
        started,
    )
    .await?;
    let ledger = settle(&mut plant, &mut machines, &hubs, &mut progress).await?;

    console.line("auditing: the machines' account against each log and each historian");
    let mut verdict = judge(&plant, &Arc::new(ledger)).await?;
    verdict.further.extend(lost_sessions(&machines));
    plant.pyramid.stop(STOP_LIMIT).await?;
    Ok(Report { verdict, faults })
}

/// One line per hub: where a person can look while it runs.
fn describe(plant: &Plant) -> String {
    let hubs = plant.pyramid.hubs().iter().map(|hub| {
        let nodes = hub.nodes().iter().map(|node| node.mqtt().to_string());
        let nodes: Vec<String> = nodes.collect();
        format!("  {:22} MQTT {}", hub.path(), nodes.join(", "))
    });
    hubs.collect::<Vec<_>>().join("\n")
}

async fn break_it(
    run_time: Duration,
    plant: &mut Plant,
    machines: &Machines,
    progress: &mut Progress,
    console: Console,
    started: Instant,
) -> anyhow::Result<Vec<Done>> {
    let (current, watching) = watch::channel(String::new());
    let faults = Faults {
        plant,
        machines,
        console,
        started,
        current: &current,
    };
    tokio::select! {
        done = Box::pin(faults.run(run_time)) => done,
        never = progress.run(watching) => match never {},
    }
}

/// Stops the machines, waits until all has arrived, and takes their accounts.
async fn settle(
    plant: &mut Plant,
    machines: &mut Machines,
    hubs: &[Asked],
    progress: &mut Progress,
) -> anyhow::Result<Ledger> {
    drain(plant, machines, hubs, progress).await?;
    let mut ledger = Ledger::default();
    for account in machines.accounts() {
        ledger.add(account);
    }
    Ok(ledger)
}

fn lost_sessions(machines: &Machines) -> Vec<String> {
    let lost = machines.accounts().iter().filter_map(|account| {
        let times = account
            .sessions_lost
            .load(std::sync::atomic::Ordering::Relaxed);
        let (machine, hub) = (&account.machine, &account.hub);
        (times > 0).then(|| format!("{hub} forgot the session of {machine} {times} time(s)"))
    });
    lost.collect()
}

/// What a node says once it has applied all below an offset; `None` when it does not get there.
async fn reached(node: &NodeProcess, offset: u64) -> Option<StatusResponse> {
    let deadline = Instant::now() + ASK_LIMIT;
    while Instant::now() < deadline {
        match node.status().await {
            Some(status) if status.next_offset >= offset => return Some(status),
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
    None
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
    fn finish(self, console: Console, clean: bool) {
        match self {
            Directory::Given(path) => {
                console.line(format!("data and logs are kept in {}", path.display()));
            }
            Directory::Temporary(directory) if !clean => {
                let path = directory.keep();
                console.line(format!("data and logs are kept in {}", path.display()));
            }
            Directory::Temporary(_) => {}
        }
    }
}
