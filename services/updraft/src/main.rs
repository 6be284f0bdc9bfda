//! The executable `updraft`.

fn main() -> std::process::ExitCode {
    updraft::cli::main()
}
