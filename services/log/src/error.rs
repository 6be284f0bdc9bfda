//! Why the log service can't start or had to stop.

use kit::config::ConfigError;
use kit::listen::BindError;
use raft_log::NodeError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log service: configuration")]
    Config(#[from] ConfigError),
    #[error("log service: {0}")]
    Bind(#[from] BindError),
    #[error("open the log")]
    Node(#[from] NodeError),
    #[error("serve the log over gRPC")]
    Serve(#[from] tonic::transport::Error),
    #[error("the log must not go on: {0}")]
    StateDiffers(String),
    #[error("the log has stopped: {0}")]
    Stopped(String),
}
