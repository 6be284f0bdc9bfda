//! What a node is to its hub, asked of the others: one that is not led can't know it by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use proto::rpc::cluster_client::ClusterClient;
use proto::rpc::{MembersRequest, MembersResponse};

use super::Node;
use crate::client::connect_in;

const ASK_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// One of the hub's nodes, with the data that joined.
    Member,
    /// The hub works, and does not know this node.
    NotYet { node_id: u64, address: String },
    /// It knows this node, with other data.
    OtherData { node_id: u64 },
    /// It knows this node, at another address.
    Moved { node_id: u64, address: String },
    /// It knew this node, which was removed since.
    Removed { node_id: u64, address: String },
    /// No other node that belongs to a hub answers.
    Unknown,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Member => f.write_str("a member of the hub"),
            Standing::NotYet { node_id, address } => write!(
                f,
                "node {node_id} is not a member of the hub yet; run `updraft cluster add \
                 {node_id}={address}` on one that is"
            ),
            Standing::OtherData { node_id } => write!(
                f,
                "the data of node {node_id} is not the one that joined the hub; run `updraft \
                 cluster replace {node_id}`"
            ),
            Standing::Moved { node_id, address } => write!(
                f,
                "the hub knows node {node_id} at another address; if it moved, run `updraft \
                 cluster replace {node_id}={address}`"
            ),
            Standing::Removed { node_id, address } => write!(
                f,
                "node {node_id} was removed from the hub; stop it, or run `updraft cluster add \
                 {node_id}={address}`"
            ),
            Standing::Unknown => f.write_str("no node of a hub answers"),
        }
    }
}

impl Node {
    /// Asks all other nodes that the configuration or the membership names.
    pub async fn standing(&self) -> Standing {
        let mut addresses: BTreeSet<String> = self.config.nodes.values().cloned().collect();
        let known = self.members().members.into_iter();
        addresses.extend(known.map(|member| member.address));
        addresses.remove(&self.own_address());
        let answers = join_all(addresses.iter().map(|address| self.ask_members(address))).await;
        // Of those that know of a hub, the one that has seen most of it.
        let answers = answers.into_iter().flatten();
        let best = answers
            .filter(|answer| !answer.members.is_empty())
            .max_by_key(|answer| (answer.leads, answer.last_index));
        best.map_or(Standing::Unknown, |hub| self.standing_in(&hub))
    }

    fn standing_in(&self, hub: &MembersResponse) -> Standing {
        let node_id = self.config.node_id.0;
        let mut members = hub.members.iter();
        let entry = members.find(|member| member.node_id == node_id);
        let address = self.own_address();
        match entry {
            Some(entry) if entry.identity != self.identity.to_bytes() => {
                Standing::OtherData { node_id }
            }
            Some(entry) if entry.address != address => Standing::Moved { node_id, address },
            Some(_) => Standing::Member,
            None if self.hub().is_some() => Standing::Removed { node_id, address },
            None => Standing::NotYet { node_id, address },
        }
    }

    async fn ask_members(&self, address: &str) -> Option<MembersResponse> {
        let environment = &*self.config.environment;
        let channel = connect_in(environment, address, self.config.tls.as_ref()).ok()?;
        let request = MembersRequest {
            group: self.config.group,
        };
        let asked = async move { ClusterClient::new(channel).members(request).await };
        let answer = tokio::time::timeout(ASK_TIMEOUT, asked).await.ok()?;
        Some(answer.ok()?.into_inner())
    }
}
