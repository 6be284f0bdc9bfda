//! The simulation over a fixed set of seeds, and the controls: with a promise broken on purpose it
//! must go red.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

/// Every change of the log passes these.
const SEEDS: &str = "1..=24";
/// What must have happened in them, so that it was tested.
const COVERED: [&str; 7] = [
    "deleted",
    "purges",
    "snapshots",
    "refusals",
    "joined",
    "removed",
    "replaced",
];
/// Within so many seeds a broken promise is noticed.
const CONTROL: &str = "1..=12";

fn sim(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_updraft-sim"));
    command.args(arguments).arg("--json");
    command
}

/// One line of JSON per seed.
fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    lines.unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn run(arguments: &[&str]) -> (bool, Vec<Value>) {
    let output = sim(arguments).output().unwrap();
    (output.status.success(), lines(&output))
}

#[test]
fn the_log_holds_what_it_promises() {
    let (held, seeds) = run(&["--seeds", SEEDS, "--keep-going"]);
    let failed: Vec<_> = seeds
        .iter()
        .filter(|seed| !seed["violated"].is_null())
        .collect();
    assert!(held && failed.is_empty(), "{failed:#?}");
    let acknowledged: u64 = seeds
        .iter()
        .filter_map(|seed| seed["acknowledged"].as_u64())
        .sum();
    assert!(
        acknowledged > 10_000,
        "only {acknowledged} records were acknowledged"
    );
    // And all of it came about.
    for what in COVERED {
        let counts = seeds
            .iter()
            .filter_map(|seed| seed["coverage"][what].as_u64());
        assert!(counts.sum::<u64>() > 0, "no {what} in these seeds");
    }
}

#[test]
fn a_seed_replays_to_the_last_event() {
    let trace = |seed| {
        let (_, lines) = run(&["--seeds", seed]);
        lines[0]["trace"].clone()
    };
    assert_eq!(trace("3"), trace("3"));
    assert_ne!(trace("3"), trace("4"));
}

/// What was violated first in each of the seeds, when a promise is broken.
fn violated(promise: &str, judges: &[&str]) -> Vec<String> {
    let mut arguments = vec!["--seeds", CONTROL, "--keep-going", "--break", promise];
    arguments.extend(judges.iter().flat_map(|judge| ["--judge", judge]));
    let (held, seeds) = run(&arguments);
    let names = seeds.iter().filter_map(|seed| seed["violated"].as_str());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert_eq!(held, names.is_empty());
    names
}

#[test]
fn control_without_fsync_it_goes_red() {
    let seen = violated("fsync", &["committed-on-quorum"]);
    assert!(
        seen.iter().any(|name| name == "committed-on-quorum"),
        "{seen:?}"
    );
}

/// No invariant that looks at disks is needed: a node that starts finds out what was not synced.
#[test]
fn control_without_fsync_a_node_refuses_to_start() {
    let seen = violated("fsync", &["acknowledged-is-read"]);
    assert!(seen.iter().any(|name| name == "serves"), "{seen:?}");
}

#[test]
fn control_without_durable_votes_it_goes_red() {
    let seen = violated("vote", &[]);
    assert!(
        seen.iter().any(|name| name == "election-safety"),
        "{seen:?}"
    );
}

#[cfg(feature = "sabotage")]
#[test]
fn control_without_dedupe_it_goes_red() {
    let mut command = sim(&["--seeds", CONTROL, "--keep-going", "--break", "dedupe"]);
    let output = command
        .env("UPDRAFT_SABOTAGE", "dedupe-off")
        .output()
        .unwrap();
    let seeds = lines(&output);
    let twice = |seed: &Value| seed["violated"] == "exactly-once";
    assert!(seeds.iter().any(twice), "{seeds:#?}");
}
