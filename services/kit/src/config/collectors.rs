//! `collectors`: the machines that this node asks for values, and what to ask them for.
//!
//! The addresses of tags are text here: only the collector's protocols know what they mean, and
//! check them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use proto::topic::{UnsTopic, check_topic_name};
use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{self, Placed, Scalar};
use super::schema::Shape;
use super::value::{HostPort, Secret};
use super::{ConfigError, HubConfig};
use crate::tls::is_loopback_host;

/// One machine: `opcua` or `modbus` says how it is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["opcua"] }, { "required": ["modbus"] }]))]
pub struct CollectorConfig {
    /// In metrics, in the log and as the name of its directory; unique on the node.
    pub name: Placed<CollectorName>,
    #[serde(default, deserialize_with = "scalar::given")]
    #[schemars(with = "OpcuaConfig")]
    pub opcua: Option<OpcuaConfig>,
    #[serde(default, deserialize_with = "scalar::given")]
    #[schemars(with = "ModbusConfig")]
    pub modbus: Option<ModbusConfig>,
    /// What the topics of its tags begin with: a tag's topic is `<topic>/<name>`.
    pub topic: Placed<String>,
    pub tags: Vec<TagConfig>,
}

/// An OPC UA server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpcuaConfig {
    pub endpoint: Placed<OpcUrl>,
    // Use the method of this name.
    /// Never less than this; absent, `none` on this machine and `sign-and-encrypt` elsewhere.
    pub security: Option<Placed<Security>>,
    /// The one certificate that the server may show: its SHA-1 thumbprint or its SHA-256. Absent,
    /// those that were put into its directory.
    pub fingerprint: Option<Placed<Fingerprint>>,
    pub user: Option<Placed<String>>,
    pub password: Option<Placed<Secret>>,
    /// How often the server sends what has changed.
    #[serde(default = "publish_interval")]
    pub publish_interval: Placed<Duration>,
    /// How often the server looks at a value; 0 is as fast as it can.
    #[serde(default = "sampling_interval")]
    pub sampling_interval: Placed<Duration>,
    /// Values of each tag that the server keeps while it can't send: at least those of a
    /// publish interval and of the longest outage to survive.
    #[serde(default = "queue")]
    pub queue: Placed<u64>,
}

/// A Modbus TCP device.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModbusConfig {
    pub address: Placed<HostPort>,
    /// The device behind the address, for gateways; most devices take any.
    #[serde(default = "unit")]
    pub unit: Placed<u8>,
    /// How often all tags are read.
    #[serde(default = "every")]
    pub every: Placed<Duration>,
    /// How long the device may take for one answer.
    #[serde(default = "timeout")]
    pub timeout: Placed<Duration>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagConfig {
    /// The end of its topic.
    pub name: Placed<String>,
    /// In the words of the protocol: `ns=2;s=Temperature`, `holding.100.FLOAT32`.
    pub address: Placed<String>,
}

/// How a collector reaches its machine.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    Opcua(&'a OpcuaConfig),
    Modbus(&'a ModbusConfig),
}

impl CollectorConfig {
    /// `None` is what the check of the file refuses: neither or both.
    #[must_use]
    pub fn source(&self) -> Option<Source<'_>> {
        match (&self.opcua, &self.modbus) {
            (Some(opcua), None) => Some(Source::Opcua(opcua)),
            (None, Some(modbus)) => Some(Source::Modbus(modbus)),
            _ => None,
        }
    }

    #[must_use]
    pub fn topic_of(&self, tag: &TagConfig) -> String {
        format!("{}/{}", *self.topic, *tag.name)
    }
}

impl OpcuaConfig {
    /// What is asked for, or what is right for where the server is.
    #[must_use]
    pub fn security(&self) -> Security {
        match &self.security {
            Some(security) => **security,
            None if is_loopback_host(self.endpoint.host()) => Security::None,
            None => Security::SignAndEncrypt,
        }
    }
}

