//! A stock MQTT client as a process: `clients/publish_csv.py` with paho-mqtt.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait;

const PYTHON: &str = "../target/python/bin/python";
const SCRIPT: &str = "clients/publish_csv.py";

/// What it is to publish, and where.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    pub broker: SocketAddr,
    pub client_id: &'a str,
    pub topic: &'a str,
    /// Readings a second.
    pub rate: u32,
    pub file: &'a Path,
}

/// A running client. Killed when it is dropped.
#[derive(Debug)]
pub struct Client {
    child: Child,
    told: Arc<Mutex<Told>>,
}

/// What the client has said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Numbers of the readings in the order of their PUBACKs.
    pub acknowledged: Vec<usize>,
    /// Connections that were accepted.
    pub connections: usize,
    /// Those that continued the session.
    pub resumed: usize,
}

impl Client {
    pub fn start(publish: &Publish<'_>) -> Result<Client> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = package.join(PYTHON);
        if !python.exists() {
            bail!("{} is missing; run .ci/setup", python.display());
        }
        let mut child = Command::new(&python)
            .arg(package.join(SCRIPT))
            .args(["--port", &publish.broker.port().to_string()])
            .args(["--client-id", publish.client_id, "--topic", publish.topic])
            .args(["--rate", &publish.rate.to_string()])
            .arg(publish.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", python.display()))?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let told = Arc::new(Mutex::new(Told::default()));
        let listener = told.clone();
        std::thread::spawn(move || listen(stdout, &listener));
        Ok(Client { child, told })
    }

    pub fn told(&self) -> Told {
        lock(&self.told).clone()
    }

    pub fn acknowledged(&self) -> usize {
        lock(&self.told).acknowledged.len()
    }

    /// Whether it is done; an error when it has failed.
    pub fn is_done(&mut self) -> Result<bool> {
        match self.child.try_wait().context("look after the client")? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!("the client failed: {status}"),
        }
    }

    /// Until all `count` readings are acknowledged, each of them once and in order.
    pub async fn finish(mut self, count: usize, limit: Duration) -> Result<Told> {
        let told = self.told.clone();
        wait::until("the client has all acknowledgements", limit, async || {
            let done = self.is_done();
            let acknowledged = lock(&told).acknowledged.len();
            match done {
                Err(error) => Ok(Err(error)),
                // The last lines may still be in the pipe.
                Ok(true) if acknowledged >= count => Ok(Ok(())),
                Ok(_) => Err(format!("{acknowledged} of {count}")),
            }
        })
        .await??;
        let told = self.told();
        if !told.acknowledged.iter().copied().eq(0..count) {
            bail!("acknowledgements are not those of {count} readings in order");
        }
        Ok(told)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stdout: ChildStdout, told: &Mutex<Told>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let mut told = lock(told);
        match line.parse() {
            Ok(number) => told.acknowledged.push(number),
            Err(_) => {
                told.connections += usize::from(line.starts_with("connected"));
                told.resumed += usize::from(line == "connected True");
            }
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
