//! How a benchmark begins.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tempfile::TempDir;

/// The whole of a benchmark's `main`. The nodes of its hubs are the same executable again, so that
/// what is measured was built like this.
pub fn main<A: Parser>(measure: impl AsyncFnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("run") {
        return updraft::cli::main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(measure(A::parse())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where the hubs keep their data: a directory of its own in the given one, which ends with it.
pub fn data_directory(parent: Option<&PathBuf>) -> anyhow::Result<TempDir> {
    let directory = match parent {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    directory.context("make a directory for the data")
}
