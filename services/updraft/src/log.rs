//! `updraft log inspect|verify`: what the log files of a stopped node hold, and whether they are
//! what was written.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use prost::Message as _;
use proto::rpc::RaftVote;
use raft_log::segment::inspect::{
    Depth, FileFound, Inspection, SegmentFound, SegmentKind, SlotsFound, inspect,
};
use raft_log::segment::{self, LogPosition};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Show the segments, vote slots and checkpoints in a data directory
    Inspect(Target),
    /// Read every frame, and compare it and every file with its checksum
    Verify(Target),
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Nothing is changed. Exit codes: 0 nothing is wrong, 1 something is or could not be read, 2 usage.")]
struct Target {
    /// A node's data directory, or the log in it
    directory: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Look although a node runs on it; leaves out the newest segment, which changes
    #[arg(long)]
    while_running: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (target, depth) = match &args.command {
        Command::Inspect(target) => (target, Depth::Shape),
        Command::Verify(target) => (target, Depth::Frames),
    };
    let found = match inspect(&target.directory, depth, target.while_running) {
        Ok(found) => found,
        Err(error @ segment::Error::Locked { .. }) => {
            return Err(error).context("a node runs on it; --while-running looks all the same");
        }
        // It tells its cause itself.
        Err(error) => bail!("{error}"),
    };
    let checkpoints = checkpoints(&found);
    if target.json {
        println!("{:#}", json(&found, &checkpoints));
    } else {
        print(&found, &checkpoints);
        println!("\n{}", verdict(&found, depth));
    }
    Ok(match found.problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// One line that says what is wrong and what to do.
fn verdict(found: &Inspection, depth: Depth) -> String {
    let Some(first) = found.problems.first() else {
        return match depth {
            Depth::Shape => "nothing wrong at first sight; `updraft log verify` reads every frame",
            Depth::Frames => "every frame is what was written",
        }
        .into();
    };
    let more = match found.problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!(
        "damaged: {} at byte {}, index {}: {}{more}; if other nodes of the hub hold the log, wipe \
         this one and run `updraft cluster replace`, else keep the files as they are: what is \
         before this place can still be read",
        first.file, first.offset, first.index, first.what
    )
}

/// They lie beside the segments.
fn checkpoints(found: &Inspection) -> Vec<FileFound> {
    let Some(directory) = found.directory.parent() else {
        return Vec::new();
    };
    let files = std::fs::read_dir(directory.join("checkpoints"));
    let files = files.into_iter().flatten().flatten();
    let mut files: Vec<FileFound> = files
        .filter_map(|entry| {
            Some(FileFound {
                file: entry.file_name().into_string().ok()?,
                bytes: entry.metadata().ok()?.len(),
            })
        })
        .collect();
    files.sort_by(|a, b| a.file.cmp(&b.file));
    files
}

fn print(found: &Inspection, checkpoints: &[FileFound]) {
    println!("{}", found.directory.display());
    if let Some((cluster, node)) = found.owner {
        println!("cluster {cluster:032x}, node identity {node:032x}");
    }
    match &found.slots {
        Some(slots) => print_slots(slots),
        None => println!("no vote slots that can be read"),
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "segment",
        "",
        "generation",
        "indexes",
        "terms",
        "used bytes",
        "of",
    ]);
    for segment in &found.segments {
        table.add_row([
            segment.file.clone(),
            kind(segment.kind).into(),
            segment.generation.to_string(),
            indexes(segment),
            terms(segment),
            segment.used_bytes.to_string(),
            segment.bytes.to_string(),
        ]);
    }
    if !table.is_empty() {
        println!("\n{table}");
    }
    for segment in found.segments.iter().filter(|s| s.torn_bytes > 0) {
        println!(
            "{}: {} bytes of a write that was never acknowledged; the next start removes them",
            segment.file, segment.torn_bytes
        );
    }
    for (what, files) in [
        ("spare", &found.spares[..]),
        ("unfinished", &found.unfinished),
        ("checkpoint", checkpoints),
    ] {
        for file in files {
            println!("{what} {}, {} bytes", file.file, file.bytes);
        }
    }
    for problem in &found.problems {
        println!(
            "damaged {} at byte {}, index {}: {}",
            problem.file, problem.offset, problem.index, problem.what
        );
    }
}

fn print_slots(slots: &SlotsFound) {
    let vote = vote(slots).map_or("none".into(), |vote| {
        let committed = if vote.committed { ", as leader" } else { "" };
        format!("term {} for node {}{committed}", vote.term, vote.node_id)
    });
    let index = |position: Option<LogPosition>| match position {
        Some(position) => format!("index {} of term {}", position.index, position.term),
        None => "nothing".into(),
    };
    println!(
        "vote {vote}; purged {}; committed {}; durable below index {}",
        index(slots.purged),
        index(slots.committed),
        slots.durable_end
    );
    if slots.cut_generation > 0 {
        println!("last truncation at index {}", slots.cut_end);
    }
    if slots.one_damaged {
        println!("one of the two vote slots is damaged; the other counts");
    }
}

fn vote(slots: &SlotsFound) -> Option<RaftVote> {
    RaftVote::decode(slots.vote.as_deref()?).ok()
}

fn kind(kind: SegmentKind) -> &'static str {
    match kind {
        SegmentKind::Sealed => "sealed",
        SegmentKind::Open => "open",
        SegmentKind::Obsolete => "obsolete",
        SegmentKind::Damaged => "damaged",
    }
}

