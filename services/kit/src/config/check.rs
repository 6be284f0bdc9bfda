//! What no type can say: how the values of the file go together.

use std::net::SocketAddr;

use proto::NodeId;

use super::scalar::{Place, Placed};
use super::{
    CollectorConfig, ConfigError, ConsoleConfig, HubConfig, Security, Source, collectors, console,
};
use crate::tls::{is_loopback, is_loopback_host};

/// Something that is open to others, in clear text or without a name.
pub(super) struct Exposed {
    pub(super) what: String,
    place: Place,
    remedy: &'static str,
}

pub(super) fn check(config: &HubConfig) -> Result<(), ConfigError> {
    check_nodes(config)?;
    check_timing(config)?;
    check_room(config)?;
    check_parent(config)?;
    check_https(config)?;
    collectors::check(config)?;
    console::check(config)?;
    match exposed(config).into_iter().next() {
        Some(Exposed {
            what,
            place,
            remedy,
        }) if !*config.insecure => {
            Err(config.error(place, format!("{what}; {remedy} or set insecure: true")))
        }
        _ => Ok(()),
    }
}

fn check_nodes(config: &HubConfig) -> Result<(), ConfigError> {
    let id = &config.node.id;
    let Some(nodes) = config.log.as_ref().and_then(|log| log.nodes.as_ref()) else {
        return Ok(());
    };
    if !matches!(nodes.len(), 1 | 3 | 5) {
        let message = format!(
            "log.nodes: a hub has 1, 3 or 5 nodes, found {}",
            nodes.len()
        );
        return Err(config.error(nodes.place, message));
    }
    if let Some(zero) = nodes.get(&NodeId(0)) {
        return Err(config.error(zero.place, "log.nodes: node ids begin at 1"));
    }
    if !nodes.contains_key(id) {
        let message = format!("log.nodes: this node, {}, is not among them", id.value);
        return Err(config.error(nodes.place, message));
    }
    let twice = nodes.iter().find(|(id, address)| {
        nodes
            .range(..*id)
            .any(|(_, earlier)| earlier.value == address.value)
    });
    twice.map_or(Ok(()), |(id, address)| {
        let message = format!("log.nodes: node {id} has the address of another node");
        Err(config.error(address.place, message))
    })
}

/// Raft elects nobody if an election times out before a heartbeat can arrive.
fn check_timing(config: &HubConfig) -> Result<(), ConfigError> {
    let Some(log) = &config.log else {
        return Ok(());
    };
    if log.heartbeat.is_zero() {
        return Err(config.error(log.heartbeat.place, "log.heartbeat: must be more than 0"));
    }
    if log.election_timeout.value < log.heartbeat.value * 2 {
        let given = [&log.election_timeout, &log.heartbeat];
        let place = given
            .map(|value| value.place)
            .into_iter()
            .find(|place| place.line > 0);
        let message = format!(
            "log.election_timeout: must be at least twice log.heartbeat, which is {}",
            humantime::format_duration(log.heartbeat.value)
        );
        return Err(config.error(place.unwrap_or_default(), message));
    }
    Ok(())
}

/// A log that is full from the start, or may delete nothing of what it must.
fn check_room(config: &HubConfig) -> Result<(), ConfigError> {
    let Some(log) = &config.log else {
        return Ok(());
    };
    let retention = &log.retention;
    let given = retention.max_age.as_ref();
    if let Some(max) = given.filter(|max| max.value < *retention.min_age) {
        let message = format!(
            "log.retention.max_age: must not be less than min_age, which is {}",
            humantime::format_duration(*retention.min_age)
        );
        return Err(config.error(max.place, message));
    }
    let segment = log.segment_bytes.as_u64();
    let reserve = log.disk.reserve.as_ref();
    if let Some(reserve) = reserve.filter(|it| it.as_u64() < 2 * segment) {
        let message = format!(
            "log.disk.reserve: must be at least {} bytes: two of log.segment_bytes",
            2 * segment
        );
        return Err(config.error(reserve.place, message));
    }
    let reserve = reserve.map(|it| it.as_u64());
    let least = reserve.unwrap_or(2 * segment).saturating_add(4 * segment);
    if let Some(budget) = log.disk.budget.as_ref().filter(|it| it.as_u64() < least) {
        let message = format!(
            "log.disk.budget: must be at least {least} bytes: the reserve and four of \
             log.segment_bytes"
        );
        return Err(config.error(budget.place, message));
    }
    Ok(())
}

