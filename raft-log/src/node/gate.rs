//! Whether this node may serve: not once its state can't be trusted.

use std::sync::Arc;

use proto::rpc::{Refusal, RefusalKind};
use tokio::sync::watch;

use crate::refusal::refusal;

/// Open until it is closed for good. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<watch::Sender<Option<String>>>);

impl Default for Gate {
    fn default() -> Gate {
        Gate(Arc::new(watch::Sender::new(None)))
    }
}

impl Gate {
    /// The first reason stays.
    pub(super) fn close(&self, reason: &str) {
        self.0.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert_with(|| reason.to_owned());
            first
        });
    }

    /// Why it is closed.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// A client that is refused asks another node.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match &*self.0.borrow() {
            None => Ok(()),
            Some(reason) => Err(refusal(RefusalKind::ShuttingDown, reason.as_str())),
        }
    }

    /// Resolves when it is closed.
    pub(super) async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}
