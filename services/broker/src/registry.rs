//! Who is connected to this node: one connection for each client id \[MQTT-3.1.4-2\].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long a newer connection waits until the older one has ended.
const GIVE_UP: Duration = Duration::from_secs(2);

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    seats: Arc<Mutex<Seats>>,
}

#[derive(Debug, Default)]
struct Seats {
    by_client: HashMap<Arc<str>, Taken>,
    last_number: u64,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    replaced: CancellationToken,
    left: CancellationToken,
}

/// A connection's place; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    registry: Registry,
    pub(crate) client_id: Arc<str>,
    number: u64,
    /// Cancelled when a newer connection takes the place.
    pub(crate) replaced: CancellationToken,
    left: CancellationToken,
}

impl Registry {
    /// Takes the place of `client_id`; whoever has it is told, and waited for.
    pub(crate) async fn take(&self, client_id: Arc<str>) -> Seat {
        let (seat, older) = self.seat(client_id);
        if let Some(older) = older {
            older.replaced.cancel();
            if tokio::time::timeout(GIVE_UP, older.left.cancelled())
                .await
                .is_err()
            {
                tracing::debug!(client_id = &*seat.client_id, "the older connection lingers");
            }
        }
        seat
    }

    fn seat(&self, client_id: Arc<str>) -> (Seat, Option<Taken>) {
        let (replaced, left) = (CancellationToken::new(), CancellationToken::new());
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.last_number += 1;
        let number = seats.last_number;
        let taken = Taken {
            number,
            replaced: replaced.clone(),
            left: left.clone(),
        };
        let older = seats.by_client.insert(client_id.clone(), taken);
        (
            Seat {
                registry: self.clone(),
                client_id,
                number,
                replaced,
                left,
            },
            older,
        )
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self
            .registry
            .seats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mine = seats.by_client.get(&self.client_id);
        if mine.is_some_and(|taken| taken.number == self.number) {
            seats.by_client.remove(&self.client_id);
        }
        self.left.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_newer_connection_takes_the_place() {
        let registry = Registry::default();
        let first = registry.take("a".into()).await;
        let other = registry.take("b".into()).await;
        assert!(!first.replaced.is_cancelled());
        let taking = tokio::spawn({
            let registry = registry.clone();
            async move { registry.take("a".into()).await }
        });
        first.replaced.cancelled().await;
        assert!(!taking.is_finished(), "it waits for the older one");
        drop(first);
        let second = taking.await.unwrap();
        let third = registry.take("a".into()).await;
        assert!(second.replaced.is_cancelled());
        drop((second, other));
        assert!(!third.replaced.is_cancelled());
        assert_eq!(registry.seats.lock().unwrap().by_client.len(), 1);
        drop(third);
        assert!(registry.seats.lock().unwrap().by_client.is_empty());
    }
}