fn indexes(segment: &SegmentFound) -> String {
    match segment.last {
        Some(last) => format!("{}–{}", segment.first_index, last.index),
        None => format!("{}–", segment.first_index),
    }
}

fn terms(segment: &SegmentFound) -> String {
    match (segment.first_term, segment.last) {
        (Some(first), Some(last)) if first != last.term => format!("{first}–{}", last.term),
        (_, Some(last)) => last.term.to_string(),
        _ => String::new(),
    }
}

fn json(found: &Inspection, checkpoints: &[FileFound]) -> serde_json::Value {
    let files = |files: &[FileFound]| -> Vec<serde_json::Value> {
        files
            .iter()
            .map(|f| serde_json::json!({ "file": f.file, "bytes": f.bytes }))
            .collect()
    };
    let segments = found.segments.iter().map(|segment| {
        serde_json::json!({
            "file": segment.file,
            "kind": kind(segment.kind),
            "generation": segment.generation,
            "first_index": segment.first_index,
            "last_index": segment.last.map(|last| last.index),
            "first_term": segment.first_term,
            "last_term": segment.last.map(|last| last.term),
            "used_bytes": segment.used_bytes,
            "bytes": segment.bytes,
            "torn_bytes": segment.torn_bytes,
        })
    });
    let problems = found.problems.iter().map(|problem| {
        serde_json::json!({
            "file": problem.file,
            "offset": problem.offset,
            "index": problem.index,
            "what": problem.what,
        })
    });
    serde_json::json!({
        "directory": found.directory,
        "cluster": found.owner.map(|(cluster, _)| format!("{cluster:032x}")),
        "node": found.owner.map(|(_, node)| format!("{node:032x}")),
        "slots": found.slots.as_ref().map(slots_json),
        "segments": segments.collect::<Vec<_>>(),
        "spares": files(&found.spares),
        "unfinished": files(&found.unfinished),
        "checkpoints": files(checkpoints),
        "problems": problems.collect::<Vec<_>>(),
    })
}

fn slots_json(slots: &SlotsFound) -> serde_json::Value {
    let position = |position: Option<LogPosition>| {
        position
            .map(|p| serde_json::json!({ "index": p.index, "term": p.term, "leader": p.leader }))
    };
    let vote = vote(slots).map(|vote| {
        serde_json::json!({
            "term": vote.term, "node": vote.node_id, "committed": vote.committed,
        })
    });
    serde_json::json!({
        "one_damaged": slots.one_damaged,
        "sequence": slots.sequence,
        "vote": vote,
        "purged": position(slots.purged),
        "committed": position(slots.committed),
        "durable_end": slots.durable_end,
        "cut_end": slots.cut_end,
        "cut_generation": slots.cut_generation,
    })
}
