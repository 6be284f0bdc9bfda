//! The sections of the file, in the order in which they usually stand there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use proto::rules::Rules;
use proto::{HubPath, Lane, NodeId, Scope, TopicFilter};
use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{self, OneOrMany, Placed};
use super::value::{HostPort, HttpUrl, LogFilter, Secret, Share};

/// `hub`: which hub this node belongs to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubSection {
    pub path: Placed<HubPath>,
}

/// `node`: which node of the hub this is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    pub id: Placed<NodeId>,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            id: Placed::unplaced(NodeId(1)),
        }
    }
}

/// `tls`: PEM files, relative to the working directory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Whose certificates are accepted, from clients and from servers.
    pub ca: Placed<PathBuf>,
    /// The certificate chain of this node, as server and as client.
    pub cert: Placed<PathBuf>,
    pub key: Placed<PathBuf>,
}

/// `rules`: lane and scope as functions of the topic. The first filter that matches wins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    pub lanes: Vec<LaneRule>,
    pub scopes: Vec<ScopeRule>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaneRule {
    pub filter: Placed<TopicFilter>,
    pub lane: Placed<Lane>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeRule {
    pub filter: Placed<TopicFilter>,
    pub scope: Placed<Scope>,
}

impl RulesConfig {
    /// The same rules without their places.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let lane = |rule: &LaneRule| (rule.filter.value.clone(), rule.lane.value);
        let scope = |rule: &ScopeRule| (rule.filter.value.clone(), rule.scope.value.clone());
        Rules {
            lanes: self.lanes.iter().map(lane).collect(),
            scopes: self.scopes.iter().map(scope).collect(),
        }
    }
}

/// `log`: the log service of this node, and where the clients of the log find it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub listen: Placed<SocketAddr>,
    // Use `HubConfig::log_nodes`.
    /// All nodes of the hub by id, 1, 3 or 5; absent, this node alone at `listen`.
    #[serde(deserialize_with = "scalar::placed")]
    #[schemars(with = "BTreeMap<u64, Placed<HostPort>>")]
    pub nodes: Option<Placed<BTreeMap<NodeId, Placed<HostPort>>>>,
    /// Where child hubs connect; absent, none are accepted.
    pub uplink: Option<Placed<SocketAddr>>,
    pub segment_bytes: Placed<ByteSize>,
    /// For what the log keeps in memory to be fast. An edge box does with 8 MiB.
    pub memory: Placed<ByteSize>,
    pub heartbeat: Placed<Duration>,
    /// The least wait for a leader before an election; the most is twice this.
    pub election_timeout: Placed<Duration>,
    /// How long a client of the log waits for more records before it closes a batch.
    pub linger: Placed<Duration>,
    pub retention: RetentionSection,
    pub disk: DiskSection,
    pub quota: QuotaSection,
}

/// `log.retention`: what may be deleted, the oldest first. Records stay for as long as there is
/// room, and until the writer and the forwarder have them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSection {
    /// Nothing younger is deleted, even if the disk gets full.
    pub min_age: Placed<Duration>,
    /// Older records are deleted even if there is room; absent, they stay.
    pub max_age: Option<Placed<Duration>>,
    /// The oldest records beyond it are deleted even if there is room; absent, they stay.
    pub max_bytes: Option<Placed<ByteSize>>,
    /// How long an MQTT session that is away holds records back, up to a tenth of the disk.
    pub session_age: Placed<Duration>,
}

