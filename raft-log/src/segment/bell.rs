//! What the writer and the keeper wait for: the change of something behind a lock. They are threads
//! in the real world, and tasks where time is simulated.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Bell {
    thread: Condvar,
    task: Notify,
}

impl Bell {
    /// Something has changed.
    pub(super) fn ring(&self) {
        self.thread.notify_one();
        self.task.notify_one();
    }

    /// Blocks for as long as it is `resting`, and for `limit` at most.
    pub(super) fn wait<'a, T>(
        &self,
        lock: &'a Mutex<T>,
        limit: Option<Duration>,
        mut resting: impl FnMut(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        let state = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = |state: &mut T| resting(state);
        match limit {
            Some(limit) => {
                let waited = self.thread.wait_timeout_while(state, limit, resting);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.thread.wait_while(state, resting);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// The same for a task.
    pub(super) async fn wait_as_task<'a, T>(
        &self,
        lock: &'a Mutex<T>,
        limit: Option<Duration>,
        mut resting: impl FnMut(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        let lock = || lock.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = async {
            while resting(&lock()) {
                self.task.notified().await;
            }
        };
        match limit {
            // Whether in time or not: it is looked at as it is then.
            Some(limit) => tokio::time::timeout(limit, changed).await.unwrap_or(()),
            None => changed.await,
        }
        lock()
    }
}
