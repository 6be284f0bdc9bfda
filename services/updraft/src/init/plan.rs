//! What the flags and answers amount to: every choice made, and checked against the others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use kit::config::{HostPort, HttpUrl};
use kit::tls::{is_loopback, is_loopback_host};
use proto::HubPath;

use super::args::{Args, Collector, Historian, Layer, Parent};

/// What goes into the file.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) layer: Layer,
    pub(super) path: HubPath,
    pub(super) node_id: u8,
    /// Where the nodes reach each other, by id from 1; empty for a hub of one.
    pub(super) nodes: Vec<HostPort>,
    pub(super) log_listen: SocketAddr,
    pub(super) uplink_listen: Option<SocketAddr>,
    pub(super) mqtt_listen: SocketAddr,
    pub(super) parent: Vec<HttpUrl>,
    pub(super) historian: Historian,
    pub(super) postgres_url: String,
    pub(super) collectors: Vec<Collector>,
    pub(super) console_listen: Option<SocketAddr>,
    pub(super) telemetry_listen: SocketAddr,
    pub(super) tls: Option<PathBuf>,
    pub(super) insecure: bool,
}

/// A flag that is missing, or flags that don't go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Mistake(String);

pub(super) const POSTGRES_URL: &str = "postgres://updraft:${PGPASSWORD}@localhost/plant";
pub(super) const TLS_DIR: &str = "./tls";

impl Layer {
    /// Only the top is one without a parent as a matter of course.
    pub(super) fn has_parent(self) -> bool {
        self != Layer::Enterprise
    }

    pub(super) fn historian(self) -> Historian {
        match self {
            Layer::Edge => Historian::Sqlite,
            Layer::Site | Layer::Enterprise => Historian::Postgres,
        }
    }
}

impl Plan {
    pub(super) fn of(args: &Args) -> Result<Plan, Mistake> {
        let layer = args
            .layer
            .ok_or_else(|| missing("--layer", "edge, site or enterprise"))?;
        let path = args
            .path
            .clone()
            .ok_or_else(|| missing("--path", "where the hub is, such as acme.cologne.line-1"))?;
        let parent = parent(layer, &args.parent)?;
        let nodes = nodes(args)?;
        let node_id = node_id(args, nodes.len())?;
        let here = nodes.get(usize::from(node_id - 1));
        // Nodes on one machine can't have the same ports.
        let together = nodes.len() > 1 && nodes.iter().all(|node| is_loopback_host(node.host()));
        let port = |port: u16| match together {
            true => port + u16::from(node_id - 1),
            false => port,
        };
        let at = |port_of_first| SocketAddr::from((Ipv4Addr::LOCALHOST, port(port_of_first)));
        let tls = tls(args, &parent, &nodes);
        let uplink_listen = args.uplink_listen.or_else(|| match (layer, &tls) {
            (Layer::Edge, _) => None,
            (_, None) => Some(at(7443)),
            (_, Some(_)) => Some((Ipv4Addr::UNSPECIFIED, port(7443)).into()),
        });
        let historian = args.historian.unwrap_or_else(|| layer.historian());
        if args.postgres_url.is_some() && historian != Historian::Postgres {
            return Err(Mistake("--postgres-url needs --historian postgres".into()));
        }
        let plan = Plan {
            layer,
            path,
            node_id,
            log_listen: args.log_listen.unwrap_or_else(|| log_listen(here)),
            nodes,
            uplink_listen,
            mqtt_listen: args.mqtt_listen.unwrap_or_else(|| at(1883)),
            parent,
            historian,
            postgres_url: args
                .postgres_url
                .clone()
                .unwrap_or_else(|| POSTGRES_URL.into()),
            collectors: args.collector.clone(),
            console_listen: args
                .console
                .then(|| args.console_listen.unwrap_or_else(|| at(8080))),
            telemetry_listen: args.telemetry_listen.unwrap_or_else(|| at(9400)),
            tls,
            insecure: args.insecure,
        };
        plan.check_exposed()?;
        Ok(plan)
    }

