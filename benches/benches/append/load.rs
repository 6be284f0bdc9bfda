//! Producers that keep a fixed number of records under way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use proto::{Nanos, Record};
use raft_log::client::{LogClient, Producer, ProducerOptions};
use tokio::task::JoinSet;

use crate::{Row, percentile};

/// Not measured: connections, the producer's id, the first segment.
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) producers: usize,
    pub(crate) in_flight: usize,
    pub(crate) record_bytes: usize,
    pub(crate) time: Duration,
}

impl Load {
    pub(crate) async fn run(self, client: &LogClient) -> anyhow::Result<Row> {
        let mut producers = JoinSet::new();
        for number in 0..self.producers {
            let options = ProducerOptions {
                name: format!("bench-{number}"),
                ..Default::default()
            };
            producers.spawn(self.produce(client.producer(options), number));
        }
        let mut samples = Vec::new();
        while let Some(produced) = producers.join_next().await {
            samples.extend(produced.context("a producer ended")??);
        }
        samples.sort_unstable();
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let per_second = samples.len() as f64 / self.time.as_secs_f64();
        Ok(Row {
            what: String::new(),
            per_second,
            p50: percentile(&samples, 0.5),
            p99: percentile(&samples, 0.99),
        })
    }

    /// The time from each append to its acknowledgement.
    async fn produce(self, producer: Producer, number: usize) -> anyhow::Result<Vec<Duration>> {
        let topic = format!("umh/v1/bench/_raw/producer-{number}");
        let payload = vec![b'x'; self.record_bytes];
        let mut pending = VecDeque::new();
        let mut samples = Vec::new();
        let start = Instant::now();
        while start.elapsed() < WARM_UP + self.time {
            while pending.len() < self.in_flight {
                let record = Record::message(topic.as_str(), payload.clone(), Nanos::now());
                pending.push_back((Instant::now(), producer.append(record, None).await?));
            }
            if let Some((began, pending)) = pending.pop_front() {
                pending.await?;
                if start.elapsed() > WARM_UP {
                    samples.push(began.elapsed());
                }
            }
        }
        for (_, pending) in pending {
            pending.await?;
        }
        Ok(samples)
    }
}
