//! One service as a process of its own, on the log of a hub that runs elsewhere.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Killed when it is dropped.
#[derive(Debug)]
pub struct ServiceProcess {
    executable: PathBuf,
    only: &'static str,
    directory: PathBuf,
    child: Option<Child>,
}

impl ServiceProcess {
    /// Writes `yaml` and a `data_dir` as its `hub.yaml` into `directory`; starts nothing.
    pub fn new(
        executable: &Path,
        only: &'static str,
        directory: &Path,
        yaml: &str,
    ) -> Result<ServiceProcess> {
        std::fs::create_dir_all(directory)?;
        let data = directory.join("data");
        let yaml = format!("data_dir: {data:?}\n{yaml}");
        std::fs::write(directory.join("hub.yaml"), yaml).context("write a hub.yaml")?;
        Ok(ServiceProcess {
            executable: executable.to_owned(),
            only,
            directory: directory.to_owned(),
            child: None,
        })
    }

    pub fn start(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let child = Command::new(&self.executable)
            .args(["run", "--only", self.only, "--exit-with-parent", "-c"])
            .arg(self.directory.join("hub.yaml"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        self.child = Some(child.with_context(|| format!("start the {}", self.only))?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("kill a service")?;
            child.wait().context("wait for the end of a service")?;
        }
        Ok(())
    }

    /// What it prints, over all of its lives.
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("node.log")
    }

    /// An error when it has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        match child.try_wait().context("look after a service")? {
            None => Ok(()),
            Some(status) => bail!(
                "the {} ended by itself: {status}; see {}",
                self.only,
                self.log_file().display()
            ),
        }
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        // Nobody can be told.
        let _ = self.kill();
    }
}
