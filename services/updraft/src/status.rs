//! `updraft status`: a hub's nodes, what it holds and who reads it.

mod retention;
use std::collections::BTreeMap;
use std::process::ExitCode;

use comfy_table::{Table, presets};
use proto::Lane;
use proto::rpc::StatusResponse;

use crate::client::LogArgs;
use crate::cluster;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    log: LogArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.log.connect()?;
    let status = client.status().await?;
    // The leader alone knows who is behind.
    let members = client.members().await.unwrap_or_default();
    let behind: Behind = members
        .members
        .iter()
        .filter_map(|member| Some((member.node_id, cluster::entries_behind(&members, member)?)))
        .collect();
    if args.json {
        println!("{:#}", json(&status, &behind));
    } else {
        print(&status, &behind);
    }
    let has_leader = status.leader_id.is_some();
    Ok(if has_leader {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many entries of the log each node does not hold yet.
type Behind = BTreeMap<u64, u64>;

fn print(status: &StatusResponse, behind: &Behind) {
    let voters = status.nodes.iter().filter(|node| node.voter).count();
    let leader = status
        .leader_id
        .map_or("none: no quorum".into(), |id| format!("node {id}"));
    println!("hub {}, leader {leader}, term {}", status.hub, status.term);
    match voters {
        0 => println!("not formed yet"),
        1 => println!("1 node: acknowledged means on this one disk"),
        n => println!("{n} nodes: acknowledged means on {} disks", n / 2 + 1),
    }
    println!(
        "{} records, {} segments, {:.1} MiB (as node {} sees it)",
        status.next_offset,
        status.segments,
        mebibytes(status.disk_bytes),
        status.node_id
    );
    if let Some(retention) = &status.retention {
        retention::print(retention, status.node_id);
    }
    let mut nodes = table(&["node", "address", "role", "behind by"]);
    for node in &status.nodes {
        let role = match (Some(node.node_id) == status.leader_id, node.voter) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        let behind = behind.get(&node.node_id);
        let behind = behind.map_or("–".into(), ToString::to_string);
        nodes.add_row([
            node.node_id.to_string(),
            node.address.clone(),
            role.into(),
            behind,
        ]);
    }
    let mut origins = table(&["origin", "lane", "records"]);
    for state in &status.origins {
        let origin = state.origin.clone().unwrap_or_default();
        let lane = Lane::from_number(origin.lane).unwrap_or_default();
        origins.add_row([
            origin.hub,
            lane.to_string(),
            state.next_sequence.to_string(),
        ]);
    }
    let mut cursors = table(&["cursor", "held by", "next offset", "behind by"]);
    for cursor in &status.cursors {
        let behind = status.next_offset.saturating_sub(cursor.next_offset);
        cursors.add_row([
            cursor.name.clone(),
            cursor.holder.clone(),
            cursor.next_offset.to_string(),
            behind.to_string(),
        ]);
    }
    let lost = status.retention.as_ref().map(retention::lost_table);
    for table in [nodes, origins, cursors].into_iter().chain(lost) {
        if !table.is_empty() {
            println!("\n{table}");
        }
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.iter().copied());
    table
}

#[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn json(status: &StatusResponse, behind: &Behind) -> serde_json::Value {
    let nodes = status.nodes.iter().map(|node| {
        serde_json::json!({
            "node": node.node_id,
            "address": node.address,
            "voter": node.voter,
            "leader": Some(node.node_id) == status.leader_id,
            "matched_index": node.matched_index,
            "behind": behind.get(&node.node_id),
        })
    });
    let origins = status.origins.iter().map(|state| {
        let origin = state.origin.clone().unwrap_or_default();
        serde_json::json!({
            "hub": origin.hub,
            "incarnation": hex::encode(&origin.incarnation),
            "lane": Lane::from_number(origin.lane).unwrap_or_default().name(),
            "next_sequence": state.next_sequence,
            "chain": hex::encode(&state.chain),
        })
    });
    let cursors = status.cursors.iter().map(|cursor| {
        serde_json::json!({
            "name": cursor.name,
            "holder": cursor.holder,
            "next_offset": cursor.next_offset,
            "pinning": cursor.pinning,
        })
    });
    serde_json::json!({
        "hub": status.hub,
        "incarnation": hex::encode(&status.incarnation),
        "node": status.node_id,
        "role": status.role,
        "term": status.term,
        "leader": status.leader_id,
        "applied_index": status.applied_index,
        "last_index": status.last_index,
        "next_offset": status.next_offset,
        "segments": status.segments,
        "disk_bytes": status.disk_bytes,
        "state_hash": hex::encode(&status.state_hash),
        "nodes": nodes.collect::<Vec<_>>(),
        "origins": origins.collect::<Vec<_>>(),
        "cursors": cursors.collect::<Vec<_>>(),
        "retention": status.retention.as_ref().map(retention::json),
    })
}
