//! `updraft check`: is the file right, and what would it start?

use std::path::PathBuf;
use std::process::ExitCode;

use kit::config::{self, CollectorConfig, HistorianBackend, HubConfig, Source};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The hub.yaml to check
    #[arg(short, long, value_name = "FILE", default_value = "hub.yaml")]
    config: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    kit::tls::Tls::load(&config)?;
    collector::check(&config)?;
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    println!("{}: ok", args.config.display());
    for line in describe(&config) {
        println!("  {line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(config: &HubConfig) -> Vec<String> {
    let mut lines = vec![format!(
        "hub {}, node {}",
        *config.hub.path, *config.node.id
    )];
    if let Some(log) = &config.log {
        let nodes = log.nodes.as_ref().map_or(1, |nodes| nodes.len());
        let durable = match nodes {
            1 => "acknowledged means: on this one disk".to_owned(),
            nodes => format!("acknowledged means: on {} of {nodes} disks", nodes / 2 + 1),
        };
        lines.push(format!(
            "log on {}, {nodes} node(s); {durable}",
            *log.listen
        ));
        lines.extend(
            log.uplink
                .as_ref()
                .map(|uplink| format!("hubs below connect to {}", **uplink)),
        );
    }
    lines.extend(
        config
            .broker
            .as_ref()
            .map(|broker| format!("MQTT on {}", *broker.listen)),
    );
    lines.extend(config.parent.as_ref().map(|parent| {
        let urls: Vec<String> = parent
            .uplink
            .0
            .iter()
            .map(|url| url.value.to_string())
            .collect();
        format!("forwards to {}", urls.join(", "))
    }));
    lines.extend(
        config
            .historian
            .as_ref()
            .map(|historian| match &historian.backend {
                HistorianBackend::Sqlite(path) => format!("writes to SQLite {}", path.display()),
                HistorianBackend::Postgres(postgres) => {
                    format!("writes to PostgreSQL, schema {}", *postgres.schema)
                }
            }),
    );
    lines.extend(config.collectors.iter().map(machine));
    lines.extend(config.console.as_ref().map(|console| {
        let scheme = if *console.tls { "https" } else { "http" };
        format!(
            "console on {scheme}://{}, {} user(s)",
            *console.listen,
            console.users.len()
        )
    }));
    lines.extend(
        config
            .telemetry
            .listen
            .as_ref()
            .map(|at| format!("metrics on http://{}/metrics", **at)),
    );
    lines
}

fn machine(collector: &CollectorConfig) -> String {
    let from = match collector.source() {
        Some(Source::Opcua(opcua)) => {
            format!("{}, security {}", *opcua.endpoint, opcua.security())
        }
        Some(Source::Modbus(modbus)) => format!("Modbus at {}", *modbus.address),
        None => String::new(),
    };
    let (tags, name) = (collector.tags.len(), collector.name.as_str());
    format!("collects {tags} tag(s) of {name} from {from}")
}
