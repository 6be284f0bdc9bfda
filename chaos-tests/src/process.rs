//! What can be done to a process that a test has started, and asked of it.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process that stands still until this is dropped. It keeps its connections, but does nothing.
#[derive(Debug)]
pub struct Frozen {
    /// Thaws the process when its standard input closes, which happens even when a test is killed.
    watchdog: Child,
}

impl Frozen {
    pub fn new(process_id: u32) -> Result<Frozen> {
        let pid = Pid::from_raw(i32::try_from(process_id)?).context("no process id")?;
        let watchdog = Command::new("sh")
            .args(["-c", r#"read -r _; kill -CONT "$0""#])
            .arg(process_id.to_string())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the watchdog")?;
        let frozen = Frozen { watchdog };
        kill_process(pid, Signal::STOP).with_context(|| format!("freeze process {process_id}"))?;
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Nobody can be told; what waits for the process will say that it does not answer.
        let _ = self.watchdog.wait();
    }
}

/// What it holds in memory (`VmRSS`).
pub fn resident_bytes(process_id: u32) -> Result<u64> {
    let file = format!("/proc/{process_id}/status");
    let status = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.with_context(|| format!("no VmRSS in {file}"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes << 10)
}
