//! Who the hub's nodes are, and how they change.

use std::sync::Arc;
use std::time::Duration;

use super::{Judged, World};
use crate::history::Change;
use crate::host::Host;
use crate::plan::Death;

/// With fewer, the hub stands still until a disk is back that was lost.
const VOTERS: usize = 3;

impl World {
    /// As the newest leader has it; none while there is no leader.
    pub(super) fn members(&self) -> Vec<Arc<Host>> {
        let (members, _) = self.membership();
        let mut hosts = self.hosts.clone();
        hosts.retain(|host| members.iter().any(|(id, _)| *id == host.id));
        hosts
    }

    /// Members, which of them vote, and whether that is being changed.
    fn membership(&self) -> (Vec<(u64, bool)>, bool) {
        let nodes = self.hosts.iter().filter_map(|host| host.node());
        let leaders = nodes.map(|node| (node.gauges(), node));
        let newest = leaders.filter(|(gauges, _)| gauges.leads);
        let Some((_, node)) = newest.max_by_key(|(gauges, _)| gauges.term) else {
            return (Vec::new(), true);
        };
        let hub = node.members();
        let members = hub.members.iter().map(|it| (it.node_id, it.voter));
        (members.collect(), hub.changing)
    }

    /// Whether the operator is idle and a node may be taken from the hub.
    fn is_free(&self, node: u64) -> bool {
        let (members, changing) = self.membership();
        let voters = members.iter().filter(|(_, votes)| *votes).count();
        let idle = !changing && self.history.asked().is_none();
        idle && voters >= VOTERS && members.contains(&(node, true))
    }

    pub(super) fn add(&mut self, node: u64) {
        let host = self.host(node);
        if host.is_used() || self.history.asked().is_some() {
            return;
        }
        host.set_used(true);
        self.start(node);
        self.history.ask(Change::Add(node));
    }

    pub(super) fn remove(&mut self, node: u64) {
        if self.is_free(node) {
            self.history.ask(Change::Remove(node));
        }
    }

    pub(super) fn replace(&mut self, node: u64) -> Judged {
        if !self.is_free(node) {
            return Ok(());
        }
        self.crash(node, Death::Machine, Duration::from_millis(500))?;
        self.lose(node);
        self.history.ask(Change::Replace(node));
        Ok(())
    }

    pub(super) fn changed(&mut self, change: Change, done: bool) -> Judged {
        if !done {
            return Ok(());
        }
        self.coverage.changed(change);
        if let Change::Remove(node) = change {
            self.crash(node, Death::Process, Duration::ZERO)?;
            self.host(node).set_used(false);
            self.lose(node);
        }
        Ok(())
    }

    fn lose(&mut self, node: u64) {
        self.host(node).wipe();
        self.eye.lose(node);
    }
}
