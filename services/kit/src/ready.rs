//! Whether this process can do its work: every part of it says so itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

/// What all parts have said. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness {
    parts: Arc<watch::Sender<Parts>>,
}

/// One part's say. Dropping it says that the part has ended.
#[derive(Debug)]
pub struct Part {
    name: String,
    parts: Arc<watch::Sender<Parts>>,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub ready: bool,
    pub parts: Vec<PartReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartReport {
    pub name: String,
    pub ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// For each part the reason why it is not ready, or `None` when it is.
type Parts = BTreeMap<String, Option<String>>;

impl Default for Readiness {
    fn default() -> Self {
        Self {
            parts: Arc::new(watch::Sender::new(Parts::new())),
        }
    }
}

impl Readiness {
    /// A new part, not ready yet. A name that is taken changes hands.
    #[must_use]
    pub fn register(&self, name: impl Into<String>) -> Part {
        let part = Part {
            name: name.into(),
            parts: Arc::clone(&self.parts),
        };
        part.not_ready("starting");
        part
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        all_ready(&self.parts.borrow())
    }

    /// Waits until every part is ready.
    pub async fn wait(&self) {
        let mut changes = self.parts.subscribe();
        // An error means that no sender is left; `self` holds one.
        let _ = changes.wait_for(all_ready).await;
    }

    #[must_use]
    pub fn report(&self) -> Report {
        let parts = self.parts.borrow();
        let part = |(name, reason): (&String, &Option<String>)| PartReport {
            name: name.clone(),
            ready: reason.is_none(),
            reason: reason.clone(),
        };
        Report {
            ready: all_ready(&parts),
            parts: parts.iter().map(part).collect(),
        }
    }
}

fn all_ready(parts: &Parts) -> bool {
    parts.values().all(Option::is_none)
}

impl Part {
    pub fn ready(&self) {
        self.set(None);
    }

    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, state: Option<String>) {
        self.parts.send_if_modified(|parts| {
            let changed = parts.get(&self.name) != Some(&state);
            if changed {
                parts.insert(self.name.clone(), state);
            }
            changed
        });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.not_ready("ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_all_parts_are() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (log, broker) = (readiness.register("log"), readiness.register("broker"));
        assert!(!readiness.is_ready());
        log.ready();
        broker.not_ready("no leader");
        let report = serde_json::to_string(&readiness.report()).unwrap();
        assert_eq!(
            report,
            r#"{"ready":false,"parts":[{"name":"broker","ready":false,"reason":"no leader"},{"name":"log","ready":true}]}"#
        );
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait().await }
        });
        broker.ready();
        waiting.await.unwrap();
        drop(log);
        assert_eq!(readiness.report().parts[1].reason.as_deref(), Some("ended"));
    }
}
