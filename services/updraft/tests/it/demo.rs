//! `updraft demo`: the whole pyramid, its faults and the audit; and that Ctrl-C leaves nothing.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[cfg(target_os = "linux")]
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

const UPDRAFT: &str = env!("CARGO_BIN_EXE_updraft");
/// Two cores may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(180);

/// With its data below a directory: at a path of its own when it is kept, else in a temporary one.
fn demo(directory: &Path, run_time: &str, keep: bool) -> Child {
    let mut command = Command::new(UPDRAFT);
    command
        .args(["demo", "--for", run_time, "--json"])
        .env("TMPDIR", directory);
    if keep {
        command.arg("--data").arg(directory);
    }
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn number(json: &Json, pointer: &str) -> u64 {
    json.pointer(pointer)
        .and_then(Json::as_u64)
        .unwrap_or_else(|| panic!("{pointer} in {json}"))
}

/// Processes whose command line names the directory: the demo's nodes.
#[cfg(target_os = "linux")]
fn nodes_of(directory: &Path) -> Vec<(rustix::process::Pid, String)> {
    let name = directory.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let nodes = processes.filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let id = process.file_name().to_str()?.parse().ok()?;
        let id = rustix::process::Pid::from_raw(id)?;
        (line.contains(&name) && line.contains(" run ")).then_some((id, line))
    });
    nodes.collect()
}

#[cfg(target_os = "linux")]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Invariants 1, 3, 4 and 7 over three kills and a cut, as the machines saw it.
#[test]
fn nothing_is_lost_while_processes_are_killed_and_a_link_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = demo(directory.path(), "10s", true)
        .wait_with_output()
        .unwrap();
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{progress}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(started.elapsed() < LIMIT, "{progress}");

    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    // 70 tags at 10 Hz for 10 s, less what waited for a broker.
    let acknowledged = number(&report, "/acknowledged");
    assert!(acknowledged > 3_500, "{report:#}");
    let hubs: Vec<&str> = report["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["hub"].as_str().unwrap())
        .collect();
    let expected = [
        "acme.cologne.line-1",
        "acme.cologne.line-2",
        "acme.cologne",
        "acme",
    ];
    assert_eq!(hubs, expected);
    let all_of_it = ["/layers/2", "/layers/3", "/historian", "/site_historian"];
    for place in all_of_it.into_iter().chain(["/layers/0", "/layers/1"]) {
        for what in ["missing", "duplicate", "reordered", "altered"] {
            assert_eq!(number(&report, &format!("{place}/{what}")), 0, "{report:#}");
        }
    }
    for place in all_of_it {
        assert!(
            number(&report, &format!("{place}/records")) >= acknowledged,
            "{report:#}"
        );
    }
    let faults = report["faults"].as_array().unwrap();
    let kinds: Vec<&str> = faults
        .iter()
        .map(|fault| fault["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["kill", "kill", "kill", "cut"]);
    for fault in faults {
        assert!(fault["recovered_ms"].as_u64().unwrap() > 0, "{report:#}");
    }
    // 20,000 a second; i16, so two bytes each before compression.
    let samples = number(&report, "/vibration/samples");
    assert!(
        samples > 60_000 && samples.is_multiple_of(2000),
        "{report:#}"
    );
    assert!(
        number(&report, "/vibration/bytes_on_wire") > samples,
        "{report:#}"
    );

    #[cfg(target_os = "linux")]
    assert_eq!(nodes_of(directory.path()), []);
}

#[cfg(target_os = "linux")]
fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_leaves_no_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    let child = demo(directory.path(), "1h", false);
    wait_until("eight processes run", || {
        nodes_of(directory.path()).len() == 8
    });
    signal(&child, rustix::process::Signal::INT);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("interrupted"), "{told}");
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(nodes_of(directory.path()), []);
    assert_eq!(
        directory.path().read_dir().unwrap().count(),
        0,
        "the temporary directory stays"
    );
}

/// Nobody can tell the nodes, but their standard input closes.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_demo_leaves_no_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = demo(directory.path(), "1h", false);
    wait_until("eight processes run", || {
        nodes_of(directory.path()).len() == 8
    });
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("all nodes have ended", || {
        nodes_of(directory.path()).is_empty()
    });
}

/// A demo that is kept, with its output so far and what follows.
#[cfg(target_os = "linux")]
struct Kept {
    child: Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    told: String,
}

#[cfg(target_os = "linux")]
impl Kept {
    fn start(directory: &Path) -> Kept {
        let mut child = Command::new(UPDRAFT)
            .args(["demo", "--keep", "--no-faults"])
            .env("TMPDIR", directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        Kept {
            child,
            lines,
            told: String::new(),
        }
    }

    /// The next line that holds this.
    fn line(&mut self, text: &str) -> String {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            self.told += &format!("{line}\n");
            if line.contains(text) {
                return line;
            }
        }
        panic!("no {text:?} in\n{}", self.told);
    }

    fn ended(&mut self) -> (Option<i32>, &str) {
        let rest = self.lines.by_ref().map(|line| line.unwrap() + "\n");
        self.told.extend(rest);
        (self.child.wait().unwrap().code(), &self.told)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Kept {
    fn drop(&mut self) {
        // When a test fails; the nodes end with it.
        let _ = self.child.kill();
    }
}

/// The first line that a web server answers with.
#[cfg(target_os = "linux")]
fn get(address: &str) -> String {
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nAccept: text/html\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = std::io::BufReader::new(connection).lines();
    answer.next().unwrap().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_kept_demo_shows_a_killed_process_and_mends_it_before_the_last_audit() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Kept::start(directory.path());
    let console = demo.line("console: http://");
    let answer = get(console.split_once("//").unwrap().1);
    assert!(
        ["HTTP/1.1 200", "HTTP/1.1 303"]
            .iter()
            .any(|ok| answer.starts_with(ok)),
        "{answer}"
    );
    demo.line("look around");
    let (node, _) = nodes_of(directory.path())
        .into_iter()
        .find(|(_, line)| line.contains("/acme.cologne/node-2/"))
        .unwrap();
    rustix::process::kill_process(node, rustix::process::Signal::KILL).unwrap();
    demo.line("acme.cologne node 2 ended, though nobody here had asked it to");
    signal(&demo.child, rustix::process::Signal::INT);
    demo.line("starting what is killed and healing what is cut");
    let (code, told) = demo.ended();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("OK: nothing is missing"), "{told}");
    assert_eq!(nodes_of(directory.path()), []);
}

#[cfg(target_os = "linux")]
#[test]
fn the_second_interrupt_does_not_wait_for_the_last_audit() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Kept::start(directory.path());
    demo.line("look around");
    signal(&demo.child, rustix::process::Signal::INT);
    demo.line("draining");
    signal(&demo.child, rustix::process::Signal::INT);
    let (code, told) = demo.ended();
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("interrupted"), "{told}");
    assert_eq!(nodes_of(directory.path()), []);
}

#[test]
fn a_directory_that_is_not_empty_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("precious"), "data").unwrap();
    let output = demo(directory.path(), "10s", true)
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("is not empty: give --data an empty directory"),
        "{told}"
    );
}
