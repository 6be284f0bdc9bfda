//! A node that is nothing but a log, in a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use raft_log::client::{ClientConfig, LogClient};

pub(crate) struct LogNode {
    directory: PathBuf,
    client: LogClient,
    child: Option<Child>,
}

impl LogNode {
    /// `further` is more YAML for the section `log`, each line indented by two.
    pub(crate) fn create(directory: &Path, further: &str) -> anyhow::Result<LogNode> {
        std::fs::create_dir_all(directory)?;
        let listen: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let yaml = format!(
            "hub: {{ path: bench }}\nnode: {{ id: 1 }}\ndata_dir: \"{}\"\n\
             log:\n  listen: \"{listen}\"\n{further}",
            directory.join("data").display()
        );
        std::fs::write(directory.join("hub.yaml"), yaml)?;
        let client = LogClient::new(ClientConfig {
            endpoints: vec![listen.to_string()],
            group: 0,
            tls: None,
        })?;
        Ok(LogNode {
            directory: directory.to_owned(),
            client,
            child: None,
        })
    }

    pub(crate) fn client(&self) -> &LogClient {
        &self.client
    }

    /// How long it took from the start of the process until the log took a command.
    pub(crate) async fn start(&mut self) -> anyhow::Result<Duration> {
        let output = std::fs::File::create(self.directory.join("node.log"))?;
        let began = Instant::now();
        let child = Command::new(crate::executable()?)
            .args(["run", "--only", "log", "--exit-with-parent", "-c"])
            .arg(self.directory.join("hub.yaml"))
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn();
        self.child = Some(child.context("start a node")?);
        while began.elapsed() < crate::START {
            if self.client.commit_cursors(Vec::new()).await.is_ok() {
                return Ok(began.elapsed());
            }
        }
        bail!("the node did not start, see {}", self.directory.display());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn disk_bytes(&self) -> anyhow::Result<u64> {
        let segments = self.directory.join("data/log/segments");
        let mut bytes = 0;
        for entry in std::fs::read_dir(segments)? {
            // A segment may be deleted just now.
            bytes += entry?.metadata().map_or(0, |file| file.len());
        }
        Ok(bytes)
    }

    /// Resident now, and at most so far, in MiB.
    pub(crate) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let child = self.child.as_ref().context("the node does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().next());
            kibibytes.and_then(|number| number.parse::<u64>().ok())
        };
        let of = |name| field(name).map_or(0, |kibibytes| kibibytes >> 10);
        Ok((of("VmRSS:"), of("VmHWM:")))
    }
}

impl Drop for LogNode {
    fn drop(&mut self) {
        // Nothing can be done about a process that can't be killed.
        let _ = self.kill();
    }
}
