//! What a hub may say of itself to the hubs above: bounded, so that what they remember is.

use prost::Message;

use crate::envelope::Invalid;
use crate::rpc::{CursorState, HubReport, NodeReport, OriginState};
use crate::{HubPath, Incarnation, Origin};

/// Reports in one request.
pub const MAX_REPORTS: usize = 256;
/// Nodes, origins and cursors in one report.
pub const MAX_NODES: usize = 16;
pub const MAX_ORIGINS: usize = 128;
pub const MAX_CURSORS: usize = 32;
/// Bytes of a path, an address or a cursor's name.
pub const MAX_TEXT: usize = 256;
/// Bytes of a version or a role.
pub const MAX_WORD: usize = 32;
/// Bytes of a report on the wire; follows from the other bounds.
pub const MAX_BYTES: usize = 72 << 10;

impl HubReport {
    /// Checks what came from outside; whose report it is.
    pub fn validate(&self) -> Result<HubPath, Invalid> {
        at_most("report.hub", "bytes", self.hub.len(), MAX_TEXT)?;
        let hub: HubPath = self
            .hub
            .parse()
            .map_err(|error| Invalid::new("report.hub", error))?;
        at_most("report.nodes", "nodes", self.nodes.len(), MAX_NODES)?;
        at_most("report.origins", "origins", self.origins.len(), MAX_ORIGINS)?;
        at_most("report.cursors", "cursors", self.cursors.len(), MAX_CURSORS)?;
        since_1970("report.time", self.time)?;
        since_1970("report.received", self.received)?;
        text("report.version", &self.version, MAX_WORD)?;
        if !self.incarnation.is_empty() && Incarnation::from_bytes(&self.incarnation).is_none() {
            return Err(Invalid::new("report.incarnation", "not 16 bytes"));
        }
        self.nodes.iter().try_for_each(node)?;
        let mut origins = self.origins.iter();
        origins.try_for_each(|state| origin(&hub, state))?;
        self.cursors.iter().try_for_each(cursor)?;
        at_most("report", "bytes", self.encoded_len(), MAX_BYTES)?;
        Ok(hub)
    }

    /// Without what would not be taken above: the hub's own origins stay before those of others.
    #[must_use]
    pub fn fit(mut self) -> HubReport {
        self.nodes.retain(|report| node(report).is_ok());
        self.cursors.retain(|state| cursor(state).is_ok());
        if let Ok(hub) = self.hub.parse() {
            self.origins.retain(|state| origin(&hub, state).is_ok());
        }
        let name = self.hub.clone();
        let foreign = |state: &OriginState| state.origin.as_ref().is_none_or(|o| o.hub != name);
        self.origins.sort_by_key(foreign);
        self.nodes.truncate(MAX_NODES);
        self.origins.truncate(MAX_ORIGINS);
        self.cursors.truncate(MAX_CURSORS);
        self
    }
}

fn node(node: &NodeReport) -> Result<(), Invalid> {
    text("node.role", &node.role, MAX_WORD)?;
    text("node.address", &node.address, MAX_TEXT)
}

fn origin(hub: &HubPath, state: &OriginState) -> Result<(), Invalid> {
    let origin = Origin::try_from(&state.origin.clone().unwrap_or_default())?;
    let path = origin.hub.as_str();
    at_most("origin.hub", "bytes", path.len(), MAX_TEXT)?;
    if !hub.covers(&origin.hub) {
        let problem = format!("{path} is not below hub {hub}");
        return Err(Invalid::new("origin.hub", problem));
    }
    if state.chain.len() != 32 {
        return Err(Invalid::new("origin.chain", "not 32 bytes"));
    }
    Ok(())
}

fn cursor(cursor: &CursorState) -> Result<(), Invalid> {
    text("cursor.name", &cursor.name, MAX_TEXT)?;
    text("cursor.holder", &cursor.holder, MAX_TEXT)
}

fn text(field: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
    at_most(field, "bytes", text.len(), max)?;
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "holds control characters"));
    }
    Ok(())
}

fn at_most(
    field: &'static str,
    what: &'static str,
    count: usize,
    max: usize,
) -> Result<(), Invalid> {
    if count > max {
        let problem = format!("{count} {what}, at most {max} are taken");
        return Err(Invalid::new(field, problem));
    }
    Ok(())
}

