//! The typed form of one `hub.yaml`.
//!
//! The whole file lives in this one place, so that one reading finds every unknown key. A
//! service's own `config.rs` takes its section from here and checks it further, with
//! [`HubConfig::error`] to point at the line. A section that is absent says that its service is
//! not configured on this node.

mod check;
mod collectors;
mod console;
mod environment;
mod error;
mod scalar;
mod schema;
mod sections;
mod value;

pub use self::collectors::{
    CollectorConfig, CollectorName, Fingerprint, ModbusConfig, OpcUrl, OpcuaConfig, Security,
    Source, TagConfig,
};
pub use self::console::{ConsoleConfig, Role, UserConfig};
pub use self::error::ConfigError;
pub use self::scalar::{OneOrMany, Place, Placed, Scalar};
pub use self::schema::{Shape, schema, schema_text};
pub use self::sections::{
    BrokerConfig, DiskSection, HistorianBackend, HistorianConfig, HubSection, LaneRule, LogConfig,
    NodeSection, ParentConfig, PostgresConfig, QuotaSection, RetentionSection, RulesConfig,
    ScopeRule, TelemetryConfig, TlsConfig,
};
pub use self::value::{HostPort, HttpUrl, LogFilter, Secret, Share};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proto::NodeId;
use schemars::JsonSchema;
use serde::Deserialize;

/// One `hub.yaml`, read, with its variables substituted, and checked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// The name of the file, as errors print it.
    #[serde(skip)]
    file: String,
    pub hub: HubSection,
    #[serde(default)]
    pub node: NodeSection,
    /// Where every service of this node keeps its files; relative to the working directory.
    pub data_dir: Placed<PathBuf>,
    /// Accept clear text and anonymous clients off loopback.
    #[serde(default)]
    pub insecure: Placed<bool>,
    /// Mutual TLS of all gRPC servers and clients of this node.
    #[serde(default, deserialize_with = "scalar::given")]
    #[schemars(with = "TlsConfig")]
    pub tls: Option<TlsConfig>,
    #[serde(default)]
    pub rules: RulesConfig,
    #[serde(default, deserialize_with = "scalar::given_or_empty")]
    pub log: Option<LogConfig>,
    #[serde(default, deserialize_with = "scalar::given_or_empty")]
    pub broker: Option<BrokerConfig>,
    #[serde(default, deserialize_with = "scalar::given")]
    #[schemars(with = "ParentConfig")]
    pub parent: Option<ParentConfig>,
    #[serde(default, deserialize_with = "scalar::given")]
    #[schemars(with = "HistorianConfig")]
    pub historian: Option<HistorianConfig>,
    /// The machines that this node asks for values.
    #[serde(default)]
    pub collectors: Vec<CollectorConfig>,
    #[serde(default, deserialize_with = "scalar::given_or_empty")]
    pub console: Option<ConsoleConfig>,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Reads and checks the file at `path`, with the variables of the process's environment.
pub fn load(path: impl AsRef<Path>) -> Result<HubConfig, ConfigError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::of_file(&name, format!("can't be read: {error}")))?;
    from_str(&name, &text)
}

/// Reads and checks `text`; errors call it `name`.
pub fn from_str(name: &str, text: &str) -> Result<HubConfig, ConfigError> {
    from_str_with(name, text, |variable| std::env::var(variable).ok())
}

/// Like [`from_str`], with `lookup` in place of the process's environment.
pub fn from_str_with(
    name: &str,
    text: &str,
    lookup: impl Fn(&str) -> Option<String> + 'static,
) -> Result<HubConfig, ConfigError> {
    let mut config: HubConfig = environment::with(lookup, || error::deserialize(name, text))?;
    name.clone_into(&mut config.file);
    check::check(&config)?;
    Ok(config)
}

impl HubConfig {
    /// An error that points at `place` in this file; for the further checks of a service.
    #[must_use]
    pub fn error(&self, place: Place, message: impl Into<String>) -> ConfigError {
        ConfigError::new(&self.file, place, message.into())
    }

    /// An error of the file as a whole, such as a section that a service misses.
    #[must_use]
    pub fn missing(&self, service: &str, section: &str) -> ConfigError {
        let message = format!("{service} needs the section \"{section}\"");
        ConfigError::of_file(&self.file, message)
    }

    /// Where the nodes of this hub's log are, by node id: what a client of the log connects to.
    ///
    /// `service` is who asks, for the error.
    pub fn log_nodes(&self, service: &str) -> Result<BTreeMap<NodeId, HostPort>, ConfigError> {
        let log = self.log.as_ref().ok_or_else(|| {
            let message = format!(
                "{service} needs the section \"log\", with \"nodes\" if the log runs elsewhere"
            );
            ConfigError::of_file(&self.file, message)
        })?;
        let alone = || BTreeMap::from([(*self.node.id, HostPort::to_reach(*log.listen))]);
        let named = log.nodes.as_ref().map(|nodes| {
            nodes
                .iter()
                .map(|(id, address)| (*id, address.value.clone()))
                .collect()
        });
        Ok(named.unwrap_or_else(alone))
    }

    /// The same as addresses in the order in which a service of this node asks them: its own log
    /// first.
    pub fn log_endpoints(&self, service: &str) -> Result<Vec<String>, ConfigError> {
        let mut nodes = self.log_nodes(service)?;
        let own = nodes.remove(&self.node.id);
        let ordered = own.into_iter().chain(nodes.into_values());
        Ok(ordered.map(|address| address.to_string()).collect())
    }

    /// What whoever starts this node should know, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        check::exposed(self)
            .into_iter()
            .filter(|_| *self.insecure)
            .map(|exposed| format!("insecure: {}", exposed.what))
            .collect()
    }
}

#[cfg(test)]
mod tests;
