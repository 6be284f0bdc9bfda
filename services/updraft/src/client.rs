//! How commands reach a running hub: named by its `hub.yaml`, or by addresses.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kit::config::{self, HubConfig};
use raft_log::client::{ClientConfig, LogClient};
use rumqttc::{AsyncClient, EventLoop, MqttOptions};

/// A message as large as the log takes it, and its topic.
const MAX_PACKET_BYTES: usize = 9 << 20;

/// Where the hub's log is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// The hub.yaml of one of the hub's nodes
    #[arg(short, long, value_name = "FILE", default_value = "hub.yaml")]
    config: PathBuf,
    /// Address of a log node, instead of a file; clear text. May be given several times
    #[arg(long, value_name = "HOST:PORT")]
    log: Vec<String>,
}

impl LogArgs {
    pub(crate) fn connect(&self) -> anyhow::Result<LogClient> {
        let config = if self.log.is_empty() {
            log_of(&config::load(&self.config)?)?
        } else {
            ClientConfig {
                endpoints: self.log.clone(),
                group: 0,
                tls: None,
            }
        };
        Ok(LogClient::new(config)?)
    }
}

/// How to reach the log that a file describes.
pub(crate) fn log_of(config: &HubConfig) -> anyhow::Result<ClientConfig> {
    let tls = kit::tls::Tls::load(config)?;
    Ok(ClientConfig {
        endpoints: config.log_endpoints("this command")?,
        group: 0,
        tls: tls.map(|tls| tls.client),
    })
}

/// Where a broker is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BrokerArgs {
    /// Address of the MQTT broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883")]
    broker: String,
    /// MQTT client id; a random one when absent
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

impl BrokerArgs {
    pub(crate) fn connect(&self) -> anyhow::Result<(AsyncClient, EventLoop)> {
        let (host, port) = self
            .broker
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .with_context(|| format!("--broker {:?} is not HOST:PORT", self.broker))?;
        let random = || format!("updraft-{:016x}", rand::random::<u64>());
        let client_id = self.client_id.clone().unwrap_or_else(random);
        let mut options = MqttOptions::new(client_id, host, port);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        Ok(AsyncClient::new(options, 64))
    }

    pub(crate) fn address(&self) -> &str {
        &self.broker
    }
}
