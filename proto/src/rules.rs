//! Lane and scope are functions of the topic: built-in rules, and configured ones before them.

use crate::topic::TopicFilter;
use crate::topic::uns_contract;
use crate::{Lane, Scope};

/// The first rule whose filter matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub lanes: Vec<(TopicFilter, Lane)>,
    pub scopes: Vec<(TopicFilter, Scope)>,
}

impl Rules {
    /// Waveforms travel on the bulk lane, so that they never hold up single values.
    pub fn lane(&self, topic: &str) -> Lane {
        let configured = self.lanes.iter().find(|(filter, _)| filter.matches(topic));
        match (configured, uns_contract(topic)) {
            (Some((_, lane)), _) => *lane,
            (None, Some("_wave")) => Lane::Bulk,
            (None, _) => Lane::Normal,
        }
    }

    /// The contract `_local` never leaves the hub, whatever is configured; all else goes up.
    pub fn scope(&self, topic: &str) -> Scope {
        if uns_contract(topic) == Some("_local") {
            return Scope::local();
        }
        let configured = self.scopes.iter().find(|(filter, _)| filter.matches(topic));
        configured.map_or_else(Scope::up, |(_, scope)| scope.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_scopes() {
        let rules = Rules {
            lanes: vec![("+/alarm/#".parse().unwrap(), Lane::Urgent)],
            scopes: vec![("lab/#".parse().unwrap(), Scope("lab".into()))],
        };
        for (topic, lane, scope) in [
            ("umh/v1/acme/_raw/t", Lane::Normal, "up"),
            ("umh/v1/acme/_wave/spindle", Lane::Bulk, "up"),
            ("umh/v1/acme/_local/t", Lane::Normal, "local"),
            ("a/alarm/7", Lane::Urgent, "up"),
            ("lab/x", Lane::Normal, "lab"),
        ] {
            assert_eq!(rules.lane(topic), lane, "{topic}");
            assert_eq!(rules.scope(topic), Scope(scope.into()), "{topic}");
        }
    }
}
