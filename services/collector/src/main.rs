//! `updraft-collector -c hub.yaml`: the collectors alone.

fn main() -> std::process::ExitCode {
    kit::service::main("collector", env!("CARGO_PKG_VERSION"), collector::build)
}
