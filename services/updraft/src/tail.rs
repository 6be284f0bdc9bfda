//! `updraft tail`: records of a hub's committed log, as they stand in it.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use proto::rpc::{Delivery, Envelope};
use proto::{Batch, Lane, Nanos, Offset, Record, TopicFilter};
use raft_log::client::TailFrom;

use crate::client::LogArgs;
use crate::value;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    log: LogArgs,
    /// Offset to begin at; absent: only what comes from now on
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Begin with what was committed this long ago, such as 10m or 2h
    #[arg(long, value_name = "AGO", conflicts_with = "from", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only this lane: normal, urgent or bulk. May be given several times
    #[arg(long, value_parser = lane)]
    lane: Vec<Lane>,
    /// Only topics that match this filter
    #[arg(long, value_name = "FILTER")]
    topic: Option<TopicFilter>,
    /// End with what is there now instead of waiting for more
    #[arg(long)]
    stop: bool,
    /// End after this many records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// One JSON object per record
    #[arg(long)]
    json: bool,
}

fn lane(name: &str) -> Result<Lane, String> {
    let lane = Lane::ALL.into_iter().find(|lane| lane.name() == name);
    lane.ok_or_else(|| "expected normal, urgent or bulk".into())
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let log = args.log.connect()?;
    let offset = match (args.from, args.since) {
        (Some(offset), _) => offset,
        (None, Some(ago)) => log.offset_at(before(ago)).await?.0,
        (None, None) => log.status().await?.next_offset,
    };
    let from = TailFrom {
        offset: Offset(offset),
        lanes: args.lane.clone(),
        stop_at_end: args.stop,
        whole: false,
    };
    let mut tail = pin!(log.tail(from));
    let mut printed = 0;
    loop {
        let response = tokio::select! {
            response = tail.next() => response,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        let Some(response) = response else {
            return Ok(ExitCode::SUCCESS);
        };
        for delivery in response?.deliveries {
            printed = print(&args, &delivery, offset, printed)?;
            if args.count.is_some_and(|count| printed >= count) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// By this machine's clock; the log's own is that of its leader.
fn before(ago: Duration) -> Nanos {
    let ago = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
    Nanos(Nanos::now().0.saturating_sub(ago))
}

/// Prints the records of an envelope; returns how many were printed in all.
fn print(args: &Args, delivery: &Delivery, from: u64, mut printed: u64) -> anyhow::Result<u64> {
    let envelope = delivery.envelope.clone().unwrap_or_default();
    if !envelope.carries_data() {
        eprintln!(
            "{} to {}: {} records without data: {}",
            delivery.offset,
            delivery.offset + u64::from(envelope.count) - 1,
            envelope.count,
            envelope.kind().as_str_name(),
        );
        return Ok(printed);
    }
    let records = Batch::decode(&envelope.batch)
        .with_context(|| format!("decode the batch at offset {}", delivery.offset))?;
    for (index, record) in (0..).zip(&records) {
        let offset = delivery.offset + index;
        let wanted = args
            .topic
            .as_ref()
            .is_none_or(|filter| filter.matches(&record.topic));
        if !wanted || offset < from || args.count.is_some_and(|count| printed >= count) {
            continue;
        }
        printed += 1;
        if args.json {
            println!(
                "{}",
                json(offset, envelope.first_sequence + index, &envelope, record)
            );
        } else {
            println!("{offset} {} {}", record.topic, value::text(&record.value));
        }
    }
    Ok(printed)
}

fn json(offset: u64, sequence: u64, envelope: &Envelope, record: &Record) -> serde_json::Value {
    serde_json::json!({
        "offset": offset,
        "hub": envelope.origin.as_ref().map(|origin| &origin.hub),
        "lane": Lane::from_number(envelope.lane).unwrap_or_default().name(),
        "sequence": sequence,
        "topic": record.topic,
        "source_time_ns": record.source_time.map(|time| time.0),
        "receive_time_ns": record.receive_time.0,
        "quality": record.quality.0,
        "value": value::text(&record.value),
    })
}
