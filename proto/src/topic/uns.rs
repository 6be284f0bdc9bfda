//! Topics of the Unified Namespace:
//! `umh/v1/<location…>/<_contract>[/<virtual path…>]/<name>`.

/// A topic of the Unified Namespace, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsTopic<'a> {
    /// Location levels, joined by `/`: enterprise, site, area, line, work cell, origin.
    pub location: &'a str,
    /// With its leading `_`.
    pub contract: &'a str,
    /// Levels between contract and name, joined by `/`; empty when there are none.
    pub virtual_path: &'a str,
    pub name: &'a str,
}

/// Why a topic under `umh/v1/` breaks the rules of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsError {
    #[error("an empty level in a topic of the Unified Namespace")]
    EmptyLevel,
    #[error("character {0:?} in a topic of the Unified Namespace; allowed are A-Z a-z 0-9 . _ -")]
    Character(char),
    #[error("no data contract: a level that starts with `_` must follow the location")]
    NoContract,
    #[error("no location: at least the enterprise must stand before the data contract")]
    NoLocation,
    #[error("no name: the data contract may not be the last level")]
    NoName,
}

impl<'a> UnsTopic<'a> {
    /// `None` when the topic does not claim to be of the namespace.
    pub fn parse(topic: &'a str) -> Option<Result<UnsTopic<'a>, UnsError>> {
        let rest = topic.strip_prefix("umh/v1/")?;
        Some(UnsTopic::parse_rest(rest))
    }

    fn parse_rest(rest: &'a str) -> Result<UnsTopic<'a>, UnsError> {
        if rest.split('/').any(str::is_empty) {
            return Err(UnsError::EmptyLevel);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if let Some(character) = rest.chars().find(|c| !allowed(*c)) {
            return Err(UnsError::Character(character));
        }
        if rest.starts_with('_') {
            return Err(UnsError::NoLocation);
        }
        let (location, _) = rest.split_once("/_").ok_or(UnsError::NoContract)?;
        let after = &rest[location.len() + 1..];
        let (contract, path) = after.split_once('/').ok_or(UnsError::NoName)?;
        let (virtual_path, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(UnsTopic {
            location,
            contract,
            virtual_path,
            name,
        })
    }
}

/// The data contract of a topic, when it is a valid one of the namespace.
pub(crate) fn contract(topic: &str) -> Option<&str> {
    UnsTopic::parse(topic)?.ok().map(|uns| uns.contract)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_the_namespace() {
        for (topic, location, contract, virtual_path, name) in [
            ("umh/v1/acme/_raw/t", "acme", "_raw", "", "t"),
            (
                "umh/v1/acme/c/press/_raw/a/_b/t",
                "acme/c/press",
                "_raw",
                "a/_b",
                "t",
            ),
            ("umh/v1/acme/_pump_v1/_x", "acme", "_pump_v1", "", "_x"),
        ] {
            let uns = UnsTopic {
                location,
                contract,
                virtual_path,
                name,
            };
            assert_eq!(UnsTopic::parse(topic), Some(Ok(uns)), "{topic}");
        }
    }

    #[test]
    fn broken_rules() {
        for (topic, error) in [
            ("umh/v1/acme//_raw/t", UnsError::EmptyLevel),
            ("umh/v1/acme/_raw/", UnsError::EmptyLevel),
            ("umh/v1/acme/_raw/ö", UnsError::Character('ö')),
            ("umh/v1/acme/raw/t", UnsError::NoContract),
            ("umh/v1/_raw/t", UnsError::NoLocation),
            ("umh/v1/acme/_raw", UnsError::NoName),
        ] {
            assert_eq!(UnsTopic::parse(topic), Some(Err(error)), "{topic}");
        }
        assert_eq!(UnsTopic::parse("spBv1.0/x"), None);
    }
}
