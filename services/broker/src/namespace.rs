//! Messages in the Unified Namespace that break its rules are carried as they are; somebody should
//! know of them all the same.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::payload::{self, Content};
use proto::{Record, Value};
use tokio::time::Instant;

/// One line in this time, however many messages there are.
const EVERY: Duration = Duration::from_secs(10);

/// What is wrong with a message that claims to be of the namespace.
pub(crate) fn problem(record: &Record) -> Option<String> {
    if !record.topic.starts_with("umh/v1/") {
        return None;
    }
    // An empty retained message deletes the one before it [MQTT-3.3.1-6].
    if record.flags.retain() && record.value == Value::Payload("".into()) {
        return None;
    }
    match payload::read(record) {
        Content::Message { problem, .. } => problem,
        Content::Samples(_) | Content::Wave(_) => None,
    }
}

/// Warns now and then, and says how often it kept silent.
#[derive(Debug, Default)]
pub(crate) struct Warner {
    state: Mutex<Quiet>,
}

#[derive(Debug, Default)]
struct Quiet {
    last: Option<Instant>,
    suppressed: u64,
}

impl Warner {
    pub(crate) fn warn(&self, client_id: &str, topic: &str, problem: &str) {
        if let Some(suppressed) = self.due(Instant::now()) {
            tracing::warn!(
                client_id,
                topic,
                problem,
                suppressed,
                "carried as a raw message"
            );
        }
    }

    /// How many were suppressed since the last one, when it is time for another.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut quiet = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if quiet
            .last
            .is_some_and(|last| now.duration_since(last) < EVERY)
        {
            quiet.suppressed += 1;
            return None;
        }
        quiet.last = Some(now);
        Some(std::mem::take(&mut quiet.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use proto::Nanos;
    use proto::record::Flags;

    use super::*;

    #[test]
    fn only_the_namespace_is_judged() {
        let good = r#"{"timestamp_ms": 1, "value": 2}"#;
        for (topic, payload, retain, expected) in [
            ("a/b", "x", false, false),
            ("umh/v1/acme/_raw/t", good, false, false),
            ("umh/v1/acme/_raw/t", "21.5", false, true),
            ("umh/v1/acme/_raw/t", "", true, false),
            ("umh/v1/acme/_raw/t", "", false, true),
            ("umh/v1/acme/_raw/ö", good, false, true),
        ] {
            let mut record = Record::message(topic, payload, Nanos(0));
            record.flags = Flags::new(retain, 1);
            assert_eq!(problem(&record).is_some(), expected, "{topic} {payload}");
        }
    }

    #[test]
    fn a_flood_is_one_line() {
        let (warner, start) = (Warner::default(), Instant::now());
        assert_eq!(warner.due(start), Some(0));
        assert_eq!(warner.due(start + EVERY / 2), None);
        assert_eq!(warner.due(start + EVERY / 2), None);
        assert_eq!(warner.due(start + EVERY), Some(2));
        assert_eq!(warner.due(start + EVERY * 2), Some(0));
    }
}
