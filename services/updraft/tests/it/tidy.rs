//! The tree keeps its shape: who may depend on whom, and what has no place in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a crate may depend on, of ours, outside its tests. `chaos-tests`, the simulation in it, and
/// `benches` may use anything.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("updraft-proto", &[]),
    ("updraft-raft-log", &["updraft-proto"]),
    ("updraft-kit", &["updraft-proto"]),
    (
        "updraft-log",
        &["updraft-proto", "updraft-kit", "updraft-raft-log"],
    ),
    (
        "updraft-broker",
        &["updraft-proto", "updraft-kit", "updraft-raft-log"],
    ),
    (
        "updraft-forwarder",
        &["updraft-proto", "updraft-kit", "updraft-raft-log"],
    ),
    ("updraft-historian", &["updraft-proto", "updraft-kit"]),
    (
        "updraft-writer",
        &[
            "updraft-proto",
            "updraft-kit",
            "updraft-raft-log",
            "updraft-historian",
        ],
    ),
    (
        "updraft-collector",
        &["updraft-proto", "updraft-kit", "updraft-raft-log"],
    ),
    (
        "updraft-console",
        &[
            "updraft-proto",
            "updraft-kit",
            "updraft-raft-log",
            "updraft-historian",
        ],
    ),
];

/// Libraries with one home: only files whose path holds this may name them.
const AT_HOME: &[(&str, &str)] = &[
    ("openraft", "raft-log/src/"),
    ("rumqttd", "services/broker/src/"),
    ("sled", "raft-log/src/index.rs"),
    ("rusqlite", "services/historian/"),
    ("tokio_postgres", "services/historian/"),
];

const MAX_FILE_BYTES: u64 = 1 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn output(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What is in the tree, whether git knows it already or not.
fn files() -> Vec<String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = output(Command::new("git").args(arguments));
    listed
        .lines()
        .filter(|path| root().join(path).is_file())
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_know_only_what_they_may() {
    let arguments = [
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ];
    let metadata: serde_json::Value =
        serde_json::from_str(&output(Command::new(env!("CARGO")).args(arguments))).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(known, _)| *known == name) else {
            let may_use_all = [
                "updraft",
                "updraft-chaos-tests",
                "updraft-sim",
                "updraft-benches",
            ];
            assert!(may_use_all.contains(&name), "{name}");
            continue;
        };
        let known: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().unwrap())
            .filter(|dependency| dependency.starts_with("updraft"))
            .collect();
        let strange: Vec<_> = known
            .iter()
            .filter(|known| !allowed.contains(known))
            .collect();
        assert!(strange.is_empty(), "{name} may not know {strange:?}");
    }
}

#[test]
fn libraries_stay_at_home() {
    for path in files().iter().filter(|path| path.ends_with(".rs")) {
        // Tests may look at a database or a peer with what suits them.
        if path.contains("tests") || path.contains("/demo/") {
            continue;
        }
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = code.collect();
        for (library, home) in AT_HOME {
            let named = code
                .iter()
                .any(|line| line.contains(&format!("{library}::")));
            assert!(
                !named || path.contains(home),
                "{path} names {library}; its home is {home}"
            );
        }
    }
}

#[test]
fn nothing_is_left_open_or_too_large() {
    let marks = ["FIXME", "TODO:", "XXX:"];
    for path in files() {
        let full = root().join(&path);
        let bytes = std::fs::metadata(&full).unwrap().len();
        assert!(bytes <= MAX_FILE_BYTES, "{path} has {bytes} bytes");
        // What others wrote stays as they wrote it.
        if path.ends_with("tidy.rs") || path.contains("/vendor/") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&full).unwrap()).into_owned();
        for mark in marks {
            assert!(!text.contains(mark), "{path} holds {mark}");
        }
    }
}
