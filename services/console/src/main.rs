//! `updraft-console -c hub.yaml`: the console alone.

fn main() -> std::process::ExitCode {
    kit::service::main("console", env!("CARGO_PKG_VERSION"), |context| async {
        console::build(context).await.map(console::Console::run)
    })
}
