//! The forwarder: sends what is in this hub's log to the hub above, and is the only part that talks
//! to two logs.
//!
//! One [`lane`] task per lane tails the log from its cursor, pushes envelopes through the uplink
//! connection and moves the cursor when the parent has acknowledged them, which it does when they
//! are durable there (I1, I2). Which envelopes to send, to withhold or to pass over is decided in
//! [`window`], which touches nothing. Every node of a hub runs a forwarder; a lease on the cursor
//! decides which of them works. Beside them [`report`] tells the parent how this hub is.

mod config;
mod error;
mod lane;
mod window;
mod report;
mod metrics;

use futures::future::try_join_all;
use kit::service::Context;
use proto::Lane;
use raft_log::client::LogClient;

pub use config::Config;
pub use error::Error;
use lane::LaneTask;
use metrics::Metrics;
use report::ReportTask;

pub async fn build(context: Context) -> Result<impl Future<Output = Result<(), Error>>, Error> {
    let config = Config::of(&context)?;
    let log = LogClient::new(config.log.clone())?;
    let metrics = Metrics::new();
    let tasks: Vec<LaneTask> = Lane::ALL
        .into_iter()
        .map(|lane| {
            let ready = context.readiness.register(format!("forwarder {lane}"));
            LaneTask::new(lane, config.clone(), log.clone(), metrics.clone(), ready)
        })
        .collect();
    let reports = ReportTask::new(config, log, metrics);
    let shutdown = context.shutdown;
    Ok(async move {
        let lanes = tasks.into_iter().map(|task| task.run(shutdown.clone()));
        tokio::try_join!(try_join_all(lanes), reports.run(shutdown.clone())).map(drop)
    })
}
