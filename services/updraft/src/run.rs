//! `updraft run`: the services of one node in one process.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use kit::config::{ConfigError, HubConfig};
use kit::service::Service;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The hub.yaml of this node
    #[arg(short, long, value_name = "FILE", default_value = "hub.yaml")]
    config: PathBuf,
    /// Run only these of the services that the file configures
    #[arg(long, value_delimiter = ',', value_name = "SERVICE")]
    only: Vec<Name>,
    /// End when standard input is closed: for whoever started this process and may be killed
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Log,
    Broker,
    Collector,
    Forwarder,
    Writer,
    Console,
}

impl Name {
    const ALL: [Name; 6] = [
        Name::Log,
        Name::Broker,
        Name::Collector,
        Name::Forwarder,
        Name::Writer,
        Name::Console,
    ];

    /// Whether the file has the section that the service needs, and which one that is.
    fn section(self, config: &HubConfig) -> (bool, &'static str) {
        match self {
            Name::Log => (config.log.is_some(), "log"),
            Name::Broker => (config.broker.is_some(), "broker"),
            Name::Collector => (!config.collectors.is_empty(), "collectors"),
            Name::Forwarder => (config.parent.is_some(), "parent"),
            Name::Writer => (config.historian.is_some(), "historian"),
            Name::Console => (config.console.is_some(), "console"),
        }
    }

    fn service(self) -> Service {
        match self {
            Name::Log => Service::new("log", log_service::build),
            Name::Broker => Service::new("broker", |context| async {
                broker::build(context).await.map(broker::Broker::run)
            }),
            Name::Collector => Service::new("collector", collector::build),
            Name::Forwarder => Service::new("forwarder", forwarder::build),
            Name::Writer => Service::new("writer", writer::build),
            Name::Console => Service::new("console", |context| async {
                console::build(context).await.map(console::Console::run)
            }),
        }
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if args.exit_with_parent {
        std::thread::spawn(exit_with_parent);
    }
    let only = args.only.clone();
    kit::service::launch(
        "updraft",
        env!("CARGO_PKG_VERSION"),
        &args.config,
        |config| services(config, &only),
    )
}

/// What the file configures, or what was asked for of it.
fn services(config: &HubConfig, only: &[Name]) -> Result<Vec<Service>, ConfigError> {
    let mut services = Vec::new();
    for name in Name::ALL {
        let (configured, section) = name.section(config);
        let asked = only.contains(&name);
        if asked && !configured {
            return Err(config.missing(&format!("--only {name:?}").to_lowercase(), section));
        }
        if configured && (asked || only.is_empty()) {
            services.push(name.service());
        }
    }
    if services.is_empty() {
        return Err(config.missing("this node", "log"));
    }
    Ok(services)
}

/// A parent that was killed can't tell its children; the pipe to their standard input tells.
fn exit_with_parent() {
    let mut buffer = [0; 64];
    while std::io::stdin()
        .read(&mut buffer)
        .is_ok_and(|read| read > 0)
    {}
    std::process::exit(1);
}
