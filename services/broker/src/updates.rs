//! Progress of the node's persistent sessions, committed for all of them together.
//!
//! Bounded without a queue: one entry for each session, and there is no session whose CONNECT was
//! not committed. While the log takes nothing, newer progress replaces older.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::rpc::SessionUpdate;
use raft_log::client::{ClientError, LogClient};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long acknowledgements of subscribers are gathered: what a node that dies repeats.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long the broker's end waits for the last commit, and a connection's for its own.
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// Where sessions report to. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Updates {
    waiting: Arc<Mutex<Waiting>>,
    changed: Arc<Notify>,
    /// How many rounds were committed, or tried.
    done: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Waiting {
    updates: HashMap<Arc<str>, SessionUpdate>,
    /// How many rounds were taken.
    taken: u64,
}

impl Default for Updates {
    fn default() -> Updates {
        Updates {
            waiting: Arc::default(),
            changed: Arc::default(),
            done: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Updates {
    /// A floor, or the end of a connection. Returns the round that it is part of.
    pub(crate) fn report(&self, client_id: &Arc<str>, update: SessionUpdate) -> u64 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.updates.get_mut(client_id) {
            Some(older) => merge(older, update),
            None => {
                waiting.updates.insert(client_id.clone(), update);
            }
        }
        self.changed.notify_one();
        waiting.taken + 1
    }

    /// Waits until a round was committed, or could not be.
    pub(crate) async fn committed(&self, round: u64) {
        let mut done = self.done.subscribe();
        // Neither a log that is away nor the end of the task keeps the caller.
        let _ = timeout(LAST_CHANCE, done.wait_for(|done| *done >= round)).await;
    }

    /// Commits until `ended` is cancelled, and then what is left, if the log takes it soon.
    pub(crate) async fn run(self, log: LogClient, ended: CancellationToken) {
        let late = async {
            ended.cancelled().await;
            tokio::time::sleep(LAST_CHANCE).await;
        };
        let commit_all = async {
            while !ended.is_cancelled() {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = ended.cancelled() => {}
                }
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = ended.cancelled() => {}
                }
                self.commit(&log).await;
            }
        };
        tokio::select! {
            () = commit_all => {}
            () = late => {}
        }
    }

    async fn commit(&self, log: &LogClient) {
        let (round, batch) = self.take();
        if !batch.is_empty() {
            self.commit_batch(log, batch).await;
        }
        self.done.send_replace(round);
    }

    async fn commit_batch(&self, log: &LogClient, batch: Vec<(Arc<str>, SessionUpdate)>) {
        let updates = batch.iter().map(|(_, update)| update.clone()).collect();
        match log.update_sessions(updates).await {
            Ok(()) => {}
            Err(ClientError::Refused(refusal)) => {
                tracing::error!(reason = refusal.message, "the log refused session updates");
            }
            Err(error) => {
                tracing::debug!(%error, "session updates wait");
                self.put_back(batch);
            }
        }
    }

    fn take(&self) -> (u64, Vec<(Arc<str>, SessionUpdate)>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.taken += 1;
        (waiting.taken, waiting.updates.drain().collect())
    }

    fn put_back(&self, batch: Vec<(Arc<str>, SessionUpdate)>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (client_id, mut older) in batch {
            if let Some(newer) = waiting.updates.remove(&client_id) {
                merge(&mut older, newer);
            }
            waiting.updates.insert(client_id, older);
        }
        self.changed.notify_one();
    }
}

/// `older` becomes what both say. Of a session that was opened again only the newer counts.
fn merge(older: &mut SessionUpdate, newer: SessionUpdate) {
    if newer.session_epoch != older.session_epoch {
        if newer.session_epoch > older.session_epoch {
            *older = newer;
        }
        return;
    }
    older.acknowledged_offset = older.acknowledged_offset.max(newer.acknowledged_offset);
    older.closed |= newer.closed;
    older.end |= newer.end;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(session_epoch: u64, floor: Option<u64>, closed: bool) -> SessionUpdate {
        SessionUpdate {
            client_id: "c".into(),
            session_epoch,
            acknowledged_offset: floor,
            closed,
            ..SessionUpdate::default()
        }
    }

    #[test]
    fn reports_of_one_session_become_one() {
        for (older, newer, expected) in [
            (
                update(1, Some(5), false),
                update(1, Some(7), false),
                update(1, Some(7), false),
            ),
            (
                update(1, Some(7), true),
                update(1, Some(5), false),
                update(1, Some(7), true),
            ),
            (
                update(1, Some(5), false),
                update(1, None, true),
                update(1, Some(5), true),
            ),
            (
                update(1, Some(5), true),
                update(2, Some(4), false),
                update(2, Some(4), false),
            ),
            (
                update(2, Some(4), false),
                update(1, Some(5), true),
                update(2, Some(4), false),
            ),
        ] {
            let mut merged = older.clone();
            merge(&mut merged, newer.clone());
            assert_eq!(merged, expected, "{older:?} {newer:?}");
        }
    }

    #[test]
    fn what_could_not_be_committed_is_not_older_than_what_came_since() {
        let updates = Updates::default();
        let client: Arc<str> = "c".into();
        assert_eq!(updates.report(&client, update(1, Some(5), false)), 1);
        let (round, batch) = updates.take();
        assert_eq!(round, 1);
        assert_eq!(updates.report(&client, update(1, Some(9), true)), 2);
        updates.put_back(batch);
        assert_eq!(
            updates.take(),
            (2, vec![(client, update(1, Some(9), true))])
        );
    }
}
