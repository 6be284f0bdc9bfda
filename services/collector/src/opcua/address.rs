//! A node: `ns=2;s=Temperature`, or `nsu=urn:acme:press;s=Temperature`.
//!
//! An index (`ns=`) may move when a server is changed or restarted; a URI (`nsu=`) stays, and is
//! looked up again at every connection. After it, as in Part 6 §5.3.1.10: `i=` a number, `s=` a
//! text, `g=` a GUID, `b=` bytes as base64.

use std::fmt;
use std::str::FromStr;

use opcua::types::{Identifier, NodeId};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    namespace: Namespace,
    identifier: Identifier,
}

#[derive(Clone, Debug, PartialEq)]
enum Namespace {
    Index(u16),
    Uri(String),
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        let (namespace, identifier) = match text.split_once(';') {
            Some((namespace, rest)) if namespace.starts_with("ns") => {
                (namespace_of(text, namespace)?, rest)
            }
            _ => (Namespace::Index(0), text),
        };
        let known = matches!(identifier.get(..2), Some("i=" | "s=" | "g=" | "b="));
        let identifier = (known && identifier.len() > 2)
            .then(|| Identifier::from_str(identifier).ok())
            .flatten()
            .ok_or_else(|| {
                format!(
                    "address {text:?}: expected a node such as ns=2;s=Temperature or \
                     nsu=urn:acme;i=7 (i= number, s= text, g= GUID, b= base64)"
                )
            })?;
        Ok(Address {
            namespace,
            identifier,
        })
    }

    /// The node on a server with these namespaces; `None` when its URI is not among them.
    pub(crate) fn node(&self, namespaces: &[String]) -> Option<NodeId> {
        let index = match &self.namespace {
            Namespace::Index(index) => *index,
            Namespace::Uri(uri) => {
                let place = namespaces.iter().position(|known| known == uri)?;
                u16::try_from(place).ok()?
            }
        };
        Some(NodeId::new(index, self.identifier.clone()))
    }
}

fn namespace_of(text: &str, namespace: &str) -> Result<Namespace, String> {
    if let Some(uri) = namespace.strip_prefix("nsu=").filter(|uri| !uri.is_empty()) {
        // The two characters that are escaped in a URI here (Part 6 §5.3.1.11).
        return Ok(Namespace::Uri(uri.replace("%3B", ";").replace("%25", "%")));
    }
    let index = namespace
        .strip_prefix("ns=")
        .and_then(|index| index.parse().ok());
    index.map(Namespace::Index).ok_or_else(|| {
        format!("address {text:?}: expected ns= with an index from 0 to 65535, or nsu= with a URI")
    })
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Namespace::Index(0) => {}
            Namespace::Index(index) => write!(formatter, "ns={index};")?,
            Namespace::Uri(uri) => {
                let escaped = uri.replace('%', "%25").replace(';', "%3B");
                write!(formatter, "nsu={escaped};")?;
            }
        }
        self.identifier.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_accepted() {
        let namespaces = ["http://opcfoundation.org/UA/", "urn:a", "urn:acme;1"];
        let namespaces = namespaces.map(str::to_owned);
        for (text, node) in [
            ("ns=2;s=Temperature", Some("ns=2;s=Temperature")),
            ("i=2258", Some("i=2258")),
            ("s=a;b", Some("s=a;b")),
            ("ns=3;s=\"DB\".\"x;y\"", Some("ns=3;s=\"DB\".\"x;y\"")),
            ("nsu=urn:a;i=7", Some("ns=1;i=7")),
            ("nsu=urn:acme%3B1;s=x", Some("ns=2;s=x")),
            ("nsu=urn:other;s=x", None),
            ("ns=1;b=AQID", Some("ns=1;b=AQID")),
            (
                "ns=1;g=72962B91-FA75-4AE6-8D28-B404DC7DAF63",
                Some("ns=1;g=72962b91-fa75-4ae6-8d28-b404dc7daf63"),
            ),
        ] {
            let address = Address::parse(text).unwrap();
            let found = address.node(&namespaces).map(|node| node.to_string());
            assert_eq!(found.as_deref(), node, "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "Temperature",
            "ns=2",
            "ns=2;",
            "ns=2;s=",
            "ns=65536;s=x",
            "ns=-1;s=x",
            "nsu=;s=x",
            "ns=2;x=1",
            "ns=2;i=-1",
            "ns=2;i=4294967296",
            "ns=2;g=72962B91",
            "ns=2;é",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(
                error.contains(&format!("address {text:?}: expected")),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in "(ns=|nsu=)?.{0,20};?[isgb]?=?.{0,20}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
            }
        }
    }
}
