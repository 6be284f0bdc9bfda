//! `updraft-broker -c hub.yaml`: the MQTT broker of a node as a process of its own.

fn main() -> std::process::ExitCode {
    kit::service::main("broker", env!("CARGO_PKG_VERSION"), |context| async move {
        let broker = broker::build(context).await?;
        Ok::<_, broker::BrokerError>(broker.run())
    })
}
