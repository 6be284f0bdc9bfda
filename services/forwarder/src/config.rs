//! What the forwarder takes from `hub.yaml`.

use kit::config::ConfigError;
use kit::service::Context;
use proto::HubPath;
use raft_log::client::ClientConfig;
use tonic::transport::Endpoint;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A parent that answers no ping for this long is taken for lost.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct Config {
    pub hub: HubPath,
    /// Holder of the cursor's lease: one per node.
    pub holder: String,
    pub log: ClientConfig,
    /// The parent's nodes; any of them will do.
    pub uplinks: Vec<Endpoint>,
    /// Scopes that leave this hub.
    pub scopes: BTreeSet<String>,
}

impl Config {
    pub(crate) fn of(context: &Context) -> Result<Config, Error> {
        let hub = &context.config;
        let parent = hub
            .parent
            .as_ref()
            .ok_or_else(|| hub.missing("the forwarder", "parent"))?;
        let uplinks: Result<Vec<Endpoint>, ConfigError> = parent
            .uplink
            .0
            .iter()
            .map(|url| {
                let endpoint = kit::tls::endpoint_of(context.tls.as_ref(), &url.value);
                endpoint.map_err(|error| hub.error(url.place, format!("parent.uplink: {error}")))
            })
            .collect();
        Ok(Config {
            hub: hub.hub.path.value.clone(),
            holder: format!("node {}", hub.node.id.0),
            log: ClientConfig {
                endpoints: hub.log_endpoints("the forwarder")?,
                group: 0,
                tls: context.tls.as_ref().map(|tls| tls.client.clone()),
            },
            uplinks: uplinks?.into_iter().map(patient).collect(),
            scopes: parent
                .scopes
                .iter()
                .map(|scope| scope.to_string())
                .collect(),
        })
    }
}

fn patient(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}
