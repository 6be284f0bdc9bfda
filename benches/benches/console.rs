//! The console: how long the server takes for pages of the tag browser with few and with many tags,
//! and what people who look cost the hub, in one run.
//!
//! `cargo bench -p updraft-benches --bench console -- --seconds 5 --viewers 100`
//!
//! The hub is a process of its own; the console, its viewers over HTTP and the producers are this
//! one. Rates with and without viewers are measured in turns, so that a disk that gets slower is
//! slower for both.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "console/browser.rs"]
mod browser;
#[path = "console/load.rs"]
mod load;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use comfy_table::{Table, presets};
use kit::service::Context;
use raft_log::client::LogClient;
use tokio_util::sync::CancellationToken;
use updraft::pyramid::{HubSpec, Pyramid};
use updraft_benches::start;
use updraft_benches::table::percentile;

use browser::Browser;
use load::Load;

#[derive(Debug, Parser)]
struct Args {
    /// Seconds per measurement of the append rate
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often it is measured with viewers and without
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// People who look at the tag list, each at a screen full of tags
    #[arg(long, default_value_t = 100)]
    viewers: usize,
    #[arg(long, default_value_t = 16)]
    producers: usize,
    /// Records that each of them has under way
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Tags of the small and of the large hub
    #[arg(long, value_delimiter = ',', default_value = "500,50000")]
    tags: Vec<usize>,
    /// How often each page is asked for
    #[arg(long, default_value_t = 200)]
    requests: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    start::main(async |args: Args| measure(&args).await)
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    println!(
        "{} requests per page; {} s x {} rounds, {} producers x {} in flight, {} viewers; {} processors",
        args.requests,
        args.seconds,
        args.rounds,
        args.producers,
        args.in_flight,
        args.viewers,
        std::thread::available_parallelism()?,
    );
    let directory = start::data_directory(None)?;
    let mut columns = Vec::new();
    for tags in &args.tags {
        let hub = Hub::start(&directory.path().join(tags.to_string())).await?;
        load::publish(&hub.client, *tags).await?;
        columns.push(pages(args, &hub, *tags).await?);
        hub.stop().await?;
    }
    print_pages(&args.tags, &columns);
    let hub = Hub::start(&directory.path().join("viewers")).await?;
    viewers(args, &hub).await?;
    hub.stop().await
}

/// A log in a process of its own and a console in this one.
struct Hub {
    pyramid: Pyramid,
    client: LogClient,
    console: SocketAddr,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), console::Error>>,
}

impl Hub {
    async fn start(directory: &Path) -> anyhow::Result<Hub> {
        let executable = std::env::current_exe().context("find this executable")?;
        let mut pyramid = Pyramid::new(executable, directory.to_owned());
        pyramid.add(HubSpec::new("bench"))?;
        pyramid.start(Duration::from_secs(30)).await?;
        let hub = pyramid.hub("bench")?;
        let client = hub.client().clone();
        let log = hub.nodes().first().context("a hub has a node")?.log();
        let yaml = format!(
            "hub: {{ path: bench }}\ndata_dir: .\nlog: {{ listen: \"{log}\" }}\n\
             console: {{ listen: \"127.0.0.1:0\" }}\n"
        );
        let shutdown = CancellationToken::new();
        let config = kit::config::from_str("console.yaml", &yaml)?;
        let console = console::build(Context::new(config, shutdown.clone())?).await?;
        Ok(Hub {
            pyramid,
            client,
            console: console.address(),
            shutdown,
            running: tokio::spawn(console.run()),
        })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.running.await??;
        self.pyramid.stop(Duration::from_secs(10)).await
    }
}

/// What is asked for, and what it is called in the table.
const PAGES: [(&str, &str); 7] = [
    ("page", "/tags"),
    (
        "page of a machine",
        "/tags?path=umh/v1/bench/area-1/machine-1",
    ),
    ("tree, one level", "/tags/tree?path=umh/v1/bench"),
    ("search, few hits", "/tags/list?q=machine-3+signal-17"),
    ("search, all hits", "/tags/list?q=signal"),
    ("search, none", "/tags/list?q=nowhere"),
    (
        "one tag",
        "/tags/one?topic=umh/v1/bench/area-1/machine-1/_raw/signal-1",
    ),
];

