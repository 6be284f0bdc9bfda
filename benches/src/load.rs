//! Producers that keep a fixed number of records under way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::future::BoxFuture;
use proto::{Nanos, Record};
use raft_log::client::{LogClient, Producer as LogProducer, ProducerOptions};
use tokio::task::JoinSet;

use crate::table::Row;

/// Not measured: connections, the producer's id, the first segment.
const WARM_UP: Duration = Duration::from_millis(500);

/// Different payloads of one producer.
const PAYLOADS: usize = 4096;

/// Ends when the record is acknowledged.
pub type Acknowledged = BoxFuture<'static, anyhow::Result<()>>;

/// One connection that publishes in order.
pub trait Producer: Send {
    /// Hands a record over; waits while the client library does not take more.
    fn send(&mut self, payload: Bytes) -> BoxFuture<'_, anyhow::Result<Acknowledged>>;
}

#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Records that each producer has under way.
    pub in_flight: usize,
    pub record_bytes: usize,
    pub time: Duration,
}

impl Load {
    pub async fn run(
        self,
        what: impl Into<String>,
        producers: Vec<Box<dyn Producer>>,
    ) -> anyhow::Result<Row> {
        let mut tasks = JoinSet::new();
        for producer in producers {
            tasks.spawn(self.produce(producer));
        }
        let mut samples = Vec::new();
        while let Some(produced) = tasks.join_next().await {
            samples.extend(produced.context("a producer ended")??);
        }
        Ok(Row::of(what, samples, self.time))
    }

    /// The time from each record to its acknowledgement.
    async fn produce(self, mut producer: Box<dyn Producer>) -> anyhow::Result<Vec<Duration>> {
        // Nothing that could be compressed.
        let mut random = vec![0; self.record_bytes + PAYLOADS];
        rand::fill(&mut random[..]);
        let random = Bytes::from(random);
        let mut payloads = (0..PAYLOADS).cycle();
        let mut pending = VecDeque::new();
        let mut samples = Vec::new();
        let start = Instant::now();
        while start.elapsed() < WARM_UP + self.time {
            while pending.len() < self.in_flight {
                let from = payloads.next().unwrap_or_default();
                let payload = random.slice(from..from + self.record_bytes);
                pending.push_back((Instant::now(), producer.send(payload).await?));
            }
            if let Some((began, acknowledged)) = pending.pop_front() {
                acknowledged.await?;
                if start.elapsed() > WARM_UP {
                    samples.push(began.elapsed());
                }
            }
        }
        for (_, acknowledged) in pending {
            acknowledged.await?;
        }
        Ok(samples)
    }
}

/// Producers of a hub's log, each with a topic of its own.
pub fn log_producers(client: &LogClient, count: usize) -> Vec<Box<dyn Producer>> {
    let producer = |number| -> Box<dyn Producer> {
        let options = ProducerOptions {
            name: format!("bench-{number}"),
            ..Default::default()
        };
        Box::new(OfLog {
            producer: client.producer(options),
            topic: format!("umh/v1/bench/_raw/producer-{number}"),
        })
    };
    (0..count).map(producer).collect()
}

struct OfLog {
    producer: LogProducer,
    topic: String,
}

impl Producer for OfLog {
    fn send(&mut self, payload: Bytes) -> BoxFuture<'_, anyhow::Result<Acknowledged>> {
        Box::pin(async move {
            let record = Record::message(self.topic.as_str(), payload, Nanos::now());
            let pending = self.producer.append(record, None).await?;
            let acknowledged: Acknowledged = Box::pin(async move {
                pending.await?;
                Ok(())
            });
            Ok(acknowledged)
        })
    }
}
