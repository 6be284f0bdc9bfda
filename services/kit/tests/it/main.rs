//! Whole processes: what they print, how they end, and with which code.
//!
//! The process is this test binary itself: it is started again with the one test
//! [`process`], which turns into a service when the variable [`CONFIG`] names a file.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod collector;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kit::service::{Context, Service, launch};

const CONFIG: &str = "KIT_TEST_CONFIG";
/// What the service does: `wait` for the shutdown, or `fail`.
const DEED: &str = "KIT_TEST_DEED";

#[test]
fn process() {
    let Some(path) = std::env::var_os(CONFIG) else {
        return;
    };
    let deed = std::env::var(DEED).unwrap();
    let service = move |context: Context| async move {
        let part = context.readiness.register("idle");
        Ok::<_, anyhow::Error>(async move {
            tracing::info_span!("idle").in_scope(|| tracing::info!("at work"));
            kit::telemetry::meter("idle")
                .u64_counter("updraft_idle_total")
                .build()
                .add(1, &[]);
            part.ready();
            anyhow::ensure!(deed == "wait", "nothing to do");
            context.shutdown.cancelled().await;
            Ok(())
        })
    };
    let code = launch("idle", "0.0.0", Path::new(&path), |_| {
        Ok(vec![Service::new("idle", service)])
    });
    // Not through the test harness: its output would follow ours.
    std::process::exit(if code == std::process::ExitCode::SUCCESS {
        0
    } else {
        code_of(code)
    });
}

/// `ExitCode` shows its number only as text.
fn code_of(code: std::process::ExitCode) -> i32 {
    let text = format!("{code:?}");
    text.chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap()
}

struct Process {
    child: Child,
    /// Read by a thread of its own, so that a full pipe never blocks the process.
    stderr: Receiver<String>,
    _config: tempfile::NamedTempFile,
}

impl Process {
    fn start(deed: &str, rest: &str) -> Self {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        write!(config, "hub: {{ path: acme }}\ndata_dir: data\n{rest}\n").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process", "--nocapture"])
            .env(CONFIG, config.path())
            .env(DEED, deed)
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stderr,
            _config: config,
        }
    }

    fn wait_for(&self, text: &str) {
        let found = self.stderr.iter().any(|line| line.contains(text));
        assert!(found, "{text:?} was never printed");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Exit code and what was still unread of stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let rest = self.stderr.iter().collect();
        (self.child.wait().unwrap().code(), rest)
    }
}

fn lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let _ = sender.send(line.unwrap() + "\n");
        }
    });
    receiver
}

#[test]
fn a_signal_ends_it_in_order() {
    for signal in ["-TERM", "-INT"] {
        let process = Process::start("wait", "");
        process.wait_for("at work");
        process.signal(signal);
        let (code, rest) = process.end();
        assert_eq!(code, Some(0), "{rest}");
        assert!(
            rest.contains("shutting down") && !rest.contains('\u{1b}'),
            "{rest}"
        );
    }
}

#[test]
fn a_failure_is_told_and_has_code_1() {
    let (code, text) = Process::start("fail", "").end();
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(
        text.lines().last(),
        Some("updraft: service \"idle\" failed: nothing to do")
    );
}

#[test]
fn a_mistake_in_the_file_is_one_line_and_has_code_2() {
    let (code, text) = Process::start("wait", "telemetry: { lisen: 1 }").end();
    assert_eq!(code, Some(2), "{text}");
    let expected = ":3:14: unknown key \"lisen\" in telemetry; did you mean \"listen\"?\n";
    assert!(
        text.ends_with(expected) && text.lines().count() == 1,
        "{text}"
    );
}

#[test]
fn a_port_in_use_names_key_and_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, text) = Process::start("wait", &format!("telemetry: {{ listen: {address} }}")).end();
    assert_eq!(code, Some(1), "{text}");
    let expected = format!("telemetry.listen: can't listen on {address}: Address already in use");
    assert!(text.lines().last().unwrap().contains(&expected), "{text}");
}

#[test]
fn a_collector_gets_traces_logs_and_metrics_and_nothing_about_itself() {
    let collector = collector::start();
    let otlp = format!("otlp: \"http://{}\"", collector.address);
    let process = Process::start("wait", &format!("telemetry: {{ {otlp}, log: trace }}"));
    process.wait_for("at work");
    // Long enough for the first export to cause records of its own, if there were any.
    collector.received.wait_for("log kit::service");
    process.signal("-TERM");
    let (code, rest) = process.end();
    assert_eq!(code, Some(0), "{rest}");
    for expected in [
        "span idle",
        "span service",
        "log it",
        "metric updraft_idle_total",
    ] {
        collector.received.wait_for(expected);
    }
    let own = [
        "log h2",
        "log hyper",
        "log tonic",
        "log tower",
        "log opentelemetry",
    ];
    let all = collector.received.all();
    assert!(
        !all.iter()
            .any(|line| own.iter().any(|own| line.starts_with(own))),
        "{all:?}"
    );
}

#[test]
fn a_collector_that_is_not_there_holds_nothing_up() {
    // It accepts connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for otlp in [address.to_string(), "127.0.0.1:1".to_owned()] {
        let started = Instant::now();
        let rest = format!("telemetry: {{ otlp: \"http://{otlp}\" }}");
        let process = Process::start("wait", &rest);
        process.wait_for("at work");
        assert!(started.elapsed() < Duration::from_secs(5));
        let stopped = Instant::now();
        process.signal("-TERM");
        let (code, rest) = process.end();
        assert_eq!(code, Some(0), "{rest}");
        assert!(stopped.elapsed() < Duration::from_secs(15), "{rest}");
    }
}
