//! `updraft pub`: one message per argument or per line of standard input, each acknowledged.

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use proto::Nanos;
use rumqttc::{AsyncClient, Event, EventLoop, Packet, QoS};
use tokio::time::timeout;

use crate::client::BrokerArgs;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Topic to publish on
    topic: String,
    /// The payload; absent: each line of standard input is one
    payload: Option<String>,
    /// Send {"timestamp_ms": now, "value": PAYLOAD}, as the Unified Namespace wants it
    #[arg(long)]
    value: bool,
    /// Retain the message
    #[arg(long)]
    retain: bool,
    /// How long to wait for an acknowledgement, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    proto::topic::check_topic_name(&args.topic)?;
    let (client, mut events) = args.broker.connect()?;
    let mut published = 0;
    match &args.payload {
        Some(payload) => {
            publish(&args, &client, &mut events, payload).await?;
            published += 1;
        }
        None => {
            for line in std::io::stdin().lock().lines() {
                publish(
                    &args,
                    &client,
                    &mut events,
                    &line.context("read standard input")?,
                )
                .await?;
                published += 1;
            }
        }
    }
    println!("{published} message(s) acknowledged: durable in the hub");
    Ok(ExitCode::SUCCESS)
}

async fn publish(
    args: &Args,
    client: &AsyncClient,
    events: &mut EventLoop,
    text: &str,
) -> anyhow::Result<()> {
    let payload = if args.value {
        with_time(text, Nanos::now())
    } else {
        text.to_owned()
    };
    client
        .publish(&args.topic, QoS::AtLeastOnce, args.retain, payload)
        .await?;
    let acknowledged = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => return Ok(()),
                Ok(_) => {}
                Err(error) => bail!("MQTT broker {}: {error}", args.broker.address()),
            }
        }
    };
    timeout(Duration::from_secs(args.wait), acknowledged)
        .await
        .unwrap_or_else(|_| {
            bail!(
                "no acknowledgement within {} s: the hub has no quorum or its disk is full; the \
             message may arrive later",
                args.wait
            )
        })
}

/// Numbers, `true` and `false` stay what they are, everything else is text.
fn with_time(text: &str, now: Nanos) -> String {
    let value = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_number() || value.is_boolean() => text.trim().to_owned(),
        _ => serde_json::Value::from(text).to_string(),
    };
    format!(
        r#"{{"timestamp_ms":{},"value":{value}}}"#,
        now.0 / 1_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type_and_digits() {
        for (text, value) in [
            ("21.50", "21.50"),
            ("true", "true"),
            ("run", r#""run""#),
            (r#"say "x""#, r#""say \"x\"""#),
            ("null", r#""null""#),
        ] {
            let expected = format!(r#"{{"timestamp_ms":7,"value":{value}}}"#);
            assert_eq!(with_time(text, Nanos(7_999_999)), expected);
        }
    }
}
