//! `updraft cursor`: how far the consumers of a hub's log are, and letting go of one that is gone.

use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use proto::rpc::CursorState;

use crate::client::LogArgs;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the cursors of a hub
    List(ListArgs),
    /// Let go of the cursor of a consumer that is gone for good, so that it keeps no records
    ///
    /// What that consumer has not read may be deleted from then on. Refused while somebody holds the
    /// cursor: stop that service first.
    #[command(after_help = "Example:\n  updraft cursor release forwarder/bulk")]
    Release(ReleaseArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    log: LogArgs,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// As `updraft cursor list` shows it
    name: String,
    #[command(flatten)]
    log: LogArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => list(&args).await,
        Command::Release(args) => release(&args).await,
    }
}

async fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let cursors = args.log.connect()?.cursors().await?;
    if args.json {
        let all: Vec<_> = cursors.iter().map(json).collect();
        println!("{:#}", serde_json::Value::from(all));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["cursor", "next offset", "keeps records", "holder"]);
    for cursor in &cursors {
        table.add_row([
            cursor.name.clone(),
            cursor.next_offset.to_string(),
            if cursor.pinning { "yes" } else { "no" }.into(),
            cursor.holder.clone(),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn release(args: &ReleaseArgs) -> anyhow::Result<ExitCode> {
    let client = args.log.connect()?;
    let known = client.cursors().await?;
    if !known.iter().any(|cursor| cursor.name == args.name) {
        bail!(
            "there is no cursor {:?}; `updraft cursor list` shows them",
            args.name
        );
    }
    let released = client.release_cursor(&args.name).await;
    let cursor = released.with_context(|| format!("release cursor {:?}", args.name))?;
    if args.json {
        println!("{:#}", json(&cursor));
    } else {
        println!(
            "cursor {} keeps no records any more; it stands at {}",
            cursor.name, cursor.next_offset
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn json(cursor: &CursorState) -> serde_json::Value {
    serde_json::json!({
        "name": cursor.name,
        "next_offset": cursor.next_offset,
        "pinning": cursor.pinning,
        "holder": cursor.holder,
    })
}
