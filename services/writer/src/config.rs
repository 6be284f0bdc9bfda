//! What the writer takes from `hub.yaml`.

use kit::config::{ConfigError, HistorianBackend};
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
            log: log_client(context)?,
        })
    }
}

/// This node's own log first, then the others.
fn log_client(context: &Context) -> Result<ClientConfig, ConfigError> {
    let hub = &context.config;
    let own = *hub.node.id;
    let mut nodes: Vec<_> = hub.log_nodes(WHO)?.into_iter().collect();
    nodes.sort_by_key(|(id, _)| *id != own);
    Ok(ClientConfig {
        endpoints: nodes
            .into_iter()
            .map(|(_, address)| address.to_string())
            .collect(),
        group: 0,
        tls: context.tls.as_ref().map(|tls| tls.client.clone()),
    })
}
