//! The collector: asks machines for values and appends them to this hub's log.
//!
//! Each configured collector is one machine and one task: a [`protocol::Protocol`] connects,
//! delivers samples and starts again when the connection is lost; an [`appender`] makes records of
//! them, appends these in their order and tells the protocol what is durable (I1). OPC UA servers
//! keep what they sent until they hear that, so nothing is lost while a link or the log is away.
//!
//! A machine that does not answer is no fault of this service: it stays ready, warns once, and
//! tries for ever.

mod config;
mod error;

mod sample;
mod protocol;
mod link;
mod appender;
mod task;

mod opcua;
mod modbus;
mod once;

mod metrics;

use kit::service::Context;
use raft_log::client::LogClient;
use tokio::task::JoinSet;
use tracing::Instrument;

pub use config::check;
pub use error::{Error, Fault, Shown};
pub use once::{Outcome, TagOutcome, read_once};

use config::Config;
use metrics::Metrics;

/// Reads the section; what is returned collects until the shutdown.
pub async fn build(context: Context) -> Result<impl Future<Output = Result<(), Error>>, Error> {
    let config = Config::of(&context.config, context.tls.as_ref())?;
    let log = LogClient::new(config.log.clone())?;
    let metrics = Metrics::new();
    let ready = context.readiness.register("collector");
    Ok(async move {
        // A hub whose machines are switched off is a working hub.
        ready.ready();
        let producers = config.producers(&log);
        let tasks = config.collectors.into_iter().zip(producers);
        let tasks = tasks.map(|(collector, producer)| {
            let metrics = metrics.of(&collector.name);
            let task = task::run(collector, producer, metrics, context.shutdown.clone());
            task.in_current_span()
        });
        let mut tasks: JoinSet<_> = tasks.collect();
        // The first that fails ends the service, and with it the others.
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    })
}
