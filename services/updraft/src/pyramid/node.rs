//! One node: a process that can be started, killed, stopped and started again.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use proto::rpc::StatusResponse;
use raft_log::client::{ClientConfig, LogClient};
use tokio::time::{Instant, sleep};

use super::observer::NodeObserver;
use super::spec::Addresses;

const POLL: Duration = Duration::from_millis(20);
/// A process that ends while it starts may have found its port taken for a moment.
const START_ATTEMPTS: u32 = 3;
const START_PAUSE: Duration = Duration::from_millis(300);

/// A process of one node. Killed when it is dropped.
#[derive(Debug)]
pub struct NodeProcess {
    executable: PathBuf,
    directory: PathBuf,
    addresses: Addresses,
    observer: NodeObserver,
    child: Option<Child>,
    starts: u32,
    /// When a process that ended while it started gets its next try.
    again_at: Option<Instant>,
}

impl NodeProcess {
    pub(super) fn new(
        name: String,
        executable: PathBuf,
        directory: PathBuf,
        addresses: Addresses,
    ) -> anyhow::Result<NodeProcess> {
        let endpoints = vec![addresses.log.to_string()];
        let client = LogClient::new(ClientConfig {
            endpoints,
            group: 0,
            tls: None,
        })?;
        Ok(NodeProcess {
            executable,
            directory,
            addresses,
            observer: NodeObserver {
                name,
                client,
                mqtt: addresses.mqtt,
            },
            child: None,
            starts: 0,
            again_at: None,
        })
    }

    /// For people: "acme.cologne node 2".
    pub fn name(&self) -> &str {
        self.observer.name()
    }

    pub fn observer(&self) -> &NodeObserver {
        &self.observer
    }

    pub fn log(&self) -> SocketAddr {
        self.addresses.log
    }

    pub fn uplink(&self) -> SocketAddr {
        self.addresses.uplink
    }

    pub fn mqtt(&self) -> SocketAddr {
        self.addresses.mqtt
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn config(&self) -> PathBuf {
        self.directory.join("hub.yaml")
    }

    /// What the process prints.
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("node.log")
    }

    /// Asks this node alone.
    pub fn client(&self) -> &LogClient {
        self.observer.client()
    }

    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// It was started, and neither killed nor stopped since.
    pub fn is_up(&self) -> bool {
        self.child.is_some() || self.again_at.is_some()
    }

    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.is_up() {
            bail!("{} runs already", self.name());
        }
        self.starts = 0;
        self.spawn()
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        let log = log.with_context(|| format!("open {}", self.log_file().display()))?;
        let errors = log.try_clone().context("open a log file twice")?;
        let mut command = Command::new(&self.executable);
        command
            .args(["run", "--exit-with-parent", "-c"])
            .arg(self.config())
            // Closed when this process ends, however it ends.
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        // Ctrl-C at the terminal is for this process; it decides what becomes of the nodes.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn();
        let child = child.with_context(|| format!("start {}", self.executable.display()))?;
        self.child = Some(child);
        self.starts += 1;
        self.again_at = None;
        Ok(())
    }

    /// SIGKILL: nothing is flushed, closed or said.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.again_at = None;
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .with_context(|| format!("kill {}", self.name()))?;
            child
                .wait()
                .with_context(|| format!("wait for the end of {}", self.name()))?;
        }
        Ok(())
    }

    /// SIGKILL, and started again at once.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.start()
    }

    /// SIGTERM; SIGKILL when it has not ended after `limit`.
    pub async fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child {
            terminate(child);
            let deadline = Instant::now() + limit;
            while Instant::now() < deadline && child.try_wait()?.is_none() {
                sleep(POLL).await;
            }
        }
        self.kill()
    }

    /// What the node says of its log; `None` when it does not answer.
    pub async fn status(&self) -> Option<StatusResponse> {
        self.observer.status().await
    }

    /// Waits until the node knows its hub and a leader, and its MQTT port accepts.
    pub async fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !self.observer.is_ready().await {
            self.tend()?;
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {limit:?}; {}",
                    self.name(),
                    self.last_words()
                );
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Looks after a process that starts, from time to time: one that ended is started again, and
    /// it is an error when it has had all of its tries.
    pub fn tend(&mut self) -> anyhow::Result<()> {
        if self.starts >= START_ATTEMPTS {
            return self.check_alive();
        }
        if self.reap()?.is_some() {
            self.again_at = Some(Instant::now() + START_PAUSE);
        }
        if self.again_at.is_some_and(|at| at <= Instant::now()) {
            self.spawn()?;
        }
        Ok(())
    }

    /// How a process ended that nobody killed or stopped; it can be started again then.
    pub fn reap(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let ended = self.ended()?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        child
            .try_wait()
            .with_context(|| format!("look after {}", self.observer.name()))
    }

    /// An error when it has ended and was neither killed nor stopped.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            let (name, last_words) = (self.name(), self.last_words());
            bail!("{name} ended, though nobody had asked it to ({status}); {last_words}");
        }
        Ok(())
    }

    /// What it printed last, for people.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let last = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("nothing");
        format!("its last words in {}: {last}", self.log_file().display())
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended; there is nobody to tell.
        let _ = self.kill();
    }
}

#[cfg(unix)]
fn terminate(child: &mut Child) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    // There is no gentler way; it may have ended.
    let _ = child.kill();
}
