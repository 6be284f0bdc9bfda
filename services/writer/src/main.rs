//! `updraft-writer -c hub.yaml`: the writer alone.

fn main() -> std::process::ExitCode {
    kit::service::main("writer", env!("CARGO_PKG_VERSION"), writer::build)
}