impl Default for RetentionSection {
    fn default() -> Self {
        Self {
            min_age: Placed::unplaced(Duration::from_secs(3600)),
            max_age: None,
            max_bytes: None,
            session_age: Placed::unplaced(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}

/// `log.disk`: how much of the disk the log takes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSection {
    /// What the log's directory may take; absent, what the file system has.
    pub budget: Option<Placed<ByteSize>>,
    /// Below it data is refused, and only what frees room is taken; absent, 5 % but not more than
    /// 1 GiB, and two segments at least.
    pub reserve: Option<Placed<ByteSize>>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            listen: loopback(7400),
            nodes: None,
            uplink: None,
            segment_bytes: Placed::unplaced(ByteSize::mib(64)),
            memory: Placed::unplaced(ByteSize::mib(96)),
            heartbeat: Placed::unplaced(Duration::from_millis(250)),
            election_timeout: Placed::unplaced(Duration::from_secs(1)),
            linger: Placed::unplaced(Duration::from_millis(2)),
            retention: RetentionSection::default(),
            disk: DiskSection::default(),
            quota: QuotaSection::default(),
        }
    }
}

/// `log.quota`: what one producer may append: a broker, a collector, or another client of the log.
/// Who is over it waits. The same on all nodes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaSection {
    /// Encoded, per producer; absent, no limit.
    pub bytes_per_second: Option<Placed<ByteSize>>,
}

/// `broker`: the MQTT broker of this node.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    pub listen: Placed<SocketAddr>,
    pub max_packet_bytes: Placed<ByteSize>,
    /// `QoS` 1 publishes of one connection that wait for the commit.
    pub max_in_flight: Placed<usize>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: loopback(1883),
            max_packet_bytes: Placed::unplaced(ByteSize::mib(8)),
            max_in_flight: Placed::unplaced(1024),
        }
    }
}

/// `parent`: the hub one layer up.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParentConfig {
    /// The nodes of the parent; any of them will do.
    pub uplink: OneOrMany<HttpUrl>,
    /// Which scopes leave this hub.
    #[serde(default = "only_up")]
    pub scopes: Vec<Placed<Scope>>,
}

/// `historian`: the database that the writer fills; one of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "HistorianSection")]
pub struct HistorianConfig {
    pub backend: HistorianBackend,
}

/// `historian`: the database that the writer fills; one of the two.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum HistorianBackend {
    /// A file on this machine; nothing to install.
    Sqlite(Placed<PathBuf>),
    /// PostgreSQL, with the extension TimescaleDB or without.
    Postgres(PostgresConfig),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    pub url: Placed<Secret>,
    #[serde(default = "updraft")]
    pub schema: Placed<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistorianSection {
    sqlite: Option<Placed<PathBuf>>,
    postgres: Option<PostgresConfig>,
}

impl TryFrom<HistorianSection> for HistorianConfig {
    type Error = &'static str;

    fn try_from(section: HistorianSection) -> Result<Self, Self::Error> {
        let backend = match (section.sqlite, section.postgres) {
            (Some(path), None) => HistorianBackend::Sqlite(path),
            (None, Some(postgres)) => HistorianBackend::Postgres(postgres),
            (Some(_), Some(_)) => return Err("\"sqlite\" and \"postgres\" exclude each other"),
            (None, None) => return Err("expected \"sqlite\" or \"postgres\""),
        };
        Ok(Self { backend })
    }
}

/// `telemetry`: what this node says about itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `/metrics`, `/healthz` and `/readyz`; absent, no endpoint.
    pub listen: Option<Placed<SocketAddr>>,
    /// An OTLP collector (gRPC) for traces, metrics and logs; absent, no export.
    pub otlp: Option<Placed<HttpUrl>>,
    /// Share of the batches whose way through the hubs is traced, with `otlp`.
    pub traces: Placed<Share>,
    /// The variable `RUST_LOG` wins over it.
    pub log: Placed<LogFilter>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            listen: None,
            otlp: None,
            traces: Placed::unplaced(Share::hundredth()),
            log: Placed::unplaced(LogFilter::info()),
        }
    }
}

pub(super) fn loopback(port: u16) -> Placed<SocketAddr> {
    Placed::unplaced((Ipv4Addr::LOCALHOST, port).into())
}

fn only_up() -> Vec<Placed<Scope>> {
    vec![Placed::unplaced(Scope::up())]
}

fn updraft() -> Placed<String> {
    Placed::unplaced("updraft".to_owned())
}
