//! What a producer does while the log takes no data: it waits, and says so once.

use std::time::Duration;

use opentelemetry::metrics::Gauge;
use opentelemetry::{KeyValue, global};
use tokio::time::Instant;

use super::RETRY_PAUSE;

/// A disk does not get free within milliseconds.
const PAUSE: Duration = Duration::from_millis(500);
/// Who is over its quota gets on and waits again all the time.
const TELL_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Full {
    now: bool,
    told: Option<Instant>,
    gauge: Gauge<u64>,
}

impl Default for Full {
    fn default() -> Full {
        let gauge = global::meter("updraft_log")
            .u64_gauge("updraft_log_append_waits_for_room")
            .with_description("1 while a producer waits because the log refuses it as full")
            .build();
        Full {
            now: false,
            told: None,
            gauge,
        }
    }
}

impl Full {
    pub(super) fn begins(&mut self, name: &str, reason: &str) {
        if std::mem::replace(&mut self.now, true) {
            return;
        }
        self.show(name);
        if self.told.is_none_or(|at| at.elapsed() > TELL_AGAIN) {
            self.told = Some(Instant::now());
            tracing::warn!(producer = name, reason, "the log takes no data, waiting");
        }
    }

    pub(super) fn over(&mut self, name: &str) {
        if std::mem::replace(&mut self.now, false) {
            tracing::debug!(producer = name, "the log takes data again");
            self.show(name);
        }
    }

    fn show(&self, name: &str) {
        let producer = KeyValue::new("producer", name.to_owned());
        self.gauge.record(u64::from(self.now), &[producer]);
    }

    /// How long to wait before everything is sent again.
    pub(super) fn pause(&self) -> Duration {
        if self.now { PAUSE } else { RETRY_PAUSE }
    }
}
