//! `updraft sub`: print what arrives on MQTT.

use std::process::ExitCode;

use anyhow::bail;
use rumqttc::{Event, Packet, QoS};

use crate::client::BrokerArgs;
use crate::value::printable;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Topic filters, with the wildcards + and #
    #[arg(required = true)]
    filters: Vec<String>,
    /// End after this many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// One JSON object per message
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    for filter in &args.filters {
        filter.parse::<proto::TopicFilter>()?;
    }
    let (client, mut events) = args.broker.connect()?;
    let mut received = 0;
    loop {
        let event = tokio::select! {
            event = events.poll() => event,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        match event {
            // Again after every reconnect: the session is not kept.
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                for filter in &args.filters {
                    client.subscribe(filter, QoS::AtLeastOnce).await?;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if ack
                    .return_codes
                    .iter()
                    .any(|code| matches!(code, rumqttc::SubscribeReasonCode::Failure))
                {
                    bail!("the broker refused the subscription");
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                print(&args, &publish.topic, &publish.payload);
                received += 1;
                if args.count.is_some_and(|count| received >= count) {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Ok(_) => {}
            Err(error) => bail!("MQTT broker {}: {error}", args.broker.address()),
        }
    }
}

fn print(args: &Args, topic: &str, payload: &[u8]) {
    let payload = printable(payload);
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "topic": topic, "payload": payload })
        );
    } else {
        println!("{topic} {payload}");
    }
}
