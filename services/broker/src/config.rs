//! What the broker takes from `hub.yaml`.

use std::net::SocketAddr;
use std::time::Duration;

use kit::config::{ConfigError, HubConfig};
use proto::NodeId;
use proto::rules::Rules;

/// A publish of a persistent session can be recognised when it is sent again as long as the log
/// remembers it, and it remembers this many of each session.
const MAX_IN_FLIGHT: usize = 1024;
/// The smallest packet size that leaves room for a CONNECT.
const MIN_PACKET_BYTES: usize = 1024;
/// A remaining length has 28 bits \[MQTT §2.2.3\].
const MAX_PACKET_BYTES: usize = 1 << 28;

#[derive(Clone, Debug)]
pub struct BrokerOptions {
    pub node_id: NodeId,
    pub listen: SocketAddr,
    pub max_packet_bytes: usize,
    /// Publishes of one connection that wait for their commit.
    pub max_in_flight: usize,
    /// Nodes of the hub's log, this one's first.
    pub log_nodes: Vec<String>,
    pub linger: Duration,
    pub rules: Rules,
}

impl BrokerOptions {
    pub fn from_config(config: &HubConfig) -> Result<BrokerOptions, ConfigError> {
        let section = config
            .broker
            .as_ref()
            .ok_or_else(|| config.missing("the broker", "broker"))?;
        let bytes = usize::try_from(section.max_packet_bytes.as_u64()).unwrap_or(usize::MAX);
        if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&bytes) {
            let message = "broker.max_packet_bytes: expected 1 KiB to 256 MiB";
            return Err(config.error(section.max_packet_bytes.place, message));
        }
        if !(1..=MAX_IN_FLIGHT).contains(&*section.max_in_flight) {
            let message = format!("broker.max_in_flight: expected 1 to {MAX_IN_FLIGHT}");
            return Err(config.error(section.max_in_flight.place, message));
        }
        let linger = config
            .log
            .as_ref()
            .map_or(Duration::ZERO, |log| *log.linger);
        Ok(BrokerOptions {
            node_id: *config.node.id,
            listen: *section.listen,
            max_packet_bytes: bytes,
            max_in_flight: *section.max_in_flight,
            log_nodes: config.log_endpoints("the broker")?,
            linger,
            rules: config.rules.rules(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proto::{Lane, Scope};

    use super::*;

    fn options(text: &str) -> Result<BrokerOptions, String> {
        let config = kit::config::from_str("hub.yaml", text).unwrap();
        BrokerOptions::from_config(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_own_node_comes_first() {
        let options = options(
            "hub: {path: acme}\nnode: {id: 2}\ndata_dir: d\ninsecure: true\nbroker: {}\n\
             log: {nodes: {1: 'a:7400', 2: 'b:7400', 3: 'c:7400'}}\n\
             rules: {lanes: [{filter: 'x/#', lane: urgent}], scopes: [{filter: y, scope: lab}]}\n",
        )
        .unwrap();
        assert_eq!(options.log_nodes, ["b:7400", "a:7400", "c:7400"]);
        assert_eq!(options.rules.lane("x/1"), Lane::Urgent);
        assert_eq!(options.rules.scope("y"), Scope("lab".into()));
    }

    #[test]
    fn mistakes_point_at_their_line() {
        let head = "hub: {path: acme}\ndata_dir: d\nlog: {}\n";
        for (tail, expected) in [
            ("", "hub.yaml: the broker needs the section \"broker\""),
            (
                "broker: {max_in_flight: 0}\n",
                "hub.yaml:4:25: broker.max_in_flight: expected 1 to",
            ),
            (
                "broker: {max_packet_bytes: 10B}\n",
                "hub.yaml:4:28: broker.max_packet_bytes: exp",
            ),
        ] {
            let error = options(&format!("{head}{tail}")).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
