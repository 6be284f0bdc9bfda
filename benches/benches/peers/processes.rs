//! Programs that are started for a measurement and killed after it.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Where programs stand that are not in PATH: Debian's servers, and what `install-peers` brought.
const ALSO: [&str; 3] = ["/usr/sbin", "/usr/lib/rabbitmq/bin", "target/python/bin"];

/// A running program; killed when it is dropped, with what it has started itself.
pub(crate) struct Process(Child);

impl Process {
    /// Its output goes to `<name>.log` in `directory`.
    pub(crate) fn start(
        command: &mut Command,
        directory: &Path,
        name: &str,
    ) -> anyhow::Result<Process> {
        let log = File::create(directory.join(format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn();
        Ok(Process(child.with_context(|| format!("start {name}"))?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself can't be killed, which is all right.
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let also = ALSO.iter().map(|directory| root.join(directory));
    // The newer one that a package registry has, before the distribution's.
    also.rev()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

pub(crate) fn command(program: &str) -> anyhow::Result<Command> {
    let found = find(program).with_context(|| format!("{program} is not installed"))?;
    Ok(Command::new(found))
}

/// Ports that were free just now.
pub(crate) fn ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Tries until it succeeds or the nodes had their time.
pub(crate) async fn until<T, F>(mut attempt: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if start.elapsed() > crate::START => {
                return Err(error.context("the nodes did not get ready"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// A directory of its own for each of three nodes.
pub(crate) fn directories(directory: &Path, name: &str) -> anyhow::Result<[PathBuf; 3]> {
    let directories = [1, 2, 3].map(|node| directory.join(format!("{name}-{node}")));
    for directory in &directories {
        if directory.exists() {
            bail!("{} is there already", directory.display());
        }
        std::fs::create_dir_all(directory)?;
    }
    Ok(directories)
}
