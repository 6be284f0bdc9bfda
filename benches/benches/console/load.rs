//! What is published.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use proto::{Nanos, Record};
use raft_log::client::{LogClient, Producer, ProducerOptions};
use tokio::task::JoinSet;

/// Not measured: connections, the producer's id, the first segment.
const WARM_UP: Duration = Duration::from_millis(500);
/// Each producer has values for so many tags; together they fill more than a screen.
const TAGS: usize = 10;
/// Machines of an area, signals of a machine.
const MACHINES: usize = 25;
const SIGNALS: usize = 20;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) producers: usize,
    pub(crate) in_flight: usize,
    pub(crate) time: Duration,
}

impl Load {
    /// Acknowledged records per second.
    pub(crate) async fn run(self, client: &LogClient) -> anyhow::Result<f64> {
        let mut producers = JoinSet::new();
        for number in 0..self.producers {
            producers.spawn(self.produce(producer(client, number), number));
        }
        let mut acknowledged = 0;
        while let Some(produced) = producers.join_next().await {
            acknowledged += produced.context("a producer ended")??;
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate = acknowledged as f64 / self.time.as_secs_f64();
        Ok(rate)
    }

    async fn produce(self, producer: Producer, number: usize) -> anyhow::Result<u64> {
        let topics: Vec<String> = (0..TAGS)
            .map(|tag| format!("umh/v1/bench/line-{number}/_raw/signal-{tag}"))
            .collect();
        let mut pending = VecDeque::new();
        let mut acknowledged = 0;
        let start = Instant::now();
        for (topic, value) in topics.iter().cycle().zip(0_u64..) {
            if start.elapsed() > WARM_UP + self.time {
                break;
            }
            let record = measured(topic, value);
            pending.push_back(producer.append(record, None).await?);
            if pending.len() >= self.in_flight
                && let Some(oldest) = pending.pop_front()
            {
                oldest.await?;
                acknowledged += u64::from(start.elapsed() > WARM_UP);
            }
        }
        for appended in pending {
            appended.await?;
        }
        Ok(acknowledged)
    }
}

fn producer(client: &LogClient, number: usize) -> Producer {
    client.producer(ProducerOptions {
        name: format!("bench-{number}"),
        ..Default::default()
    })
}

fn measured(topic: &str, value: u64) -> Record {
    let now = Nanos::now();
    let millis = now.0 / 1_000_000;
    let payload = format!("{{\"timestamp_ms\": {millis}, \"value\": {value}.25}}");
    Record::message(topic, payload, now)
}

/// One value for each of so many tags.
pub(crate) async fn publish(client: &LogClient, tags: usize) -> anyhow::Result<()> {
    let producer = producer(client, 0);
    let mut pending = VecDeque::new();
    for tag in 0..tags {
        let (machine, signal) = (tag / SIGNALS, tag % SIGNALS);
        let topic = format!(
            "umh/v1/bench/area-{}/machine-{}/_raw/signal-{}",
            machine / MACHINES + 1,
            machine % MACHINES + 1,
            signal + 1
        );
        pending.push_back(producer.append(measured(&topic, tag as u64), None).await?);
        if pending.len() > 1000
            && let Some(oldest) = pending.pop_front()
        {
            oldest.await?;
        }
    }
    for appended in pending {
        appended.await?;
    }
    Ok(())
}
