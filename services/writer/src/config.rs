//! What the writer takes from `hub.yaml`.

use kit::config::HistorianBackend;
use kit::service::Context;
use raft_log::client::ClientConfig;

use crate::Error;

/// Who asks, for errors.
pub(crate) const WHO: &str = "the writer";

#[derive(Clone, Debug)]
pub struct Config {
    /// Holder of the cursor's lease: one per node.
    pub holder: String,
    /// Of the log's cursor: one per historian.
    pub cursor: String,
    pub log: ClientConfig,
}

impl Config {
    pub(crate) fn of(context: &Context) -> Result<Config, Error> {
        let (hub, node) = (&context.config, *context.config.node.id);
        let section = hub
            .historian
            .as_ref()
            .ok_or_else(|| hub.missing(WHO, "historian"))?;
        Ok(Config {
            holder: format!("node {node}"),
            cursor: match section.backend {
                HistorianBackend::Sqlite(_) => format!("writer/sqlite-{node}"),
                HistorianBackend::Postgres(_) => "writer/postgres".into(),
            },
            log: ClientConfig {
                endpoints: hub.log_endpoints(WHO)?,
                group: 0,
                tls: context.tls.as_ref().map(|tls| tls.client.clone()),
            },
        })
    }
}