fn since_1970(field: &'static str, nanos: i64) -> Result<(), Invalid> {
    if nanos < 0 {
        return Err(Invalid::new(field, "before 1970"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lane, rpc};

    fn state_of(hub: String) -> OriginState {
        let origin = rpc::Origin {
            hub,
            incarnation: Incarnation(u128::MAX).to_bytes(),
            lane: Lane::Bulk.number().into(),
        };
        OriginState {
            origin: Some(origin),
            next_sequence: u64::MAX,
            chain: vec![255; 32].into(),
        }
    }

    /// Everything as large as it may be.
    fn largest() -> HubReport {
        let path = "a".repeat(MAX_TEXT);
        let node = NodeReport {
            node_id: u64::MAX,
            reachable: true,
            role: "r".repeat(MAX_WORD),
            term: u64::MAX,
            applied_index: u64::MAX,
            last_index: u64::MAX,
            segments: u64::MAX,
            disk_bytes: u64::MAX,
            address: "a".repeat(MAX_TEXT),
        };
        let cursor = CursorState {
            name: "n".repeat(MAX_TEXT),
            holder: "h".repeat(MAX_TEXT),
            epoch: u64::MAX,
            next_offset: u64::MAX,
            pinning: true,
        };
        HubReport {
            hub: path.clone(),
            incarnation: Incarnation(u128::MAX).to_bytes(),
            time: i64::MAX,
            received: i64::MAX,
            version: "v".repeat(MAX_WORD),
            nodes: vec![node; MAX_NODES],
            leader_id: Some(u64::MAX),
            next_offset: u64::MAX,
            origins: vec![state_of(path); MAX_ORIGINS],
            cursors: vec![cursor; MAX_CURSORS],
        }
    }

    #[test]
    fn the_largest_report_is_within_the_bytes() {
        assert_eq!(largest().validate().unwrap().as_str(), largest().hub);
        assert_eq!(largest().fit(), largest());
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Edit = fn(&mut HubReport);
        let table: [(Edit, &str); 15] = [
            (|r| r.hub = "a".repeat(257), "invalid report.hub: 257 bytes"),
            (|r| r.hub = "a..b".into(), "invalid report.hub: hub path"),
            (
                |r| r.nodes.push(NodeReport::default()),
                "invalid report.nodes: 17 nodes, at most 16 are taken",
            ),
            (
                |r| r.origins.push(state_of("a".into())),
                "invalid report.origins: 129 origins, at most 128 are taken",
            ),
            (
                |r| r.cursors.push(CursorState::default()),
                "invalid report.cursors: 33 cursors",
            ),
            (|r| r.time = -1, "invalid report.time: before 1970"),
            (|r| r.received = -1, "invalid report.received: before 1970"),
            (
                |r| r.version = "1\n".into(),
                "invalid report.version: holds control characters",
            ),
            (
                |r| r.incarnation = vec![1; 15].into(),
                "invalid report.incarnation: not 16 bytes",
            ),
            (|r| r.nodes[0].role.push('r'), "invalid node.role: 33 bytes"),
            (
                |r| r.nodes[0].address.push('a'),
                "invalid node.address: 257 bytes",
            ),
            (
                |r| r.origins[0] = state_of("b".into()),
                "invalid origin.hub: b is not below hub a",
            ),
            (
                |r| r.origins[0].chain = vec![1; 31].into(),
                "invalid origin.chain: not 32 bytes",
            ),
            (
                |r| r.cursors[0].name.push('n'),
                "invalid cursor.name: 257 bytes",
            ),
            (
                |r| r.cursors[0].holder = "\u{7f}".into(),
                "invalid cursor.holder: holds control characters",
            ),
        ];
        for (edit, message) in table {
            let mut report = largest();
            edit(&mut report);
            let error = report.validate().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}, expected {message}");
        }
    }

    #[test]
    fn what_is_fitted_is_taken_and_keeps_what_is_its_own() {
        let mut report = largest();
        report.hub = "acme".into();
        report.origins = (0..500).map(|n| state_of(format!("acme.e{n}"))).collect();
        report.origins.push(state_of("acme".into()));
        report.origins.push(state_of("other".into()));
        report.cursors[0].name.push('n');
        report.cursors.extend(largest().cursors);
        let fitted = report.fit();
        assert_eq!(fitted.validate().unwrap().as_str(), "acme");
        assert_eq!(fitted.origins[0], state_of("acme".into()));
        assert_eq!(fitted.origins.len(), MAX_ORIGINS);
        assert_eq!(fitted.cursors.len(), MAX_CURSORS);
    }
}
