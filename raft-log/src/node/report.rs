//! How this node and its hub are, cheaply: asked by every forwarder and console once a second.

use openraft::async_runtime::WatchReceiver as _;
use proto::rpc::{HubReport, NodeReport};

use super::Node;

/// A node in numbers, for who draws them.
#[derive(Clone, Debug)]
pub struct Gauges {
    pub leads: bool,
    /// It follows a leader, or leads and was answered by a majority within an election's time.
    pub has_quorum: bool,
    pub term: u64,
    pub applied_index: u64,
    pub last_index: u64,
    pub next_offset: u64,
    pub segments: u64,
    pub disk_bytes: u64,
    /// Next offset of each.
    pub cursors: Vec<(String, u64)>,
    /// If it leads: which entry each of the others is known to hold.
    pub followers: Vec<(u64, u64)>,
    pub first_offset: u64,
    /// What the log's directory takes, and what may be added to it.
    pub used_bytes: u64,
    pub left_bytes: u64,
}

impl Node {
    pub fn gauges(&self) -> Gauges {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let (segments, disk_bytes) = self.shared.segments.size();
        let own = self.config.node_id.0;
        let held = metrics.replication.iter().flatten();
        let followers = held
            .filter(|(id, _)| **id != own)
            .map(|(id, log_id)| (*id, log_id.as_ref().map_or(0, |log_id| log_id.index())));
        let followers = followers.collect();
        let room = self.space.room();
        let state = self.shared.state();
        let cursors = state.cursors.iter();
        Gauges {
            leads: metrics.current_leader == Some(own),
            has_quorum: self.has_quorum(),
            term: metrics.current_term,
            applied_index: metrics.last_applied.map_or(0, |log_id| log_id.index()),
            last_index: metrics.last_log_index.unwrap_or_default(),
            next_offset: state.next_offset,
            segments,
            disk_bytes,
            cursors: cursors
                .map(|cursor| (cursor.name, cursor.next_offset))
                .collect(),
            followers,
            first_offset: state.retention.first_offset,
            used_bytes: room.used,
            left_bytes: room.left,
        }
    }

    /// The hub as this node sees it: the node itself in full, of the others what the membership
    /// says. A node that is part of no hub yet answers with the path of its configuration.
    pub fn report(&self) -> HubReport {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let (segments, disk_bytes) = self.shared.segments.size();
        let own = NodeReport {
            node_id: self.config.node_id.0,
            reachable: true,
            role: format!("{:?}", metrics.state).to_lowercase(),
            term: metrics.current_term,
            applied_index: metrics.last_applied.map_or(0, |log_id| log_id.index()),
            last_index: metrics.last_log_index.unwrap_or_default(),
            segments,
            disk_bytes,
            address: self.own_address(),
        };
        let others = metrics.membership_config.membership().nodes();
        let others = others
            .filter(|(id, _)| **id != own.node_id)
            .map(|(id, member)| NodeReport {
                node_id: *id,
                address: member.address.clone(),
                ..Default::default()
            });
        let mut nodes: Vec<NodeReport> = others.chain([own.clone()]).collect();
        nodes.sort_by_key(|node| node.node_id);
        let state = self.shared.state();
        let (hub, incarnation) = match &state.hub {
            Some(hub) => (hub.path.to_string(), hub.incarnation.to_bytes()),
            None => (self.config.hub.to_string(), Default::default()),
        };
        HubReport {
            hub,
            incarnation,
            time: self.config.environment.now().0,
            received: 0,
            version: env!("CARGO_PKG_VERSION").into(),
            nodes,
            // One that nobody hears leads nobody.
            leader_id: metrics.current_leader.filter(|_| self.has_quorum()),
            next_offset: state.next_offset,
            origins: state.origins.iter().map(|(_, origin)| origin).collect(),
            cursors: state.cursors.iter().collect(),
        }
    }

    pub(super) fn own_address(&self) -> String {
        let address = self.config.nodes.get(&self.config.node_id);
        address.cloned().unwrap_or_default()
    }
}
