//! `updraft collect`: the machines that a file collects from, without collecting.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use collector::{Outcome, TagOutcome};
use comfy_table::{Table, presets};
use kit::config::{self, ConfigError};
use proto::{Nanos, Quality, Value};

use crate::value;

/// Longer values are cut in the table.
const SHOWN: usize = 40;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Connect to every machine, read every tag once and print it; needs no log
    Test(Test),
}

#[derive(Clone, Debug, clap::Args)]
struct Test {
    /// The hub.yaml with the collectors
    #[arg(short, long, value_name = "FILE", default_value = "hub.yaml")]
    config: PathBuf,
    /// This collector only
    #[arg(long, value_name = "NAME")]
    collector: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Test(test) = args.command;
    let hub = config::load(&test.config)?;
    let outcomes = collector::read_once(&hub, test.collector.as_deref()).await?;
    match &test.collector {
        Some(name) if outcomes.is_empty() => {
            let file = test.config.display().to_string();
            let message = format!("there is no collector {name:?}");
            return Err(ConfigError::of_file(&file, message).into());
        }
        None if outcomes.is_empty() => return Err(hub.missing("collect", "collectors").into()),
        _ => {}
    }
    if test.json {
        println!("{:#}", json(&outcomes));
    } else {
        print(&outcomes);
    }
    Ok(if outcomes.iter().all(is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_good(outcome: &Outcome) -> bool {
    let tags = outcome.tags.as_ref();
    tags.is_ok_and(|tags| tags.iter().all(|tag| tag.problem.is_none()))
}

fn print(outcomes: &[Outcome]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "collector",
        "tag",
        "address",
        "value",
        "type",
        "quality",
        "source time",
        "error",
    ]);
    for outcome in outcomes {
        for tag in outcome.tags.iter().flatten() {
            table.add_row(row(&outcome.collector, tag));
        }
    }
    if !table.is_empty() {
        println!("{table}");
    }
    for outcome in outcomes {
        if let Err(fault) = &outcome.tags {
            println!("{}: {fault}", outcome.collector);
        }
    }
}

fn row(collector: &str, tag: &TagOutcome) -> [String; 8] {
    [
        collector.to_owned(),
        name(tag).to_owned(),
        tag.address.clone(),
        shown(&tag.value),
        tag.kind.clone(),
        quality(tag.quality),
        tag.source_time.map_or("–".into(), time),
        tag.problem.clone().unwrap_or_default(),
    ]
}

/// The end of the topic, which is what the file calls it.
fn name(tag: &TagOutcome) -> &str {
    tag.topic
        .rsplit_once('/')
        .map_or(&tag.topic, |(_, name)| name)
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "–".into(),
        value => value::text(value),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Null | Value::Payload(_) => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::F64(value) if value.is_finite() => (*value).into(),
        Value::F64(value) => value.to_string().into(),
        Value::Text(value) => value.as_str().into(),
    }
}

fn quality(quality: Quality) -> String {
    match quality {
        Quality::GOOD => "good".into(),
        Quality(code) => format!("{code:#010x}"),
    }
}

fn time(at: Nanos) -> String {
    let nanos = u64::try_from(at.0).unwrap_or_default();
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string()
}

fn json(outcomes: &[Outcome]) -> serde_json::Value {
    let tag = |tag: &TagOutcome| {
        serde_json::json!({
            "topic": tag.topic,
            "address": tag.address,
            "value": plain(&tag.value),
            "type": tag.kind,
            "quality": tag.quality.0,
            "source_time_ns": tag.source_time.map(|time| time.0),
            "error": tag.problem,
        })
    };
    let collectors = outcomes.iter().map(|outcome| match &outcome.tags {
        Ok(tags) => serde_json::json!({
            "name": outcome.collector,
            "tags": tags.iter().map(tag).collect::<Vec<_>>(),
        }),
        Err(fault) => serde_json::json!({
            "name": outcome.collector,
            "error": fault.to_string(),
        }),
    });
    serde_json::json!({ "collectors": collectors.collect::<Vec<_>>() })
}
