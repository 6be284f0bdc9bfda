//! The protocol's side of a collector: where samples go, and what has become of them.

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
            shutdown,
            metrics,
            state: State::New,
        }
    }

    /// Hands samples over, to be appended in this order.
    pub(crate) async fn deliver(&mut self, samples: Vec<Sample>) -> Ticket {
        self.last.0 += 1;
        let ticket = self.last;
        // The appender ends only with the process; nobody is left to hear of it.
        let _ = self.deliveries.send(Delivery { ticket, samples }).await;
        ticket
    }

    /// Every delivery up to this one is durable.
    pub(crate) fn durable(&mut self) -> Ticket {
        *self.durable.borrow_and_update()
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
