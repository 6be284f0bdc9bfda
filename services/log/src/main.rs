//! `updraft-log -c hub.yaml`: the log service alone.

fn main() -> std::process::ExitCode {
    kit::service::main("log", env!("CARGO_PKG_VERSION"), log_service::build)
}
