//! `updraft cluster`: which nodes form a hub, and changing that while it works.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::{Table, presets};
use kit::config::{HostPort, Scalar as _};
use proto::rpc::change_request::Change;
use proto::rpc::{
    AddNode, ChangeProgress, ChangeStep, HubMember, MembersResponse, RemoveNode, ReplaceNode,
};

use crate::client::LogArgs;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the hub's nodes: who votes, who learns, who is behind
    Status(StatusArgs),
    /// Let a new node join: it gets all of the log first, then its vote
    #[command(after_help = "Examples:
  updraft cluster add 2=10.0.0.2:7400
  updraft cluster add 4=10.0.0.4:7400 --learner

Start the new node first; its log says that it waits. Ctrl-C while it catches up leaves it a
learner: the same command goes on from there, and `updraft cluster remove` takes it out again.")]
    Add(AddArgs),
    /// Take a node out, for good or to move it
    #[command(after_help = "Examples:
  updraft cluster remove 3

What would leave the hub without a majority that answers is refused. The leader may be removed: it
hands over first. Stop the node afterwards. A change that is proposed is not taken back by Ctrl-C.")]
    Remove(RemoveArgs),
    /// Take a node back that lost its data, or that moved to another address
    #[command(after_help = "Examples:
  updraft cluster replace 2
  updraft cluster replace 2=10.0.0.12:7400

Start the node with an empty data_dir and its old node.id first. Who it was is taken out of the hub,
who it is now joins, gets all of the log, then its vote. After Ctrl-C the same command goes on.")]
    Replace(ReplaceArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    log: LogArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// Its node.id, and where the hub's nodes reach its log.listen
    #[arg(value_name = "NODE_ID=HOST:PORT", value_parser = node_at)]
    node: (u64, String),
    /// It gets everything, but has no vote
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    log: LogArgs,
    /// A JSON object per step
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    #[arg(value_name = "NODE_ID")]
    node: u64,
    /// Also when the nodes that stay can't work until others come back
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    log: LogArgs,
    /// A JSON object per step
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplaceArgs {
    /// Its node.id, and its address if that is another one now
    #[arg(value_name = "NODE_ID[=HOST:PORT]", value_parser = node_maybe_at)]
    node: (u64, String),
    #[command(flatten)]
    log: LogArgs,
    /// A JSON object per step
    #[arg(long)]
    json: bool,
}

fn node_at(text: &str) -> Result<(u64, String), String> {
    let expected = || format!("{text:?} is not NODE_ID=HOST:PORT, such as 2=10.0.0.2:7400");
    let (id, address) = text.split_once('=').ok_or_else(expected)?;
    let id = id.parse().map_err(|_| expected())?;
    let address = HostPort::parse(address).ok_or_else(expected)?;
    Ok((id, address.to_string()))
}

fn node_maybe_at(text: &str) -> Result<(u64, String), String> {
    match text.parse() {
        Ok(id) => Ok((id, String::new())),
        Err(_) => node_at(text),
    }
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(args) => status(&args).await,
        Command::Add(args) => {
            let (node_id, address) = args.node;
            let learner = args.learner;
            let add = AddNode {
                node_id,
                address,
                learner,
            };
            change(&args.log, Change::Add(add), args.json).await
        }
        Command::Remove(args) => {
            let remove = RemoveNode {
                node_id: args.node,
                force: args.force,
            };
            change(&args.log, Change::Remove(remove), args.json).await
        }
        Command::Replace(args) => {
            let (node_id, address) = args.node;
            let replace = ReplaceNode { node_id, address };
            change(&args.log, Change::Replace(replace), args.json).await
        }
    }
}

