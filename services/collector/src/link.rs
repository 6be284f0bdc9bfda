//! The protocol's side of a collector: where samples go, and what has become of them.

use std::collections::VecDeque;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::error::Fault;
use crate::metrics::CollectorMetrics;
use crate::sample::Sample;

/// Deliveries that wait for the appender; then `deliver` waits, and the machine with it. Each holds
/// what came in one answer.
pub(crate) const DELIVERIES: usize = 256;

/// Numbers deliveries from 1; durable in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub u64);

#[derive(Debug)]
pub(crate) struct Delivery {
    pub ticket: Ticket,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub(crate) struct Link {
    deliveries: mpsc::Sender<Delivery>,
    durable: watch::Receiver<Ticket>,
    last: Ticket,
    /// What is not durable yet, and its size in bytes.
    under_way: VecDeque<(Ticket, usize)>,
    bytes_under_way: usize,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: CollectorMetrics,
    state: State,
}

/// What was told last about the machine.
#[derive(Debug, PartialEq)]
enum State {
    New,
    Connected,
    Failed(String),
}

impl Link {
    pub(crate) fn new(
        deliveries: mpsc::Sender<Delivery>,
        durable: watch::Receiver<Ticket>,
        shutdown: CancellationToken,
        metrics: CollectorMetrics,
    ) -> Link {
        metrics.connected(false);
        Link {
            deliveries,
            durable,
            last: Ticket::default(),
            under_way: VecDeque::new(),
            bytes_under_way: 0,
            shutdown,
            metrics,
            state: State::New,
        }
    }

    /// Hands samples over, to be appended in this order.
    pub(crate) async fn deliver(&mut self, samples: Vec<Sample>) -> Ticket {
        self.last.0 += 1;
        let ticket = self.last;
        let bytes = samples.iter().map(Sample::size_bytes).sum();
        self.bytes_under_way();
        self.under_way.push_back((ticket, bytes));
        self.bytes_under_way += bytes;
        // When the appender has ended, the collector ends too; this is never durable then.
        let _ = self.deliveries.send(Delivery { ticket, samples }).await;
        ticket
    }

    /// Every delivery up to this one is durable.
    pub(crate) fn durable(&mut self) -> Ticket {
        let durable = *self.durable.borrow_and_update();
        while let Some((_, bytes)) = self
            .under_way
            .pop_front_if(|(ticket, _)| *ticket <= durable)
        {
            self.bytes_under_way -= bytes;
        }
        durable
    }

    /// What was delivered and is not durable yet takes so much memory.
    pub(crate) fn bytes_under_way(&mut self) -> usize {
        // Not marked as seen: `more_durable` is still to tell of it.
        let durable = *self.durable.borrow();
        while let Some((_, bytes)) = self
            .under_way
            .pop_front_if(|(ticket, _)| *ticket <= durable)
        {
            self.bytes_under_way -= bytes;
        }
        self.bytes_under_way
    }

    /// Until more has become durable.
    pub(crate) async fn more_durable(&mut self) {
        if self.durable.changed().await.is_err() {
            // The appender has ended: nothing more will.
            std::future::pending::<()>().await;
        }
    }

    /// Until all that was delivered is durable.
    pub(crate) async fn all_durable(&mut self) {
        while self.durable() < self.last {
            self.more_durable().await;
        }
    }

    pub(crate) fn connected(&mut self) {
        self.metrics.connected(true);
        if self.state != State::Connected {
            info!("connected");
            self.state = State::Connected;
        }
    }

    /// The connection is lost or was not had; a change is worth a warning, its repetition is not.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        self.metrics.connected(false);
        self.metrics.error();
        let why = fault.to_string();
        if self.state == State::Failed(why.clone()) {
            debug!(fault = why, "still not connected");
        } else {
            warn!(fault = why, "not connected; trying again");
            self.state = State::Failed(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Nanos, Quality, Value};

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn bytes_are_under_way_until_they_are_durable() {
        let (deliveries, _received) = mpsc::channel(8);
        let (tell, durable) = watch::channel(Ticket::default());
        let metrics = Metrics::new().of("press");
        let mut link = Link::new(deliveries, durable, CancellationToken::new(), metrics);
        let text = |bytes: usize| Sample {
            value: Value::Text("x".repeat(bytes)),
            ..Sample::bad(0, Quality::GOOD, Nanos(0))
        };
        let first = link.deliver(vec![text(1000)]).await;
        let one = link.bytes_under_way();
        let second = link.deliver(vec![text(1000), text(5000)]).await;
        assert!(one >= 1000 && link.bytes_under_way() >= one + 6000);
        let both = link.bytes_under_way();
        tell.send_replace(first);
        assert_eq!(link.bytes_under_way(), both - one);
        tell.send_replace(second);
        assert_eq!(link.bytes_under_way(), 0);
    }
}
