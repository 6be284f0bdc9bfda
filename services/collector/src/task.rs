//! One collector: its protocol, started again for ever, and its appender.

use std::time::Duration;

use kit::backoff::{self, BackoffBuilder};
use raft_log::client::Producer;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use crate::appender::Appender;
use crate::config::{Collector, Machine};
use crate::error::{Error, Fault};
use crate::link::{DELIVERIES, Link};
use crate::metrics::CollectorMetrics;
use crate::modbus::Modbus;
use crate::opcua::Opcua;
use crate::protocol::Protocol;

/// A connection that lasted this long was a good one: the next attempt comes at once.
const GOOD: Duration = Duration::from_secs(10);
/// How long the last samples may take to become durable.
const DRAIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    collector: Collector,
    producer: Producer,
    metrics: CollectorMetrics,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let span = info_span!("collector", collector = collector.name);
    async move {
        let (deliveries, received) = mpsc::channel(DELIVERIES);
        let (appender, durable) =
            Appender::new(producer, collector.topics, received, metrics.clone());
        let mut appending = tokio::spawn(appender.run().in_current_span());
        let link = Link::new(deliveries, durable, shutdown, metrics);
        let collecting = async move {
            match collector.machine {
                Machine::Opcua(settings) => supervise(Opcua::new(settings), link).await,
                Machine::Modbus(settings) => supervise(Modbus::new(settings), link).await,
            }
        };
        let appended = tokio::select! {
            // Before the protocol only an error ends it.
            appended = &mut appending => appended,
            () = collecting => match timeout(DRAIN, appending).await {
                Ok(appended) => appended,
                Err(_) => {
                    warn!("ending before the last samples are durable: the log does not answer");
                    return Ok(());
                }
            },
        };
        appended?.map_err(|source| Error::Append {
            collector: collector.name,
            source,
        })
    }
    .instrument(span)
    .await
}

async fn supervise(mut protocol: impl Protocol, mut link: Link) {
    let shutdown = link.shutdown.clone();
    let mut pauses = backoff::reconnect().build();
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let fault = protocol.run(&mut link).await;
        if matches!(fault, Fault::Shutdown) {
            break;
        }
        link.failed(&fault);
        if started.elapsed() > GOOD {
            pauses = backoff::reconnect().build();
        }
        let pause = pauses.next().unwrap_or(GOOD).max(fault.pause_min());
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
