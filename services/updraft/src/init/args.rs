//! The flags. What they hold goes through the same rules as the values of the file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use kit::config::{HostPort, HttpUrl, OpcUrl, Scalar};
use proto::HubPath;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write hub.yaml
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) dir: PathBuf,
    /// The layer of the hub: it decides what the other questions' defaults are
    #[arg(long)]
    pub(super) layer: Option<Layer>,
    /// Where the hub is: enterprise.site.area…, beginning with its parent's path
    #[arg(long, value_parser = scalar::<HubPath>)]
    pub(super) path: Option<HubPath>,
    /// The uplink of the hub above, one URL for each of its nodes, or "none"
    #[arg(long, value_name = "URL,…", value_delimiter = ',', value_parser = parent)]
    pub(super) parent: Vec<Parent>,
    /// The database that the values go into
    #[arg(long)]
    pub(super) historian: Option<Historian>,
    /// For --historian postgres; write ${PGPASSWORD} for the password
    #[arg(long, value_name = "URL")]
    pub(super) postgres_url: Option<String>,
    /// How many nodes the hub has: 1 or 3
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(super) nodes: Option<u8>,
    /// Which of the nodes this is, from 1
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(super) node_id: Option<u8>,
    /// Where the nodes reach each other, in the order of their ids
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', value_parser = scalar::<HostPort>)]
    pub(super) addresses: Vec<HostPort>,
    /// Where this node's log listens, if that is not its address
    #[arg(long, value_name = "IP:PORT", value_parser = scalar::<SocketAddr>)]
    pub(super) log_listen: Option<SocketAddr>,
    /// A machine to read: opcua=opc.tcp://host:4840 or modbus=host:502
    #[arg(long, value_name = "PROTOCOL=ADDRESS", value_parser = collector)]
    pub(super) collector: Vec<Collector>,
    /// Where MQTT clients connect
    #[arg(long, value_name = "IP:PORT", value_parser = scalar::<SocketAddr>)]
    pub(super) mqtt_listen: Option<SocketAddr>,
    /// Where hubs below connect
    #[arg(long, value_name = "IP:PORT", value_parser = scalar::<SocketAddr>)]
    pub(super) uplink_listen: Option<SocketAddr>,
    /// Where metrics, health and readiness are served
    #[arg(long, value_name = "IP:PORT", value_parser = scalar::<SocketAddr>)]
    pub(super) telemetry_listen: Option<SocketAddr>,
    /// Serve the web console
    #[arg(long)]
    pub(super) console: bool,
    /// Where the console is served
    #[arg(long, value_name = "IP:PORT", value_parser = scalar::<SocketAddr>, requires = "console")]
    pub(super) console_listen: Option<SocketAddr>,
    /// Directory of ca.pem, node.pem and node.key, for a hub that spans machines
    #[arg(long, value_name = "DIR")]
    pub(super) tls: Option<PathBuf>,
    /// Accept clear text and anonymous clients from other machines
    #[arg(long)]
    pub(super) insecure: bool,
    /// Leave out the JSON Schema that editors complete hub.yaml with
    #[arg(long)]
    pub(super) no_schema: bool,
    /// Overwrite a hub.yaml that is there
    #[arg(long)]
    pub(super) force: bool,
    /// Ask nothing: flags and defaults say it all
    #[arg(short, long)]
    pub(super) yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Layer {
    /// Beside the machines
    Edge,
    /// A plant
    Site,
    /// The top
    Enterprise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Historian {
    /// A file on this machine
    Sqlite,
    /// A server, with TimescaleDB or without
    Postgres,
    /// None: the log alone
    None,
}

#[derive(Clone, Debug)]
pub(super) enum Parent {
    None,
    At(HttpUrl),
}

/// What stands in for a machine until its tags are filled in.
#[derive(Clone, Debug)]
pub(super) enum Collector {
    Opcua(OpcUrl),
    Modbus(HostPort),
}

fn scalar<T: Scalar>(text: &str) -> Result<T, String> {
    T::parse(text).ok_or_else(|| format!("expected {}", T::EXPECTED))
}

pub(super) fn parent(text: &str) -> Result<Parent, String> {
    match text {
        "none" => Ok(Parent::None),
        url => scalar(url)
            .map(Parent::At)
            .map_err(|expected| format!("{expected}, or none")),
    }
}

pub(super) fn collector(text: &str) -> Result<Collector, String> {
    match text.split_once('=') {
        Some(("opcua", endpoint)) => scalar(endpoint).map(Collector::Opcua),
        Some(("modbus", address)) => scalar(address).map(Collector::Modbus),
        _ => Err("expected opcua=opc.tcp://host:4840 or modbus=host:502".to_owned()),
    }
}
