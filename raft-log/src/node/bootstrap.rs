//! Forming a hub from its configured nodes, once.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::ids::NodeIdentity;
use proto::rpc::command::Operation;
use proto::rpc::raft_client::RaftClient;
use proto::rpc::{IdentityRequest, IdentityResponse, InitHub};
use proto::{Incarnation, NodeId};
use tokio::time::sleep;

use super::{Leader, Node};
use crate::client::connect_in;
use crate::raft::types::Member;

const RETRY_PAUSE: Duration = Duration::from_millis(100);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a person is told what the hub waits for.
const REMIND_EVERY: u32 = 100;

/// The node with the lowest id asks all others who they are, and makes them members together with
/// the identity of their data. The others wait to be called.
pub(super) async fn form(node: &Node) {
    let nodes = &node.config.nodes;
    if nodes.keys().next() != Some(&node.config.node_id) {
        return;
    }
    for attempt in 0.. {
        if node.raft.is_initialized().await.unwrap_or(true) {
            return;
        }
        match members(node).await {
            Ok(members) => {
                let names: Vec<u64> = members.keys().copied().collect();
                tracing::info!(nodes = ?names, "forming the hub");
                // Refused when another attempt was faster, which the next round sees.
                if let Err(error) = node.raft.initialize(members).await {
                    tracing::warn!(%error, "the hub was not formed");
                } else {
                    // There is no leader that a timeout would have to be waited for.
                    let _ = node.raft.trigger().elect(true).await;
                }
            }
            Err(Absent::Silent(id)) if attempt % REMIND_EVERY == 0 => {
                tracing::info!(node = id.0, "waiting for a node to form the hub with");
            }
            Err(Absent::Silent(_)) => {}
            Err(Absent::FormedBefore(id)) => {
                tracing::info!(
                    node = id.0,
                    "the hub was formed before; this node waits to join it"
                );
                return;
            }
        }
        sleep(RETRY_PAUSE).await;
    }
}

enum Absent {
    Silent(NodeId),
    FormedBefore(NodeId),
}

async fn members(node: &Node) -> Result<BTreeMap<u64, Member>, Absent> {
    let mut members = BTreeMap::new();
    for (id, address) in &node.config.nodes {
        let identity = if *id == node.config.node_id {
            node.identity
        } else {
            let answer = ask(node, address).await.ok_or(Absent::Silent(*id))?;
            if answer.initialised {
                return Err(Absent::FormedBefore(*id));
            }
            let is_it = answer.node_id == id.0;
            NodeIdentity::from_bytes(&answer.identity)
                .filter(|_| is_it)
                .ok_or(Absent::Silent(*id))?
        };
        members.insert(
            id.0,
            Member {
                address: address.clone(),
                identity,
            },
        );
    }
    Ok(members)
}

async fn ask(node: &Node, address: &str) -> Option<IdentityResponse> {
    let config = &node.config;
    let channel = connect_in(&*config.environment, address, config.tls.as_ref()).ok()?;
    let mut client = RaftClient::new(channel);
    let request = IdentityRequest {
        group: node.config.group,
    };
    let answer = tokio::time::timeout(ASK_TIMEOUT, client.identity(request))
        .await
        .ok()?;
    Some(answer.ok()?.into_inner())
}

/// Whoever leads first gives the hub its path and incarnation.
pub(super) async fn name(node: &Node) {
    while node.hub().is_none() {
        if node.leader() == Leader::This {
            let init = InitHub {
                hub: node.config.hub.to_string(),
                incarnation: Incarnation::random().to_bytes(),
            };
            if let Err(refusal) = node.propose(Operation::InitHub(init)).await {
                tracing::debug!(reason = refusal.message, "the hub has no name yet");
            }
        }
        sleep(RETRY_PAUSE).await;
    }
    tell_of_other_addresses(node);
    if let Some(hub) = node.hub() {
        tracing::info!(hub = %hub.path, incarnation = %hub.incarnation, "hub is formed");
    }
}

/// Who belongs to a hub is decided by its log; a file that says something else is not followed.
fn tell_of_other_addresses(node: &Node) {
    let members: BTreeMap<u64, String> = node
        .status()
        .nodes
        .into_iter()
        .map(|member| (member.node_id, member.address))
        .collect();
    let configured: BTreeMap<u64, String> = node
        .config
        .nodes
        .iter()
        .map(|(id, address)| (id.0, address.clone()))
        .collect();
    if members != configured {
        tracing::info!(
            ?members,
            ?configured,
            "log.nodes differs from the members of the hub; the members count"
        );
    }
}
