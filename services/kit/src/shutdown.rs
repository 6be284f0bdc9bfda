//! From a signal to the end of the process.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::error::Elapsed;
pub use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long the services may take to drain after the first signal.
pub const GRACE: Duration = Duration::from_secs(10);

/// What a shell reports for a process that an interrupt ended (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once: whatever was
/// acknowledged is on disk by then, so nothing but patience is lost.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let signal = signals.next().await;
        info!(signal, "shutting down");
        cancelled.cancel();
        let signal = signals.next().await;
        warn!(signal, "ending at once after a second signal");
        std::process::exit(INTERRUPTED.into());
    });
    Ok(token)
}

/// Waits for `shutdown`, then for `tasks`, but for the latter no longer than `grace`.
pub async fn drain<F: Future>(
    shutdown: &CancellationToken,
    grace: Duration,
    tasks: F,
) -> Result<F::Output, Elapsed> {
    tokio::pin!(tasks);
    tokio::select! {
        output = &mut tasks => Ok(output),
        () = shutdown.cancelled() => tokio::time::timeout(grace, tasks).await,
    }
}

/// SIGTERM and SIGINT, or what the system has of the kind.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// SIGTERM and SIGINT, or what the system has of the kind.
#[cfg(windows)]
#[derive(Debug)]
pub struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    pub fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        self.0.recv().await;
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drains_within_the_grace_time_only() {
        let token = CancellationToken::new();
        assert_eq!(drain(&token, GRACE, async { 7 }).await.unwrap(), 7);
        token.cancel();
        assert_eq!(drain(&token, GRACE, async { 8 }).await.unwrap(), 8);
        let slow = tokio::time::sleep(GRACE * 2);
        assert!(drain(&token, GRACE, slow).await.is_err());
    }
}
