//! What keeps the broker from starting, or ends it.

use kit::config::ConfigError;
use kit::listen::BindError;
use raft_log::client::ClientError;

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the configuration is not valid")]
    Config(#[from] ConfigError),
    #[error("the port for MQTT can't be opened")]
    Bind(#[from] BindError),
    #[error("the log can't be reached")]
    Log(#[from] ClientError),
    #[error("the tail of the log ended by itself")]
    FeedEnded,
}
