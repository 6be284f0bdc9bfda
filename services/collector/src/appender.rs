//! Makes records of samples, appends them in their order, and says what is durable.

use std::collections::VecDeque;

use raft_log::client::{AppendError, Pending, Producer};
use tokio::sync::{mpsc, watch};
use tracing::{error, trace};

use crate::link::{Delivery, Ticket};
use crate::metrics::CollectorMetrics;

/// Deliveries of which records wait for their commit; then no more are taken. The producer's own
/// budget of bytes may say so earlier.
const IN_FLIGHT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Appender {
    producer: Producer,
    /// Of the tags, in their order.
    topics: Vec<String>,
    deliveries: mpsc::Receiver<Delivery>,
    durable: watch::Sender<Ticket>,
    metrics: CollectorMetrics,
    in_flight: VecDeque<InFlight>,
}

/// A delivery whose records were handed to the log.
#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    pending: VecDeque<Pending>,
}

impl Appender {
    pub(crate) fn new(
        producer: Producer,
        topics: Vec<String>,
        deliveries: mpsc::Receiver<Delivery>,
        metrics: CollectorMetrics,
    ) -> (Appender, watch::Receiver<Ticket>) {
        let (durable, told) = watch::channel(Ticket::default());
        let appender = Appender {
            producer,
            topics,
            deliveries,
            durable,
            metrics,
            in_flight: VecDeque::new(),
        };
        (appender, told)
    }

    /// Until the protocol has ended and all of its deliveries are durable. An error when it can't be
    /// known what became of a sample: its delivery does not count as durable (I1), nor any later.
    pub(crate) async fn run(mut self) -> Result<(), AppendError> {
        let mut ended = false;
        while !(ended && self.in_flight.is_empty()) {
            let has_room = self.in_flight.len() < IN_FLIGHT;
            tokio::select! {
                delivery = self.deliveries.recv(), if !ended && has_room => match delivery {
                    Some(delivery) => self.append(delivery).await?,
                    None => ended = true,
                },
                ticket = front(&mut self.in_flight, &self.metrics),
                    if !self.in_flight.is_empty() =>
                {
                    self.in_flight.pop_front();
                    self.durable.send_replace(ticket?);
                }
            }
        }
        Ok(())
    }

    async fn append(&mut self, delivery: Delivery) -> Result<(), AppendError> {
        let mut pending = VecDeque::with_capacity(delivery.samples.len());
        for sample in delivery.samples {
            let Some(topic) = self.topics.get(sample.tag) else {
                continue;
            };
            trace!(topic, ?sample, "sample");
            match self.producer.append(sample.into_record(topic), None).await {
                Ok(record) => pending.push_back(record),
                Err(error) => refused(error, &self.metrics)?,
            }
        }
        self.in_flight.push_back(InFlight {
            ticket: delivery.ticket,
            pending,
        });
        Ok(())
    }
}

/// Until the first delivery in flight is durable. Keeps what it has learned when it is dropped.
async fn front(
    in_flight: &mut VecDeque<InFlight>,
    metrics: &CollectorMetrics,
) -> Result<Ticket, AppendError> {
    let Some(first) = in_flight.front_mut() else {
        return std::future::pending().await;
    };
    while let Some(pending) = first.pending.front_mut() {
        match pending.await {
            Ok(_) => metrics.samples(1),
            Err(error) => refused(error, metrics)?,
        }
        first.pending.pop_front();
    }
    Ok(first.ticket)
}

/// The log refuses for good: trying again would not help, and holding up what follows neither. Any
/// other error leaves open what became of the sample.
fn refused(error: AppendError, metrics: &CollectorMetrics) -> Result<(), AppendError> {
    match error {
        AppendError::Refused(_) => {
            metrics.refused();
            error!(%error, "a sample is lost: the log does not take it");
            Ok(())
        }
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proto::{Nanos, Quality};
    use raft_log::client::{ClientConfig, LogClient, ProducerOptions};

    use super::*;
    use crate::metrics::Metrics;
    use crate::sample::Sample;

    #[tokio::test]
    async fn a_sample_of_which_nothing_is_known_is_never_durable() {
        let other = tokio::runtime::Runtime::new().unwrap();
        let producer = {
            let _within = other.enter();
            let config = ClientConfig {
                endpoints: vec!["127.0.0.1:9".into()],
                group: 0,
                tls: None,
            };
            let client = LogClient::new(config).unwrap();
            client.producer(ProducerOptions::default())
        };
        let (deliveries, received) = mpsc::channel(1);
        let metrics = Metrics::new().of("press");
        let topics = vec!["umh/v1/acme/press/_raw/a".into()];
        let (appender, durable) = Appender::new(producer, topics, received, metrics);
        let delivery = Delivery {
            ticket: Ticket(1),
            samples: vec![Sample::bad(0, Quality::GOOD, Nanos::now())],
        };
        deliveries.send(delivery).await.unwrap();
        drop(deliveries);
        // The producer's task ends with its runtime.
        other.shutdown_background();
        let ended = appender.run().await;
        assert!(matches!(ended, Err(AppendError::Closed)), "{ended:?}");
        assert_eq!(*durable.borrow(), Ticket::default());
    }

    #[test]
    fn only_a_refusal_is_final() {
        let metrics = Metrics::new().of("press");
        let told = |error| refused(error, &metrics).is_ok();
        assert!(told(AppendError::Refused("too large".into())));
        assert!(!told(AppendError::Closed));
        assert!(!told(AppendError::Unknown));
    }
}