fn check_parent(config: &HubConfig) -> Result<(), ConfigError> {
    let Some(parent) = &config.parent else {
        return Ok(());
    };
    let local = parent.scopes.iter().find(|scope| scope.is_local());
    local.map_or(Ok(()), |scope| {
        let message = "parent.scopes: records of the scope \"local\" never leave their hub";
        Err(config.error(scope.place, message))
    })
}

/// The certificates for `https` come from the section `tls`.
fn check_https(config: &HubConfig) -> Result<(), ConfigError> {
    let uplinks = config.parent.iter().flat_map(|parent| &parent.uplink.0);
    let uplinks = uplinks.map(|url| ("parent.uplink", url));
    let otlp = config
        .telemetry
        .otlp
        .iter()
        .map(|url| ("telemetry.otlp", url));
    let without = uplinks
        .chain(otlp)
        .find(|(_, url)| url.is_https() && config.tls.is_none());
    without.map_or(Ok(()), |(key, url)| {
        Err(config.error(url.place, format!("{key}: https needs the section \"tls\"")))
    })
}

/// What is open beyond this machine without TLS.
///
/// `telemetry` is not part of it: probes and scrapers read it in clear text on any platform, it
/// takes no data in, and it must not be the reason to open the rest with `insecure: true`.
pub(super) fn exposed(config: &HubConfig) -> Vec<Exposed> {
    let mut exposed = Vec::new();
    if let Some(log) = config.log.as_ref().filter(|_| config.tls.is_none()) {
        exposed.extend(listener("log.listen", &log.listen, TLS));
        exposed.extend(
            log.uplink
                .as_ref()
                .and_then(|at| listener("log.uplink", at, TLS)),
        );
        let nodes = log.nodes.iter().flat_map(|nodes| nodes.values());
        exposed.extend(
            nodes
                .filter(|node| !is_loopback_host(node.host()))
                .map(|node| {
                    let what = format!("log.nodes: connects to {} in clear text", node.value);
                    Exposed {
                        what,
                        place: node.place,
                        remedy: TLS,
                    }
                }),
        );
    }
    if let Some(broker) = &config.broker {
        exposed.extend(listener(
            "broker.listen",
            &broker.listen,
            "listen on 127.0.0.1",
        ));
    }
    exposed.extend(config.collectors.iter().filter_map(exposed_collector));
    exposed.extend(config.console.as_ref().and_then(exposed_console));
    let uplinks = config.parent.iter().flat_map(|parent| &parent.uplink.0);
    let clear = uplinks.filter(|url| !url.is_https() && !is_loopback_host(url.host()));
    exposed.extend(clear.map(|url| {
        let what = format!("parent.uplink: connects to {} in clear text", url.value);
        Exposed {
            what,
            place: url.place,
            remedy: "use https with the section \"tls\"",
        }
    }));
    exposed
}

/// Modbus is not part of it: there is no other Modbus, so it must not be the reason to open the
/// rest with `insecure: true`.
fn exposed_collector(collector: &CollectorConfig) -> Option<Exposed> {
    let Some(Source::Opcua(opcua)) = collector.source() else {
        return None;
    };
    let open = opcua.security() == Security::None && !is_loopback_host(opcua.endpoint.host());
    open.then(|| Exposed {
        what: format!(
            "collector {:?}: connects to {} in clear text",
            collector.name.as_str(),
            opcua.endpoint.value
        ),
        place: opcua
            .security
            .as_ref()
            .map_or(opcua.endpoint.place, |given| given.place),
        remedy: "set security: sign-and-encrypt",
    })
}

fn exposed_console(console: &ConsoleConfig) -> Option<Exposed> {
    let (what, remedy) = match (*console.tls, console.users.is_empty()) {
        (true, false) => return None,
        (true, true) => ("lets everybody look", "add console.users"),
        (false, true) => (
            "lets everybody look, in clear text",
            "listen on 127.0.0.1, add console.users and console.tls: true",
        ),
        (false, false) => (
            "takes passwords in clear text",
            "set console.tls: true with the section \"tls\"",
        ),
    };
    let listen = &console.listen;
    (!is_loopback(listen)).then(|| Exposed {
        what: format!("console.listen: {} {what}", listen.value),
        place: listen.place,
        remedy,
    })
}

const TLS: &str = "add the section \"tls\"";

fn listener(key: &str, address: &Placed<SocketAddr>, remedy: &'static str) -> Option<Exposed> {
    let what = format!(
        "{key}: {} takes anonymous clients in clear text",
        address.value
    );
    (!is_loopback(address)).then_some(Exposed {
        what,
        place: address.place,
        remedy,
    })
}
