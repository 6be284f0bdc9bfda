//! What the log service takes from `hub.yaml`.

use std::net::SocketAddr;
use std::sync::Arc;

use kit::config::ConfigError;
use kit::service::Context;
use raft_log::NodeConfig;
use raft_log::environment::Real;
use raft_log::node::{DiskConfig, RetentionConfig};

#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where hubs below connect; absent, none are accepted.
    pub uplink: Option<SocketAddr>,
    pub node: NodeConfig,
}

impl Config {
    pub(crate) fn of(context: &Context) -> Result<Config, ConfigError> {
        let hub = &context.config;
        let log = hub
            .log
            .as_ref()
            .ok_or_else(|| hub.missing("the log service", "log"))?;
        let nodes = hub.log_nodes("the log service")?;
        Ok(Config {
            listen: *log.listen,
            uplink: log.uplink.as_ref().map(|address| **address),
            node: NodeConfig {
                node_id: *hub.node.id,
                group: 0,
                hub: hub.hub.path.value.clone(),
                data_dir: hub.data_dir.join("log"),
                nodes: nodes
                    .into_iter()
                    .map(|(id, address)| (id, address.to_string()))
                    .collect(),
                segment_bytes: log.segment_bytes.as_u64(),
                heartbeat: *log.heartbeat,
                election_timeout: *log.election_timeout,
                memory_bytes: usize::try_from(log.memory.as_u64()).unwrap_or(usize::MAX),
                retention: RetentionConfig {
                    min_age: *log.retention.min_age,
                    max_age: log.retention.max_age.map(|age| age.value),
                    max_bytes: log.retention.max_bytes.map(|most| most.as_u64()),
                    session_age: *log.retention.session_age,
                },
                disk: DiskConfig {
                    budget: log.disk.budget.map(|budget| budget.as_u64()),
                    reserve: log.disk.reserve.map(|reserve| reserve.as_u64()),
                },
                quota_bytes_per_second: log.quota.bytes_per_second.map(|it| it.as_u64()),
                tls: context.tls.as_ref().map(|tls| tls.client.clone()),
                environment: Arc::new(Real),
            },
        })
    }
}
