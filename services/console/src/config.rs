//! What the console takes from `hub.yaml`.

use kit::config::{ConfigError, ConsoleConfig};
use kit::service::Context;
use raft_log::client::ClientConfig;

/// Who asks, for errors.
pub(crate) const WHO: &str = "the console";

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) console: ConsoleConfig,
    pub(crate) log: ClientConfig,
}

impl Config {
    pub(crate) fn of(context: &Context) -> Result<Config, ConfigError> {
        let hub = &context.config;
        let console = hub
            .console
            .clone()
            .ok_or_else(|| hub.missing(WHO, "console"))?;
        Ok(Config {
            console,
            log: ClientConfig {
                endpoints: hub.log_endpoints(WHO)?,
                group: 0,
                tls: context.tls.as_ref().map(|tls| tls.client.clone()),
            },
        })
    }
}
