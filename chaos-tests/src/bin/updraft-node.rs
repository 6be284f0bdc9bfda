//! The nodes that the tests start: the command line, built with this package's features.

fn main() -> std::process::ExitCode {
    updraft::cli::main()
}
