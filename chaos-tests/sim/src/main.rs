//! `cargo sim --seeds 1..1000`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sim::command::main()
}
