//! `updraft audit`: proves from the data itself that layers hold the same, or names the first
//! difference (I8).
//!
//! Each log is read from where it begins, which its state proves as far as it can: it keeps the heads
//! of the origins at the first offset that is retained. Sequences must be dense, digests and hash chains are
//! computed again, and the heads must be what the log says they are. Then each layer is compared
//! with the next one below, batch by batch, and each historian with its log, row by row.

pub(crate) mod compare;
pub(crate) mod layer;
mod report;
mod rows;
pub(crate) mod walk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use historian::Historian;
use kit::config::{self, HistorianBackend, HubConfig};
use proto::rpc::StatusResponse;
use raft_log::client::LogClient;

use layer::{Difference, Layer};
use report::{Audited, Report};
use rows::Rows;
use walk::Walk;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing differs, 1 something does or could not be read, 2 usage or configuration.
A layer that lags behind the one below it is no difference; the table says by how much.")]
pub struct Args {
    /// A hub.yaml of each hub to read. Hubs above one another are compared with each other, and
    /// each with the historian in its file
    #[arg(short, long, value_name = "FILE", default_value = "hub.yaml")]
    config: Vec<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let report = audit(&args.config).await?;
    if args.json {
        println!("{:#}", report.json());
    } else {
        report.print();
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn audit(files: &[PathBuf]) -> anyhow::Result<Report> {
    let configs: Result<Vec<HubConfig>, _> = files.iter().map(config::load).collect();
    let mut configs: Vec<(&PathBuf, HubConfig)> = files.iter().zip(configs?).collect();
    // From the top down: what arrives meanwhile must not look as if an upper layer had more.
    configs.sort_by_key(|(_, config)| config.hub.path.as_str().len());
    let mut hubs: Vec<Audited> = Vec::new();
    let mut differences: Vec<Difference> = Vec::new();
    for (file, config) in configs {
        let hub = config.hub.path.clone();
        if hubs.iter().any(|audited| audited.layer.hub == *hub) {
            bail!("{}: hub {} was given twice", file.display(), *hub);
        }
        let (audited, found) = Box::pin(read(&config))
            .await
            .with_context(|| format!("read hub {} ({})", *hub, file.display()))?;
        differences.extend(found);
        hubs.push(audited);
    }
    let layers: Vec<Layer> = hubs.iter().map(|audited| audited.layer.clone()).collect();
    let comparisons = compare::compare(&layers);
    differences.extend(
        comparisons
            .iter()
            .filter_map(|found| found.difference.clone()),
    );
    Ok(Report {
        hubs,
        comparisons,
        differences,
    })
}

async fn read(config: &HubConfig) -> anyhow::Result<(Audited, Vec<Difference>)> {
    let log = LogClient::new(crate::client::log_of(config)?)?;
    let status = log.status().await?;
    if status.hub != config.hub.path.as_str() {
        bail!("the log there belongs to hub {:?}", status.hub);
    }
    let retention = status.retention.clone().unwrap_or_default();
    let first = retention.first_offset;
    let mut layer = Layer::from_heads(config.hub.path.value.clone(), first, &retention.heads);
    let mut rows = historian_of(config).await?.map(|historian| {
        let written = written(config, &status);
        Rows::new(historian, written)
    });
    let mut walk = Walk::new(&log, first, status.next_offset);
    while let Some(deliveries) = walk.next().await? {
        for delivery in &deliveries {
            layer.take(delivery);
            if let Some(rows) = &mut rows {
                rows.take(delivery).await?;
            }
        }
    }
    layer.finish(&status.origins);
    let mut differences = layer.differences.clone();
    if let Some(rows) = &mut rows {
        rows.finish().await?;
        differences.extend(rows.differences(&layer.hub));
    }
    Ok((
        Audited {
            layer,
            rows: rows.map(|rows| rows.checks),
        },
        differences,
    ))
}

/// What the writer of this file's historian has passed for certain.
fn written(config: &HubConfig, status: &StatusResponse) -> u64 {
    let name = match config
        .historian
        .as_ref()
        .map(|historian| &historian.backend)
    {
        Some(HistorianBackend::Sqlite(_)) => format!("writer/sqlite-{}", *config.node.id),
        _ => "writer/postgres".to_owned(),
    };
    let cursor = status.cursors.iter().find(|cursor| cursor.name == name);
    cursor.map_or(0, |cursor| cursor.next_offset)
}

async fn historian_of(config: &HubConfig) -> anyhow::Result<Option<Arc<dyn Historian>>> {
    let Some(historian) = &config.historian else {
        return Ok(None);
    };
    if let HistorianBackend::Sqlite(path) = &historian.backend {
        let path: &Path = path;
        // Opening it would create it.
        if !path.exists() {
            bail!("the historian {} does not exist", path.display());
        }
    }
    let config = config.clone();
    let opening = tokio::task::spawn_blocking(move || historian::open(&config, "the audit"));
    Ok(Some(opening.await.context("open the historian")??))
}
