//! The kinds of text that the file holds.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::uri::Authority;
use proto::{HubPath, Lane, NodeId, Scope, TopicFilter};
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use super::scalar::Scalar;
use super::schema::Shape;

impl Scalar for HubPath {
    const EXPECTED: &'static str = "a hub path: levels of letters, digits, \"-\" and \"_\" with \
         dots between, none beginning with \"_\", such as acme.cologne.press-shop";
    const SHAPE: Shape =
        Shape::Pattern(r"[A-Za-z0-9-][A-Za-z0-9_-]*(\.[A-Za-z0-9-][A-Za-z0-9_-]*)*");

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for NodeId {
    const EXPECTED: &'static str = "a node id: a whole number from 1";
    const SHAPE: Shape = Shape::Whole(1);

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|id| *id > 0).map(Self)
    }

    fn written(&self) -> Option<Value> {
        Some(self.0.into())
    }
}

impl Scalar for Lane {
    const EXPECTED: &'static str = "normal, urgent or bulk";
    const SHAPE: Shape = Shape::Words(&["normal", "urgent", "bulk"]);

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.name() == text)
    }
}

impl Scalar for Scope {
    const EXPECTED: &'static str = "a scope: letters, digits, \"-\" and \"_\"";
    const SHAPE: Shape = Shape::Pattern("[A-Za-z0-9_-]+");

    fn parse(text: &str) -> Option<Self> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (!text.is_empty() && text.bytes().all(valid)).then(|| Self(text.to_owned()))
    }

    fn written(&self) -> Option<Value> {
        Some(self.0.clone().into())
    }
}

impl Scalar for TopicFilter {
    const EXPECTED: &'static str = "an MQTT topic filter such as acme/+/_alarm/#";
    const SHAPE: Shape = Shape::Pattern(r"([^+#/]*|\+)(/([^+#/]*|\+))*(/#)?|#");

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A host name or IP address with a port, as a client dials it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort(Authority);

impl Scalar for HostPort {
    const EXPECTED: &'static str = "a host and port such as node-1.acme:7400";
    const SHAPE: Shape = Shape::Pattern(r"[^@/\s]+:[0-9]{1,5}");

    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let dialable = authority.port_u16().is_some_and(|port| port > 0)
            && !authority.host().is_empty()
            && !text.contains('@');
        dialable.then_some(Self(authority))
    }
}

impl HostPort {
    /// How a process on the same machine reaches a server that listens at `address`.
    #[must_use]
    pub fn to_reach(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // Made anew, without the zone of an IPv6 address: it has no place in an authority.
        let text = SocketAddr::new(ip, address.port()).to_string();
        Self(
            text.parse()
                .expect("an IP address and a port are an authority"),
        )
    }

    /// Without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host().trim_start_matches('[').trim_end_matches(']')
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        // Checked when it was parsed.
        self.0.port_u16().unwrap_or_default()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The address of a gRPC server: `http` for clear text or `https`, host and port, no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(Uri);

impl Scalar for HttpUrl {
    const EXPECTED: &'static str = "a URL such as https://site.acme:7443";
    const SHAPE: Shape = Shape::Pattern(r"https?://[^@/?\s]+/?");

    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let plain = matches!(uri.scheme_str(), Some("http" | "https"))
            && matches!(
                uri.path_and_query().map(|path| path.as_str()),
                None | Some("/" | "")
            )
            && uri.host().is_some_and(|host| !host.is_empty())
            && !text.contains('@');
        plain.then_some(Self(uri))
    }
}

impl HttpUrl {
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

/// Text that no log and no error may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Scalar for Secret {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

impl Secret {
    /// The text itself; hand it to who needs it and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Directives of a tracing filter: `info`, `info,raft_log=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl Scalar for LogFilter {
    const EXPECTED: &'static str = "a log filter such as info or info,raft_log=debug";

    fn parse(text: &str) -> Option<Self> {
        EnvFilter::builder()
            .parse(text)
            .ok()
            .map(|_| Self(text.to_owned()))
    }

    fn written(&self) -> Option<Value> {
        Some(self.0.clone().into())
    }
}

/// A part of a whole, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Scalar for Share {
    const EXPECTED: &'static str = "a share, a number from 0 to 1";
    const SHAPE: Shape = Shape::Number;

    fn parse(text: &str) -> Option<Self> {
        let share: f64 = text.parse().ok()?;
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    fn written(&self) -> Option<Value> {
        Some(self.0.into())
    }
}

impl Share {
    #[must_use]
    pub fn hundredth() -> Self {
        Self(0.01)
    }

    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl LogFilter {
    #[must_use]
    pub fn info() -> Self {
        Self("info".to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_listener_is_reached() {
        for (listen, reach) in [
            ("127.0.0.1:7400", "127.0.0.1:7400"),
            ("0.0.0.0:7400", "127.0.0.1:7400"),
            ("[::]:7400", "[::1]:7400"),
            ("[fe80::1%2]:7400", "[fe80::1]:7400"),
        ] {
            assert_eq!(HostPort::to_reach(listen.parse().unwrap()).as_str(), reach);
        }
    }

    #[test]
    fn what_can_be_dialed() {
        for good in ["node-1:7400", "[::1]:1", "10.0.0.1:65535", "a.b.c:80"] {
            assert_eq!(HostPort::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "node",
            ":1",
            "node:0",
            "node:65536",
            "a:b",
            "u@node:1",
            "http://a:1",
            "::1:1",
        ] {
            assert!(HostPort::parse(bad).is_none(), "{bad}");
        }
        for bad in [
            "",
            "site:1",
            "https://",
            "https://a/path",
            "https://u:p@a",
            "ftp://a",
            "https://a?q",
        ] {
            assert!(HttpUrl::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(HttpUrl::parse("http://[::1]:7443/").unwrap().host(), "::1");
    }
}
