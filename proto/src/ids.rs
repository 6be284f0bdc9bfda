//! Numbers and names that must not be swapped for one another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Position of a record in one hub's log.
    Offset(u64)
}
number! {
    /// Position of a record in its origin; dense from 0.
    Sequence(u64)
}
number! {
    /// A node of a hub.
    NodeId(u64)
}
number! {
    /// Nanoseconds since the Unix epoch, UTC.
    Nanos(i64)
}

impl Nanos {
    /// The wall clock's time now, held at the limits of the type.
    pub fn now() -> Nanos {
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Nanos(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)),
            Err(before) => {
                Nanos(i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n))
            }
        }
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u128);

        impl $name {
            pub fn random() -> Self {
                Self(rand::random())
            }

            /// As it stands in messages and files: 16 bytes, little endian.
            pub fn to_bytes(self) -> bytes::Bytes {
                bytes::Bytes::copy_from_slice(&self.0.to_le_bytes())
            }

            /// `None` when it is not 16 bytes.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(|array| Self(u128::from_le_bytes(array)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
    };
}

random_id! {
    /// Made when a hub's log is first initialised, or initialised again after its data was lost.
    Incarnation
}
random_id! {
    /// Who appends; issued by a log entry and never reused.
    ProducerId
}
random_id! {
    /// Made with a node's data directory; a node that lost its data has another one.
    NodeIdentity
}

/// A stream of its own in order and priority.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    #[default]
    Normal = 0,
    Urgent = 1,
    Bulk = 2,
}

impl Lane {
    pub const ALL: [Lane; 3] = [Lane::Normal, Lane::Urgent, Lane::Bulk];

    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn from_number(number: u32) -> Option<Lane> {
        Lane::ALL
            .into_iter()
            .find(|lane| u32::from(lane.number()) == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Lane::Normal => "normal",
            Lane::Urgent => "urgent",
            Lane::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a record may travel: `local` never leaves its hub, `up` and configured names may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(pub String);

impl Scope {
    pub fn local() -> Scope {
        Scope("local".into())
    }

    pub fn up() -> Scope {
        Scope("up".into())
    }

    pub fn is_local(&self) -> bool {
        self.0 == "local"
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A hub's name: its location in the plant, levels separated by dots (ISA-95: enterprise, site,
/// area, line, work cell, origin).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubPath(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "hub path {path:?} is not valid: levels of letters, digits, `-` and `_`, separated by dots, \
     none empty or starting with `_`"
)]
pub struct HubPathError {
    path: String,
}

impl HubPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this hub or lies below it.
    pub fn covers(&self, other: &HubPath) -> bool {
        match other.0.strip_prefix(&self.0) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        }
    }
}

impl FromStr for HubPath {
    type Err = HubPathError;

    fn from_str(path: &str) -> Result<HubPath, HubPathError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let valid = path.split('.').all(|level| {
            !level.is_empty() && !level.starts_with('_') && level.chars().all(allowed)
        });
        if valid {
            Ok(HubPath(path.into()))
        } else {
            Err(HubPathError { path: path.into() })
        }
    }
}

impl TryFrom<String> for HubPath {
    type Error = HubPathError;

    fn try_from(path: String) -> Result<HubPath, HubPathError> {
        path.parse()
    }
}

impl From<HubPath> for String {
    fn from(path: HubPath) -> String {
        path.0
    }
}

impl fmt::Display for HubPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_paths() {
        for good in ["acme", "acme.cologne.press-shop", "a.b_c.3"] {
            assert_eq!(good.parse::<HubPath>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "acme.",
            "acme..b",
            "acme._raw",
            "acme/b",
            "ac me",
            "äcme",
        ] {
            assert!(bad.parse::<HubPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hub_covers_itself_and_what_is_below() {
        let site: HubPath = "acme.cologne".parse().unwrap();
        for (path, covered) in [
            ("acme.cologne", true),
            ("acme.cologne.press", true),
            ("acme.cologne2", false),
            ("acme", false),
        ] {
            assert_eq!(site.covers(&path.parse().unwrap()), covered, "{path}");
        }
    }

    #[test]
    fn ids_keep_their_bytes() {
        let id = ProducerId::random();
        assert_eq!(ProducerId::from_bytes(&id.to_bytes()), Some(id));
        assert_eq!(ProducerId::from_bytes(b"short"), None);
    }
}
