//! Ctrl-C, `q` and SIGTERM: how a demo is asked to end.

use std::io;

use kit::shutdown::{INTERRUPTED, Signals};
use tokio_util::sync::CancellationToken;

use super::screen;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Stops {
    /// Somebody has looked around enough: what stands is audited.
    pub(super) enough: CancellationToken,
    /// End at once.
    pub(super) at_once: CancellationToken,
    keep: bool,
}

impl Stops {
    /// With `keep`, the first wish is to end the looking around, and only the second to end at once.
    pub(super) fn new(keep: bool) -> Stops {
        Stops {
            enough: CancellationToken::new(),
            at_once: CancellationToken::new(),
            keep,
        }
    }

    pub(super) fn ask(&self) {
        if !self.keep || self.enough.is_cancelled() {
            self.at_once.cancel();
        }
        self.enough.cancel();
    }

    /// Each signal asks; one after the end at once does not even wait for the processes.
    pub(super) fn on_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let stops = self.clone();
        tokio::spawn(async move {
            loop {
                signals.next().await;
                if stops.at_once.is_cancelled() {
                    screen::restore();
                    std::process::exit(INTERRUPTED.into());
                }
                stops.ask();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wish_is_gentle_only_while_the_demo_is_kept() {
        for keep in [true, false] {
            let stops = Stops::new(keep);
            stops.ask();
            assert!(stops.enough.is_cancelled());
            assert_eq!(stops.at_once.is_cancelled(), !keep);
            stops.ask();
            assert!(stops.at_once.is_cancelled());
        }
    }
}