fn publish_interval() -> Placed<Duration> {
    Placed::unplaced(Duration::from_millis(500))
}

fn sampling_interval() -> Placed<Duration> {
    Placed::unplaced(Duration::from_millis(100))
}

fn queue() -> Placed<u64> {
    Placed::unplaced(100)
}

fn unit() -> Placed<u8> {
    Placed::unplaced(1)
}

fn every() -> Placed<Duration> {
    Placed::unplaced(Duration::from_secs(1))
}

fn timeout() -> Placed<Duration> {
    Placed::unplaced(Duration::from_secs(2))
}

/// The name of a collector: also a directory's, so no dots and no slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectorName(String);

impl Scalar for CollectorName {
    const EXPECTED: &'static str = "a name of up to 64 letters, digits, \"-\" and \"_\"";
    const SHAPE: Shape = Shape::Pattern("[A-Za-z0-9_-]{1,64}");

    fn parse(text: &str) -> Option<Self> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(valid);
        fits.then(|| Self(text.to_owned()))
    }
}

impl CollectorName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The address of an OPC UA server: `opc.tcp://host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpcUrl {
    text: String,
    address: HostPort,
}

/// Registered for OPC UA with the IANA.
const OPC_UA_PORT: u16 = 4840;

impl Scalar for OpcUrl {
    const EXPECTED: &'static str =
        "the address of an OPC UA server such as opc.tcp://10.0.0.5:4840";
    const SHAPE: Shape = Shape::Pattern(r"opc\.tcp://[^@/?\s]+(/\S*)?");

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("opc.tcp://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = HostPort::parse(authority)
            .or_else(|| HostPort::parse(&format!("{authority}:{OPC_UA_PORT}")))?;
        let plain = |c: char| !c.is_whitespace() && !c.is_control();
        path.chars().all(plain).then(|| Self {
            text: format!("opc.tcp://{address}{path}"),
            address,
        })
    }
}

impl OpcUrl {
    /// With its port.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// Without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.address.host()
    }
}

impl fmt::Display for OpcUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// What protects a connection to an OPC UA server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    None,
    /// Others can read, and change nothing unnoticed.
    Sign,
    SignAndEncrypt,
}

impl Security {
    pub const ALL: [Security; 3] = [Security::None, Security::Sign, Security::SignAndEncrypt];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Security::None => "none",
            Security::Sign => "sign",
            Security::SignAndEncrypt => "sign-and-encrypt",
        }
    }
}

impl fmt::Display for Security {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Scalar for Security {
    const EXPECTED: &'static str = "none, sign or sign-and-encrypt";
    const SHAPE: Shape = Shape::Words(&["none", "sign", "sign-and-encrypt"]);

    fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|security| security.name() == text)
    }
}

/// The digest of a certificate: 20 bytes are its SHA-1 thumbprint, 32 its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

impl Scalar for Fingerprint {
    const EXPECTED: &'static str =
        "the SHA-1 thumbprint or the SHA-256 of a certificate: 40 or 64 hex digits";
    const SHAPE: Shape = Shape::Pattern("[0-9A-Fa-f: ]{40,95}");

    fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':' && *c != ' ')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let bytes = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
        matches!(digits.len(), 40 | 64).then(|| Self(bytes.collect()))
    }
}

impl Fingerprint {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Scalar for u8 {
    const EXPECTED: &'static str = "a whole number from 0 to 255";
    const SHAPE: Shape = Shape::Whole(0);

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn written(&self) -> Option<serde_json::Value> {
        Some((*self).into())
    }
}

/// What no type can say.
pub(super) fn check(config: &HubConfig) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    let mut topics = BTreeSet::new();
    for collector in &config.collectors {
        let name = &collector.name;
        if !names.insert(name.as_str()) {
            let message = format!("collectors: the name {:?} is given twice", name.as_str());
            return Err(config.error(name.place, message));
        }
        check_source(config, collector)?;
        for tag in &collector.tags {
            check_tag(config, collector, tag, &mut topics)?;
        }
    }
    Ok(())
}

fn check_source(config: &HubConfig, collector: &CollectorConfig) -> Result<(), ConfigError> {
    let of = |message: &str| format!("collector {:?}: {message}", collector.name.as_str());
    match collector.source() {
        None => {
            let message = of("expected \"opcua\" or \"modbus\", one of the two");
            Err(config.error(collector.name.place, message))
        }
        Some(Source::Opcua(opcua)) => check_opcua(config, opcua, of),
        Some(Source::Modbus(modbus)) => {
            let positive = [("every", &modbus.every), ("timeout", &modbus.timeout)];
            check_positive(config, &positive, of)
        }
    }
}

fn check_opcua(
    config: &HubConfig,
    opcua: &OpcuaConfig,
    of: impl Fn(&str) -> String,
) -> Result<(), ConfigError> {
    match (&opcua.user, &opcua.password) {
        (Some(user), None) => Err(config.error(user.place, of("\"user\" needs \"password\""))),
        (None, Some(password)) => {
            Err(config.error(password.place, of("\"password\" needs \"user\"")))
        }
        _ => Ok(()),
    }?;
    if !(1..=u64::from(u32::MAX)).contains(&*opcua.queue) {
        return Err(config.error(opcua.queue.place, of("queue: must be at least 1")));
    }
    check_positive(config, &[("publish_interval", &opcua.publish_interval)], of)
}

fn check_positive(
    config: &HubConfig,
    durations: &[(&str, &Placed<Duration>)],
    of: impl Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let zero = durations.iter().find(|(_, duration)| duration.is_zero());
    zero.map_or(Ok(()), |(key, duration)| {
        Err(config.error(duration.place, of(&format!("{key}: must be more than 0"))))
    })
}

fn check_tag(
    config: &HubConfig,
    collector: &CollectorConfig,
    tag: &TagConfig,
    topics: &mut BTreeSet<String>,
) -> Result<(), ConfigError> {
    let topic = collector.topic_of(tag);
    let wrong = |why: &dyn fmt::Display| {
        let message = format!(
            "collector {:?}: topic {topic:?}: {why}",
            collector.name.as_str()
        );
        config.error(tag.name.place, message)
    };
    check_topic_name(&topic).map_err(|why| wrong(&why))?;
    if let Some(Err(why)) = UnsTopic::parse(&topic) {
        return Err(wrong(&why));
    }
    if topics.contains(&topic) {
        return Err(wrong(&"another tag has it already"));
    }
    topics.insert(topic);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_str_with;

    const HEAD: &str = "hub: { path: acme }\ndata_dir: data\ncollectors:\n";

    fn parse(collectors: &str) -> Result<HubConfig, ConfigError> {
        from_str_with("hub.yaml", &format!("{HEAD}{collectors}"), |name| {
            (name == "PASSWORD").then(|| "hush".into())
        })
    }

    #[test]
    fn every_key_and_its_default() {
        let text = "- name: press-1
  opcua: { endpoint: 'opc.tcp://10.0.0.5/press', user: op, password: '${PASSWORD}',
           fingerprint: 'AA:bb:cc:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00',
           publish_interval: 1s, sampling_interval: 0s, queue: 7 }
  topic: umh/v1/acme/_raw
  tags: [ { name: t/x, address: 'ns=2;s=T' } ]
- name: meter
  modbus: { address: 'meter:502' }
  topic: umh/v1/acme/meter/_raw
  tags: []
";
        let config = parse(text).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        let [press, meter] = config.collectors.as_slice() else {
            panic!("{config:?}");
        };
        let Some(Source::Opcua(opcua)) = press.source() else {
            panic!("{press:?}");
        };
        assert_eq!(opcua.endpoint.as_str(), "opc.tcp://10.0.0.5:4840/press");
        assert_eq!(opcua.security(), Security::SignAndEncrypt);
        assert_eq!(opcua.password.as_ref().unwrap().expose(), "hush");
        assert_eq!(opcua.fingerprint.as_ref().unwrap().as_bytes().len(), 20);
        assert_eq!(press.topic_of(&press.tags[0]), "umh/v1/acme/_raw/t/x");
        let Some(Source::Modbus(modbus)) = meter.source() else {
            panic!("{meter:?}");
        };
        assert_eq!((*modbus.unit, *modbus.every), (1, Duration::from_secs(1)));
        assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    }

    #[test]
    fn clear_text_is_for_this_machine_only() {
        let opcua = |endpoint: &str, more: &str| {
            format!(
                "- {{ name: a, topic: t, tags: [], opcua: {{ endpoint: '{endpoint}'{more} }} }}\n"
            )
        };
        let here = parse(&opcua("opc.tcp://localhost", "")).unwrap();
        let Some(Source::Opcua(section)) = here.collectors[0].source() else {
            panic!("{here:?}");
        };
        assert_eq!(section.security(), Security::None);
        let there = opcua("opc.tcp://press", ", security: none");
        let error = parse(&there).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "collector \"a\": connects to opc.tcp://press:4840 in clear text; set security: \
                 sign-and-encrypt or set insecure: true"
            ),
            "{error}"
        );
        let allowed = parse(&format!("{there}insecure: true\n")).unwrap();
        assert_eq!(allowed.warnings().len(), 1, "{:?}", allowed.warnings());
    }

    #[test]
    fn mistakes() {
        let modbus = "modbus: { address: 'm:502' }";
        for (text, expected) in [
            (
                "- { name: a b, topic: t, tags: [] }",
                "4:11: collectors[0].name: expected a name",
            ),
            (
                "- { name: a, topic: t, tags: [] }",
                "4:11: collector \"a\": expected \"opcua\" or",
            ),
            (
                "- { name: a, topic: t, tags: [], modbuss: {} }",
                "4:34: unknown key \"modbuss\" in collectors[0]; did you mean \"modbus\"?",
            ),
            (
                "- { name: a, topic: t, tags: [ { name: x, addres: y } ] }",
                "unknown key \"addres\" in collectors[0].tags[0]; did you mean \"address\"?",
            ),
            (
                "- { name: a, topic: t, tags: [], modbus: { address: 'm:502', every: 0s } }",
                "4:69: collector \"a\": every: must be more than 0",
            ),
            (
                "- { name: a, topic: t, tags: [], opcua: { endpoint: 'opc.tcp://[::1]', user: u } }",
                "collector \"a\": \"user\" needs \"password\"",
            ),
            (
                "- { name: a, topic: t, tags: [], opcua: { endpoint: 'http://x' } }",
                "collectors[0].opcua.endpoint: expected the address of an OPC UA server",
            ),
            (
                "- { name: a, topic: t, tags: [], opcua: { endpoint: 'opc.tcp://[::1]', security: low } }",
                "expected none, sign or sign-and-encrypt, found \"low\"",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (topic, names, expected) in [
            ("t", "a, a", "topic \"t/a\": another tag has it already"),
            ("umh/v1/acme", "x", "no data contract"),
            ("t/#", "x", "holds a wildcard"),
            ("umh/v1/acme/_raw", "ö", "character 'ö'"),
        ] {
            let tags: Vec<_> = names
                .split(", ")
                .map(|name| format!("{{ name: {name}, address: y }}"))
                .collect();
            let text = format!(
                "- {{ name: a, topic: '{topic}', tags: [{}], {modbus} }}",
                tags.join(",")
            );
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let twice = format!("- {{ name: a, topic: t, tags: [], {modbus} }}\n").repeat(2);
        let error = parse(&twice).unwrap_err().to_string();
        assert_eq!(
            error,
            "hub.yaml:5:11: collectors: the name \"a\" is given twice"
        );
    }
}