async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let hub = args.log.connect()?.members().await?;
    if args.json {
        println!("{:#}", json(&hub));
    } else {
        print(&hub);
    }
    Ok(if hub.leads {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn change(log: &LogArgs, change: Change, as_json: bool) -> anyhow::Result<ExitCode> {
    let client = log.connect()?;
    let mut last = String::new();
    let changing = client.change_members(change, |progress| {
        if as_json {
            println!("{}", step_json(progress));
        } else if progress.message != last && progress.step() != ChangeStep::Done {
            println!("{}", progress.message);
            last.clone_from(&progress.message);
        }
        // A program that reads along must see each step when it is taken.
        let _ = std::io::stdout().flush();
    });
    tokio::select! {
        changed = changing => changed?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("wait for Ctrl-C")?;
            eprintln!(
                "stopped waiting; the hub works on as it is, see `updraft cluster status`, and the \
                 same command goes on from here"
            );
            return Ok(ExitCode::FAILURE);
        }
    }
    if !as_json {
        print(&client.members().await?);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(hub: &MembersResponse) {
    let voters = hub.members.iter().filter(|member| member.voter).count();
    let name = match hub.hub.is_empty() {
        true => "(not formed yet)",
        false => &hub.hub,
    };
    let leader = match (hub.leads, hub.leader_id) {
        (true, Some(id)) => format!("node {id} leads"),
        _ => format!(
            "no leader answers (as node {} sees it): without a majority of the voters nothing is \
             taken and no node can be changed",
            hub.node_id
        ),
    };
    println!("hub {name}: {leader}");
    match voters {
        0 => println!("no members yet"),
        1 => println!("1 voter: acknowledged means on this one disk"),
        n => println!(
            "{n} voters: acknowledged means on {} disks; the hub works with {} of them gone",
            n / 2 + 1,
            (n - 1) / 2
        ),
    }
    if voters > 0 && voters % 2 == 0 {
        println!("an even number of voters bears no more losses than one less would");
    }
    if hub.changing {
        println!("a change of the nodes is under way");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "node",
        "address",
        "role",
        "behind by",
        "heard of",
    ]);
    for member in &hub.members {
        table.add_row([
            member.node_id.to_string(),
            member.address.clone(),
            role(hub, member).into(),
            behind(hub, member),
            heard(member),
        ]);
    }
    if !hub.members.is_empty() {
        println!("\n{table}");
    }
}

pub(crate) fn role(hub: &MembersResponse, member: &HubMember) -> &'static str {
    match (Some(member.node_id) == hub.leader_id, member.voter) {
        (true, _) => "leader",
        (false, true) => "follower",
        (false, false) => "learner",
    }
}

/// Entries of the log that a node is not known to hold; only the leader knows.
pub(crate) fn behind(hub: &MembersResponse, member: &HubMember) -> String {
    match entries_behind(hub, member) {
        Some(entries) => entries.to_string(),
        None => "–".into(),
    }
}

pub(crate) fn entries_behind(hub: &MembersResponse, member: &HubMember) -> Option<u64> {
    let leader = Some(member.node_id) == hub.leader_id;
    let held = if leader {
        hub.last_index
    } else {
        member.matched_index.unwrap_or_default()
    };
    hub.leads.then(|| hub.last_index.saturating_sub(held))
}

fn heard(member: &HubMember) -> String {
    match member.silent_ms {
        None => "–".into(),
        Some(ms) if ms < 2000 => "now".into(),
        Some(ms) => format!("{} s ago", ms / 1000),
    }
}

fn step_json(progress: &ChangeProgress) -> serde_json::Value {
    let step = match progress.step() {
        ChangeStep::Unspecified | ChangeStep::Begun => "begun",
        ChangeStep::Removed => "removed",
        ChangeStep::CatchingUp => "catching-up",
        ChangeStep::Promoting => "promoting",
        ChangeStep::Done => "done",
    };
    serde_json::json!({
        "step": step,
        "message": progress.message,
        "matched_index": progress.matched_index,
        "last_index": progress.last_index,
    })
}

fn json(hub: &MembersResponse) -> serde_json::Value {
    let members = hub.members.iter().map(|member| {
        serde_json::json!({
            "node": member.node_id,
            "address": member.address,
            "identity": hex::encode(&member.identity),
            "role": role(hub, member),
            "voter": member.voter,
            "behind": entries_behind(hub, member),
            "silent_ms": member.silent_ms,
        })
    });
    serde_json::json!({
        "hub": hub.hub,
        "leader": hub.leader_id,
        "has_quorum": hub.leads,
        "last_index": hub.last_index,
        "changing": hub.changing,
        "members": members.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_number_and_an_address() {
        assert_eq!(
            node_at("2=10.0.0.2:7400"),
            Ok((2, "10.0.0.2:7400".to_owned()))
        );
        assert_eq!(
            node_at("2=log-2.log:7400"),
            Ok((2, "log-2.log:7400".to_owned()))
        );
        for wrong in ["2", "x=10.0.0.2:7400", "2=10.0.0.2", "=:7400", ""] {
            assert!(node_at(wrong).is_err(), "{wrong}");
        }
        assert_eq!(node_maybe_at("3"), Ok((3, String::new())));
        assert_eq!(node_maybe_at("3=a:1"), Ok((3, "a:1".to_owned())));
        assert!(node_maybe_at("a").is_err());
    }

    #[test]
    fn only_the_leader_knows_who_is_behind() {
        let member = HubMember {
            node_id: 2,
            matched_index: Some(90),
            ..Default::default()
        };
        let mut hub = MembersResponse {
            leader_id: Some(1),
            leads: true,
            last_index: 100,
            ..Default::default()
        };
        assert_eq!(behind(&hub, &member), "10");
        hub.leader_id = Some(2);
        assert_eq!(behind(&hub, &member), "0");
        hub.leads = false;
        assert_eq!(behind(&hub, &member), "–");
    }
}
