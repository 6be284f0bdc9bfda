//! The commands and what they have in common: arguments, exit codes, how an error is told.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    audit, check, cluster, collect, cursor, demo, init, log, passwd, publish, ready, run, schema,
    status, subscribe, tail,
};

/// Carries factory data from machines to the enterprise without losing any.
#[derive(Debug, Parser)]
#[command(name = "updraft", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a pyramid of hubs with simulated machines, break it, and audit that nothing was lost
    Demo(demo::Args),
    /// Write a commented hub.yaml for a new node, asking for what no flag says
    Init(Box<init::Args>),
    /// Run this node's services in one process
    Run(run::Args),
    /// Check a hub.yaml without starting anything
    Check(check::Args),
    /// Try the machines that a hub.yaml collects from
    Collect(collect::Args),
    /// Print the JSON Schema of hub.yaml, which editors complete it with
    Schema(schema::Args),
    /// Hash a password for the users of the console
    Passwd(passwd::Args),
    /// Ask a running node whether it is ready; exits with 0 if it is
    Ready(ready::Args),
    /// Publish a message over MQTT and wait for its acknowledgement
    Pub(publish::Args),
    /// Subscribe over MQTT and print what arrives
    Sub(subscribe::Args),
    /// Print records of a hub's committed log
    Tail(tail::Args),
    /// Show a hub's nodes, origins and cursors
    Status(status::Args),
    /// Show and change which nodes form a hub, while it works
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Show how far the consumers of a hub's log are, and let go of one that is gone
    #[command(subcommand)]
    Cursor(cursor::Command),
    /// Compare the logs of hubs with each other and with their historians
    Audit(audit::Args),
    /// Look at the log files of a stopped node
    Log(log::Args),
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // It brings its own runtime and telemetry.
    if let Command::Run(args) = cli.command {
        return run::run(&args);
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| {
            let outcome = runtime.block_on(command(cli.command));
            // A connection that hangs must not hold a finished command.
            runtime.shutdown_background();
            outcome
        });
    outcome.unwrap_or_else(|error| {
        let (line, code) = kit::service::verdict(&error);
        eprintln!("{line}");
        ExitCode::from(code)
    })
}

async fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Init(args) => init::run(*args),
        Command::Run(args) => Ok(run::run(&args)),
        Command::Check(args) => check::run(&args),
        Command::Collect(args) => collect::run(args).await,
        Command::Schema(args) => Ok(schema::run(&args)),
        Command::Passwd(args) => passwd::run(&args),
        Command::Ready(args) => ready::run(args).await,
        Command::Pub(args) => publish::run(args).await,
        Command::Sub(args) => subscribe::run(args).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Cluster(command) => cluster::run(command).await,
        Command::Cursor(command) => cursor::run(command).await,
        Command::Audit(args) => audit::run(args).await,
        Command::Log(args) => log::run(&args),
    }
}
