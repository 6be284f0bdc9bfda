//! What the collectors take from `hub.yaml`.

use std::path::Path;
use std::time::Duration;

use kit::config::{CollectorConfig, ConfigError, HubConfig, Source};
use kit::tls::Tls;
use proto::rules::Rules;
use raft_log::client::{ClientConfig, LogClient, Producer, ProducerOptions};

use crate::{modbus, opcua};

/// Who asks, for errors.
const WHO: &str = "the collector";

/// Of one collector's records that wait for their commit; there may be many collectors.
const PENDING_BYTES: usize = 8 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Config {
    node: u64,
    pub(crate) log: ClientConfig,
    rules: Rules,
    linger: Duration,
    pub(crate) collectors: Vec<Collector>,
}

/// One machine.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub(crate) name: String,
    /// Of the tags, in their order.
    pub(crate) topics: Vec<String>,
    pub(crate) machine: Machine,
}

#[derive(Clone, Debug)]
pub(crate) enum Machine {
    Opcua(opcua::Settings),
    Modbus(modbus::Settings),
}

impl Config {
    pub(crate) fn of(hub: &HubConfig, tls: Option<&Tls>) -> Result<Config, ConfigError> {
        if hub.collectors.is_empty() {
            return Err(hub.missing(WHO, "collectors"));
        }
        Ok(Config {
            node: hub.node.id.0,
            log: ClientConfig {
                endpoints: hub.log_endpoints(WHO)?,
                group: 0,
                tls: tls.map(|tls| tls.client.clone()),
            },
            rules: hub.rules.rules(),
            linger: hub.log.as_ref().map_or(Duration::ZERO, |log| *log.linger),
            collectors: collectors(hub)?,
        })
    }

    /// One for each collector: a machine that floods holds up no other.
    pub(crate) fn producers(&self, log: &LogClient) -> Vec<Producer> {
        let producer = |collector: &Collector| {
            log.producer(ProducerOptions {
                name: format!("collector/{}@{}", collector.name, self.node),
                rules: self.rules.clone(),
                linger: self.linger,
                max_pending_bytes: PENDING_BYTES,
            })
        };
        self.collectors.iter().map(producer).collect()
    }
}

/// Whether the addresses of all tags are right, which the file's own check can't know.
pub fn check(hub: &HubConfig) -> Result<(), ConfigError> {
    collectors(hub).map(drop)
}

pub(crate) fn collectors(hub: &HubConfig) -> Result<Vec<Collector>, ConfigError> {
    hub.collectors
        .iter()
        .map(|section| collector(hub, section))
        .collect()
}

fn collector(hub: &HubConfig, section: &CollectorConfig) -> Result<Collector, ConfigError> {
    let name = section.name.as_str();
    let machine = match section.source() {
        Some(Source::Opcua(opcua)) => Machine::Opcua(opcua::Settings {
            tags: addresses(hub, section, opcua::Address::parse)?,
            ..opcua::Settings::new(
                opcua,
                pki_directory(&hub.data_dir, name),
                format!("urn:updraft:{}:{}:{name}", *hub.hub.path, *hub.node.id),
            )
        }),
        Some(Source::Modbus(modbus)) => {
            let tags = addresses(hub, section, modbus::Address::parse)?;
            Machine::Modbus(modbus::Settings::new(modbus, tags))
        }
        None => {
            let message = format!("collector {name:?}: expected \"opcua\" or \"modbus\"");
            return Err(hub.error(section.name.place, message));
        }
    };
    let topics = section
        .tags
        .iter()
        .map(|tag| section.topic_of(tag))
        .collect();
    Ok(Collector {
        name: name.to_owned(),
        topics,
        machine,
    })
}

fn addresses<A>(
    hub: &HubConfig,
    section: &CollectorConfig,
    parse: fn(&str) -> Result<A, String>,
) -> Result<Vec<A>, ConfigError> {
    let address = |tag: &kit::config::TagConfig| {
        parse(&tag.address).map_err(|why| {
            let name = section.name.as_str();
            let message = format!("collector {name:?}: tag {:?}: {why}", *tag.name);
            hub.error(tag.address.place, message)
        })
    };
    section.tags.iter().map(address).collect()
}

/// Where a collector keeps its own certificate and those that it trusts.
fn pki_directory(data: &Path, name: &str) -> std::path::PathBuf {
    data.join("collectors").join(name).join("pki")
}
