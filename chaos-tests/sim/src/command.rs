//! The command line: one seed in this process, many in processes of their own.

use std::collections::{BTreeMap, VecDeque};
use std::process::{Child, Command, ExitCode, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::disk::Lie;
use crate::world::{self, Outcome};
use crate::{entropy, invariants};

/// The log of a hub in a simulated world: network, disks and clocks fail by a seed, and whatever
/// must hold is checked all the while.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo sim")]
struct Options {
    /// One seed, or a range: 4711, 1..1000 (without 1000), 1..=1000
    #[arg(long)]
    seeds: Seeds,
    /// Break a promise on purpose: the simulation must notice
    #[arg(long = "break", value_name = "PROMISE")]
    broken: Option<Promise>,
    /// Check only these invariants, as their files are called (with dashes)
    #[arg(long = "judge", value_name = "INVARIANT", value_parser = known_invariant)]
    judges: Vec<String>,
    /// How many seeds run at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Go on after a seed has failed
    #[arg(long)]
    keep_going: bool,
    /// One line of JSON per seed
    #[arg(long)]
    json: bool,
    /// Tell what goes wrong; twice, what the log says; three times, everything that clients see
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn known_invariant(name: &str) -> Result<String, String> {
    let known: Vec<_> = invariants::all().iter().map(|i| i.name()).collect();
    let is_known = known.contains(&name);
    is_known
        .then(|| name.to_owned())
        .ok_or_else(|| format!("it is one of {known:?}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Promise {
    /// No fdatasync reaches the disk
    Fsync,
    /// No fdatasync of the votes does
    Vote,
    /// A repeated append is taken again (needs the feature `sabotage`)
    Dedupe,
}

impl Promise {
    fn name(self) -> &'static str {
        match self {
            Promise::Fsync => "fsync",
            Promise::Vote => "vote",
            Promise::Dedupe => "dedupe",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seeds {
    first: u64,
    /// One beyond the last.
    end: u64,
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let number = |text: &str| {
            let number: Result<u64, _> = text.parse();
            number.map_err(|_| format!("{text:?} is not a seed; give 4711, 1..1000 or 1..=1000"))
        };
        let (first, end) = match text.split_once("..") {
            None => (number(text)?, number(text)?.saturating_add(1)),
            Some((first, last)) => match last.strip_prefix('=') {
                Some(last) => (number(first)?, number(last)?.saturating_add(1)),
                None => (number(first)?, number(last)?),
            },
        };
        if first >= end {
            return Err(format!("there is no seed in {text}"));
        }
        Ok(Seeds { first, end })
    }
}

/// 0 when everything held, 1 when something did not, 2 when the simulation itself failed.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.seeds.end - options.seeds.first == 1 {
        one(&options)
    } else {
        many(&options)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn one(options: &Options) -> anyhow::Result<bool> {
    let seed = options.seeds.first;
    let lie = match options.broken {
        Some(Promise::Fsync) => Lie::Data,
        Some(Promise::Vote) => Lie::Votes,
        Some(Promise::Dedupe) => {
            let is_set = std::env::var("UPDRAFT_SABOTAGE").is_ok_and(|s| s.contains("dedupe-off"));
            anyhow::ensure!(
                is_set && cfg!(feature = "sabotage"),
                "--break dedupe needs the feature `sabotage` and UPDRAFT_SABOTAGE=dedupe-off"
            );
            Lie::None
        }
        None => Lie::None,
    };
    tell(options.verbose);
    let judges = options.judges.clone();
    // A thread of its own, on which nothing random has happened yet.
    let thread = std::thread::Builder::new()
        .name(format!("seed-{seed}"))
        .stack_size(16 << 20)
        .spawn(move || {
            entropy::seed(seed);
            world::run(seed, lie, &judges)
        })?;
    let started = Instant::now();
    let outcome = thread.join().map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        anyhow::anyhow!("the simulation panicked: {}", message.unwrap_or_default())
    })??;
    report(options, seed, &outcome, started.elapsed());
    Ok(outcome.violation.is_none())
}

fn report(options: &Options, seed: u64, outcome: &Outcome, took: Duration) {
    let violation = outcome.violation.as_ref();
    let replay = replay(options, seed);
    if options.json {
        let line = json!({
            "seed": seed,
            "nodes": outcome.nodes,
            "simulated_seconds": outcome.simulated.as_secs_f64(),
            "acknowledged": outcome.acknowledged,
            "coverage": outcome.coverage.counts().into_iter().collect::<BTreeMap<_, _>>(),
            "trace": format!("{:016x}", outcome.trace),
            "seconds": took.as_secs_f64(),
            "violated": violation.map(|violation| violation.invariant),
            "what": violation.map(|violation| &violation.what),
            "replay": violation.map(|_| &replay),
        });
        println!("{line}");
        return;
    }
    println!(
        "seed {seed}: {} nodes, {:.0} s simulated in {:.1} s, {} records acknowledged, trace {:016x}",
        outcome.nodes,
        outcome.simulated.as_secs_f64(),
        took.as_secs_f64(),
        outcome.acknowledged,
        outcome.trace
    );
    if let Some(violation) = violation {
        println!(
            "seed {seed} FAILED: {}: {}",
            violation.invariant, violation.what
        );
        println!("replay it: {replay}");
    }
}

fn replay(options: &Options, seed: u64) -> String {
    let sim = match options.broken {
        Some(Promise::Dedupe) => {
            "UPDRAFT_SABOTAGE=dedupe-off cargo run -q -p updraft-sim --features sabotage --"
        }
        _ => "cargo sim",
    };
    let broken = options
        .broken
        .map(|promise| format!(" --break {}", promise.name()));
    let judges = options.judges.iter().map(|name| format!(" --judge {name}"));
    let judges: String = judges.collect();
    format!(
        "{sim} --seeds {seed}{}{judges} -v",
        broken.unwrap_or_default()
    )
}

fn tell(verbose: u8) {
    let filter = match verbose {
        0 => return,
        1 => "sim=debug",
        2 => "sim=debug,raft_log=debug,openraft=info",
        _ => "sim=trace,raft_log=trace,openraft=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(SimulatedTime)
        .init();
}

struct SimulatedTime;

impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
    fn format_time(
        &self,
        writer: &mut tracing_subscriber::fmt::format::Writer<'_>,
    ) -> std::fmt::Result {
        match turmoil::sim_elapsed() {
            Some(elapsed) => write!(writer, "{:9.3}", elapsed.as_secs_f64()),
            None => write!(writer, "        -"),
        }
    }
}

/// Each seed in a process of its own: nothing is left over from the one before.
fn many(options: &Options) -> anyhow::Result<bool> {
    let mut running: VecDeque<(u64, Child)> = VecDeque::new();
    let mut failed = Vec::new();
    for seed in options.seeds.first..options.seeds.end {
        if running.len() >= options.jobs.max(1) {
            finish(&mut running, &mut failed)?;
        }
        if !failed.is_empty() && !options.keep_going {
            break;
        }
        running.push_back((seed, start(options, seed)?));
    }
    while !running.is_empty() {
        finish(&mut running, &mut failed)?;
    }
    if !options.json && !failed.is_empty() {
        println!("{} seeds failed: {failed:?}", failed.len());
    }
    Ok(failed.is_empty())
}

fn start(options: &Options, seed: u64) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.arg("--seeds").arg(seed.to_string());
    if let Some(promise) = options.broken {
        command.args(["--break", promise.name()]);
    }
    for judge in &options.judges {
        command.args(["--judge", judge]);
    }
    if options.json {
        command.arg("--json");
    }
    command.args((0..options.verbose).map(|_| "-v"));
    command.stdin(Stdio::null());
    command
        .spawn()
        .with_context(|| format!("start seed {seed}"))
}

/// Waits for the oldest.
fn finish(running: &mut VecDeque<(u64, Child)>, failed: &mut Vec<u64>) -> anyhow::Result<()> {
    let Some((seed, mut child)) = running.pop_front() else {
        return Ok(());
    };
    if !child
        .wait()
        .with_context(|| format!("wait for seed {seed}"))?
        .success()
    {
        failed.push(seed);
    }
    Ok(())
}
