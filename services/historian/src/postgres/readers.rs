//! The connections that read: opened when they are needed, a few at most.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_postgres::Client;

use crate::{Error, Result};

use super::fault::Fault;
use super::{ANSWER_LIMIT, connect, within};

/// Queries at one time; more wait for their turn.
const MAX_READERS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
}

impl Default for Readers {
    fn default() -> Readers {
        Readers {
            idle: Mutex::default(),
            permits: Semaphore::new(MAX_READERS),
        }
    }
}

impl Readers {
    /// Runs a query; its connection is used again when it has ended well.
    pub(super) async fn run<T>(
        &self,
        config: &tokio_postgres::Config,
        limit: Duration,
        query: impl AsyncFnOnce(&Client) -> Result<T, Fault>,
    ) -> Result<T> {
        let closed = |error: tokio::sync::AcquireError| Error::Unavailable(error.to_string());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let client = match self.idle() {
            Some(client) => client,
            None => within(ANSWER_LIMIT, connect(config)).await?,
        };
        let answer = within(limit, query(&client)).await?;
        self.lock().push(client);
        Ok(answer)
    }

    fn idle(&self) -> Option<Client> {
        let mut idle = self.lock();
        idle.retain(|client| !client.is_closed());
        idle.pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
