//! `updraft audit`: two layers and a historian that hold the same, and a row that was changed.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use updraft::pyramid::{HubSpec, Pyramid};

const UPDRAFT: &str = env!("CARGO_BIN_EXE_updraft");
const LIMIT: Duration = Duration::from_secs(60);
const RECORDS: usize = 100;

/// The exit code and the JSON object.
fn audit(files: &[PathBuf]) -> (i32, Json) {
    let mut command = Command::new(UPDRAFT);
    command.args(["audit", "--json"]);
    for file in files {
        command.arg("-c").arg(file);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    (output.status.code().unwrap(), json)
}

fn publish(broker: &str) {
    let mut publisher = Command::new(UPDRAFT)
        .args([
            "pub",
            "--value",
            "--broker",
            broker,
            "umh/v1/acme/line/_raw/temperature",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = publisher.stdin.take().unwrap();
    for number in 0..RECORDS {
        writeln!(lines, "{number}.5").unwrap();
    }
    drop(lines);
    assert!(publisher.wait().unwrap().success());
}

/// The enterprise has it all, in its log and in its historian.
fn has_arrived(report: &Json) -> bool {
    let layer = report["layers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|layer| layer["hub"] == "acme");
    let origins = layer.unwrap()["origins"].as_array().unwrap();
    origins
        .iter()
        .any(|origin| origin["equal"] == RECORDS && origin["historian"]["rows"] == RECORDS)
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_layers_and_a_row_that_was_changed() {
    let directory = tempfile::tempdir().unwrap();
    let mut pyramid = Pyramid::new(UPDRAFT, directory.path());
    let top = HubSpec {
        historian: true,
        ..HubSpec::new("acme")
    };
    let uplinks = pyramid.add(top).unwrap().uplinks();
    let parent = uplinks
        .iter()
        .map(|uplink| format!("http://{uplink}"))
        .collect();
    pyramid
        .add(HubSpec {
            parent,
            ..HubSpec::new("acme.line")
        })
        .unwrap();
    pyramid.start(LIMIT).await.unwrap();
    let (top, line) = (
        pyramid.hub("acme").unwrap(),
        pyramid.hub("acme.line").unwrap(),
    );

    publish(&line.brokers()[0].to_string());
    // Given in the wrong order: that does not matter.
    let files = [line.nodes()[0].config(), top.nodes()[0].config()];
    let deadline = Instant::now() + LIMIT;
    let report = loop {
        let (code, report) = audit(&files);
        assert_eq!(code, 0, "{report:#}");
        if has_arrived(&report) {
            break report;
        }
        assert!(Instant::now() < deadline, "{report:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(
        (
            &report["ok"],
            report["differences"].as_array().unwrap().len()
        ),
        (&true.into(), 0)
    );

    let historian = rusqlite::Connection::open(top.historian().unwrap()).unwrap();
    historian
        .execute("UPDATE value SET value = value + 1e-9 WHERE seq = 42", [])
        .unwrap();
    let (code, report) = audit(&files);
    assert_eq!((code, &report["ok"]), (1, &false.into()));
    let difference = &report["differences"][0];
    assert_eq!(difference["hub"], "historian of acme");
    assert_eq!(difference["sequence"], 42, "{report:#}");
    assert!(
        difference["origin"]
            .as_str()
            .unwrap()
            .starts_with("acme.line/"),
        "{report:#}"
    );
}