    /// What is open to other machines without TLS: told as flags, before the file's own check
    /// would tell it as lines of a file that nobody has seen.
    fn check_exposed(&self) -> Result<(), Mistake> {
        let grpc = [
            ("--log-listen", Some(self.log_listen)),
            ("--uplink-listen", self.uplink_listen),
        ];
        let open = [
            ("--mqtt-listen", Some(self.mqtt_listen)),
            ("--console-listen", self.console_listen),
        ];
        let grpc = grpc.iter().filter(|_| self.tls.is_none());
        let exposed = grpc.chain(&open).find_map(|(flag, address)| {
            address
                .filter(|address| !is_loopback(address))
                .map(|address| format!("{flag} {address} accepts clear text from other machines"))
        });
        let clear = self
            .parent
            .iter()
            .find(|url| !url.is_https() && !is_loopback_host(url.host()));
        let clear = clear.map(|url| format!("--parent {url} is reached in clear text"));
        let spread = self.nodes.iter().filter(|_| self.tls.is_none());
        let mut spread = spread.filter(|node| !is_loopback_host(node.host()));
        let spread = spread
            .next()
            .map(|node| format!("--addresses: {node} is reached in clear text"));
        match exposed.or(clear).or(spread) {
            Some(what) if !self.insecure => {
                Err(Mistake(format!("{what}: add --insecure to accept that")))
            }
            _ => Ok(()),
        }
    }

    /// What has to be there before the node can start.
    pub(super) fn before_start(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if let Some(tls) = &self.tls {
            let tls = tls.display();
            steps.push(format!(
                "put the certificates there: {tls}/ca.pem, {tls}/node.pem, {tls}/node.key"
            ));
        }
        if self.historian == Historian::Postgres {
            let variables = variables(&self.postgres_url);
            if !variables.is_empty() {
                let variables = variables.join(" and ");
                steps.push(format!("set {variables} in the environment"));
            }
        }
        steps
    }
}

fn missing(flag: &str, what: &str) -> Mistake {
    Mistake(format!("{flag} is missing: {what}"))
}

fn parent(layer: Layer, given: &[Parent]) -> Result<Vec<HttpUrl>, Mistake> {
    if given.is_empty() && layer.has_parent() {
        let what = "the uplink of the hub above, such as https://site.acme:7443, or none";
        return Err(missing("--parent", what));
    }
    let urls: Vec<_> = given
        .iter()
        .filter_map(|parent| match parent {
            Parent::None => None,
            Parent::At(url) => Some(url.clone()),
        })
        .collect();
    if !urls.is_empty() && urls.len() < given.len() {
        return Err(Mistake("--parent: \"none\" stands alone".into()));
    }
    Ok(urls)
}

fn nodes(args: &Args) -> Result<Vec<HostPort>, Mistake> {
    match (args.nodes.unwrap_or(1), args.addresses.len()) {
        (1, 0) => Ok(Vec::new()),
        (1, _) => Err(Mistake(
            "--addresses is for a hub of three: add --nodes 3".into(),
        )),
        (3, 3) => Ok(args.addresses.clone()),
        (3, 0) => Err(missing(
            "--addresses",
            "where the three nodes reach each other, such as 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400",
        )),
        (3, found) => Err(Mistake(format!(
            "--addresses: expected three for --nodes 3, found {found}"
        ))),
        _ => Err(Mistake("--nodes: a hub has 1 or 3 nodes".into())),
    }
}

fn node_id(args: &Args, nodes: usize) -> Result<u8, Mistake> {
    match (args.node_id, nodes) {
        (None, 0) => Ok(1),
        (None, _) => Err(missing("--node-id", "which of the three nodes this is")),
        (Some(1), 0) => Ok(1),
        (Some(_), 0) => Err(Mistake("--node-id: the node of a hub of one is 1".into())),
        (Some(id), _) => Ok(id),
    }
}

/// Certificates are needed as soon as gRPC leaves the machine, unless clear text was asked for.
fn tls(args: &Args, parent: &[HttpUrl], nodes: &[HostPort]) -> Option<PathBuf> {
    let spread = nodes.iter().any(|node| !is_loopback_host(node.host()));
    let below = args
        .uplink_listen
        .is_some_and(|address| !is_loopback(&address));
    let needed = parent.iter().any(HttpUrl::is_https) || ((spread || below) && !args.insecure);
    let given = args.tls.clone();
    given.or_else(|| needed.then(|| TLS_DIR.into()))
}

/// Where this node listens for the others: at its own address where that is one.
fn log_listen(here: Option<&HostPort>) -> SocketAddr {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let Some(here) = here else {
        return (loopback, 7400).into();
    };
    let port = here.as_str().rsplit(':').next();
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(7400);
    let named = match is_loopback_host(here.host()) {
        true => loopback,
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    (here.host().parse().unwrap_or(named), port).into()
}

/// The names in `${NAME}`.
fn variables(text: &str) -> Vec<&str> {
    let parts = text.split("${").skip(1);
    parts.filter_map(|part| part.split('}').next()).collect()
}
