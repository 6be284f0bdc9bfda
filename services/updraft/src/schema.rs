//! `updraft schema`: what editors complete `hub.yaml` with.

use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> ExitCode {
    print!("{}", kit::config::schema_text());
    ExitCode::SUCCESS
}
