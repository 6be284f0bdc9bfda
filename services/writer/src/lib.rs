//! The writer: puts what is in this hub's log into its historian, each record once.
//!
//! One [`task`] tails the log from the cursor that the historian itself holds, [`gather`]s what
//! comes into transactions and writes rows and cursor together. Where to go on is read from the
//! database after every error, never remembered (I4). Behind it, the cursor of the same name in the
//! log follows, so that the log keeps what the database does not have yet (I2).
//!
//! Every node of a hub may run a writer. On a common database a lease on the log's cursor decides
//! which of them works, and the database's epoch keeps out whoever does not know yet that it lost
//! the lease. An SQLite file belongs to its node, and so does the cursor.

mod config;
mod error;

mod gather;
mod task;

mod metrics;

use kit::service::Context;
use raft_log::client::LogClient;

pub use config::Config;
pub use error::Error;
use metrics::Metrics;
use task::WriteTask;

/// Opens the historian; what is returned writes until the shutdown.
pub async fn build(context: Context) -> Result<impl Future<Output = Result<(), Error>>, Error> {
    let config = Config::of(&context)?;
    let log = LogClient::new(config.log.clone())?;
    let hub = context.config.clone();
    let historian =
        tokio::task::spawn_blocking(move || historian::open(&hub, config::WHO)).await??;
    let ready = context.readiness.register("writer");
    let task = WriteTask::new(config, log, historian, Metrics::new(), ready);
    Ok(task.run(context.shutdown))
}
