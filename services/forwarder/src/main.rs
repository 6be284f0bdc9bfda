//! `updraft-forwarder -c hub.yaml`: the forwarder alone.

fn main() -> std::process::ExitCode {
    kit::service::main("forwarder", env!("CARGO_PKG_VERSION"), forwarder::build)
}
