//! A PostgreSQL server of a test's own, on a Unix socket in a directory of its own.
//!
//! It may be killed and started again. However the test process ends, a watchdog that holds the
//! other end of a pipe to it ends the server and removes its directory.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

const START_LIMIT: Duration = Duration::from_secs(30);
/// PostgreSQL refuses to run as root; Debian's package brings this user.
const USER: &str = "postgres";

#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: TempDir,
    server: Option<Child>,
    /// Its standard input is the pipe; it must live as long as this process.
    _watchdog: Child,
}

impl Postgres {
    /// A new, empty cluster, running.
    pub fn start() -> Result<Postgres> {
        let bin = binaries()?;
        let dir = tempfile::Builder::new().prefix("updraft-pg-").tempdir()?;
        if is_root()? {
            run(Command::new("chown").arg(USER).arg(dir.path()))?;
        }
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700))?;
        let watchdog = watchdog(dir.path())?;
        let mut postgres = Postgres {
            bin,
            dir,
            server: None,
            _watchdog: watchdog,
        };
        let mut initdb = postgres.command("initdb")?;
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
        ]);
        run(initdb.args(["--username", USER, "-D"]).arg(postgres.data()))?;
        postgres.run_server()?;
        Ok(postgres)
    }

    /// For tokio-postgres, libpq and `historian.postgres.url`.
    pub fn url(&self) -> String {
        self.url_of(USER)
    }

    /// The same for a database made by [`Postgres::psql`].
    pub fn url_of(&self, database: &str) -> String {
        format!(
            "host={} user={USER} dbname={database}",
            self.dir.path().display()
        )
    }

    /// SIGKILL to the server and each of its processes: what a power cut leaves of it, but for
    /// what the kernel still writes.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let children = children_of(server.id());
        server.kill()?;
        for child in children {
            // It may have ended by itself: a server process does when the postmaster is gone.
            let _ = Command::new("kill")
                .args(["-9", &child])
                .stderr(Stdio::null())
                .status();
        }
        server.wait()?;
        std::fs::remove_file(self.dir.path().join("pid"))?;
        Ok(())
    }

    /// Starts the server again after [`Postgres::kill`] and waits until it takes connections.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
        let start = Instant::now();
        loop {
            match self.run_server() {
                // The last of the killed processes takes a moment to let go of the memory.
                Err(error) if is_still_in_use(&error) && start.elapsed() < START_LIMIT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                started => return started,
            }
        }
    }

    /// Runs one statement as the superuser and returns its rows, unaligned and without header.
    pub fn psql(&self, statement: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            USER,
            "-d",
            USER,
            "-h",
        ]);
        let output = run(psql.arg(self.dir.path()).arg("-c").arg(statement))?;
        Ok(output.trim_end().to_owned())
    }

    fn run_server(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.dir.path().join("log"))?;
        let mut command = self.command("postgres")?;
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.dir.path());
        // A killed process loses nothing that the kernel holds, so fsync would prove nothing.
        for setting in ["listen_addresses=", "fsync=off", "max_connections=50"] {
            command.args(["-c", setting]);
        }
        let server = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let server = server.context("start postgres")?;
        std::fs::write(self.dir.path().join("pid"), server.id().to_string())?;
        self.server = Some(server);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.psql("SELECT 1").is_err() {
            let ended = self
                .server
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten();
            if ended.is_some() || start.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(self.dir.path().join("log"))?;
                bail!("postgres did not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A program of PostgreSQL, as a user it agrees to run as.
    fn command(&self, program: &str) -> Result<Command> {
        let program = self.bin.join(program);
        let mut command = if is_root()? {
            let mut setpriv = Command::new("setpriv");
            setpriv
                .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
                .arg(program);
            setpriv
        } else {
            Command::new(program)
        };
        command.current_dir(self.dir.path());
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The newest version that Debian's packages installed, else what is in the path.
fn binaries() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
    {
        let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        found.push((version, entry.path().join("bin")));
    }
    found.sort();
    let installed = found.into_iter().rev().map(|(_, bin)| bin);
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed
        .chain(std::env::split_paths(&path))
        .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .context("PostgreSQL's server is not installed; run .ci/setup")
}

fn is_still_in_use(error: &anyhow::Error) -> bool {
    error.to_string().contains("is still in use")
}

fn is_root() -> Result<bool> {
    Ok(run(Command::new("id").arg("-u"))?.trim() == "0")
}

fn children_of(parent: u32) -> Vec<String> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Waits for the end of this process, then ends the server whose id is in the file `pid`.
fn watchdog(dir: &Path) -> Result<Child> {
    const SCRIPT: &str = r#"read -r _; kill -QUIT "$(cat "$0/pid")"; rm -rf "$0""#;
    let mut command = Command::new("sh");
    command.args([OsStr::new("-c"), OsStr::new(SCRIPT), dir.as_os_str()]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context("start the watchdog")
}

fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        std::io::stderr().write_all(&output.stdout)?;
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_committed_when_it_is_killed() {
        let mut postgres = Postgres::start().unwrap();
        postgres.psql("CREATE TABLE t AS SELECT 7 AS x").unwrap();
        postgres.kill().unwrap();
        assert!(postgres.psql("SELECT 1").is_err());
        postgres.restart().unwrap();
        assert_eq!(postgres.psql("SELECT x FROM t").unwrap(), "7");
    }
}