/// 50th and 99th percentile of each page.
async fn pages(args: &Args, hub: &Hub, tags: usize) -> anyhow::Result<Vec<(Duration, Duration)>> {
    let mut browser = Browser::connect(hub.console).await?;
    let known = format!(">{} tags<", thousands(tags));
    let start = Instant::now();
    while !browser.get("/tags").await?.contains(&known) {
        ensure!(
            start.elapsed() < Duration::from_secs(120),
            "the console never had {tags} tags"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut rows = Vec::new();
    for (_, path) in PAGES {
        let mut times = Vec::with_capacity(args.requests);
        for _ in 0..args.requests {
            let start = Instant::now();
            browser.get(path).await?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        rows.push((percentile(&times, 0.5), percentile(&times, 0.99)));
    }
    Ok(rows)
}

fn thousands(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

fn print_pages(tags: &[usize], columns: &[Vec<(Duration, Duration)>]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let mut header = vec!["answered in ms: p50 / p99".to_owned()];
    header.extend(tags.iter().map(|tags| format!("{tags} tags")));
    header.push("x of p50".to_owned());
    table.set_header(header);
    for (index, (name, _)) in PAGES.iter().enumerate() {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let cells = columns.iter().map(|column| {
            let (p50, p99) = column[index];
            format!("{:.2} / {:.2}", ms(p50), ms(p99))
        });
        let first = columns.first().map_or(1.0, |column| ms(column[index].0));
        let last = columns.last().map_or(1.0, |column| ms(column[index].0));
        let mut row = vec![(*name).to_owned()];
        row.extend(cells);
        row.push(format!("{:.1}", last / first));
        table.add_row(row);
    }
    println!("{table}");
}

/// The append rate with nobody and with many who look, in turns.
async fn viewers(args: &Args, hub: &Hub) -> anyhow::Result<()> {
    let load = Load {
        producers: args.producers,
        in_flight: args.in_flight,
        time: Duration::from_secs(args.seconds),
    };
    // The tags have to be there before anybody can look at them.
    load.run(&hub.client).await?;
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "round",
        "appends/s, nobody",
        "appends/s, viewers",
        "share",
        "messages/s",
    ]);
    let mut shares = Vec::new();
    for round in 1..=args.rounds {
        // Who begins changes too.
        let (alone, watched) = match round % 2 {
            0 => {
                let watched = looked_at(args, hub, load).await?;
                (load.run(&hub.client).await?, watched)
            }
            _ => {
                let alone = load.run(&hub.client).await?;
                (alone, looked_at(args, hub, load).await?)
            }
        };
        let (rate, messages) = watched;
        shares.push(rate / alone);
        table.add_row([
            round.to_string(),
            format!("{alone:.0}"),
            format!("{rate:.0}"),
            format!("{:.3}", rate / alone),
            format!("{messages:.0}"),
        ]);
    }
    println!("{table}");
    shares.sort_by(f64::total_cmp);
    let median = shares.get(shares.len() / 2).copied().unwrap_or(1.0);
    println!(
        "{} viewers leave {:.1} % of the append rate (median)",
        args.viewers,
        median * 100.0
    );
    Ok(())
}

/// The append rate while they look, and the messages that they got per second.
async fn looked_at(args: &Args, hub: &Hub, load: Load) -> anyhow::Result<(f64, f64)> {
    let viewers = browser::Viewers::start(hub.console, args.viewers).await?;
    let start = Instant::now();
    let before = viewers.messages();
    let rate = load.run(&hub.client).await?;
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let messages = (viewers.messages() - before) as f64 / start.elapsed().as_secs_f64();
    ensure!(messages > 0.0, "nobody got a message");
    viewers.stop().await;
    Ok((rate, messages))
}
