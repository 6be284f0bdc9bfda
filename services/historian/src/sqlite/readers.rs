//! The connections that read: opened when they are needed, a few at most.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::{Error, Result};

use super::connect;

/// Queries at one time; more wait for their turn.
const MAX_READERS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf, first: Connection) -> Readers {
        Readers {
            path,
            idle: Mutex::new(vec![first]),
            permits: Semaphore::new(MAX_READERS),
        }
    }

    /// Runs a query. It ends early when nobody waits for its answer any more or `limit` is over.
    pub(super) async fn run<T: Send + 'static>(
        self: Arc<Readers>,
        limit: Duration,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = |error: tokio::sync::AcquireError| Error::Unavailable(error.to_string());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let connection = self.connection().await?;
        let mut interrupt = Interrupt(Some(connection.get_interrupt_handle()));
        let task = spawn_blocking(move || {
            let answer = query(&connection);
            (connection, answer)
        });
        let Ok(ended) = tokio::time::timeout(limit, task).await else {
            return Err(Error::too_long(limit));
        };
        interrupt.0 = None;
        let (connection, answer) = ended.map_err(|error| Error::Unavailable(error.to_string()))?;
        self.lock().push(connection);
        Ok(answer?)
    }

    async fn connection(&self) -> Result<Connection> {
        if let Some(connection) = self.lock().pop() {
            return Ok(connection);
        }
        let path = self.path.clone();
        let opened = spawn_blocking(move || open(&path)).await;
        opened.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn open(path: &std::path::Path) -> Result<Connection> {
    let reader = connect(path)?;
    reader.pragma_update(None, "query_only", true)?;
    Ok(reader)
}

/// Ends the query of a connection that nobody will use again.
struct Interrupt(Option<InterruptHandle>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}
