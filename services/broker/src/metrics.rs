//! What the broker counts.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    connections: UpDownCounter<i64>,
    in_flight: UpDownCounter<i64>,
    publishes: Counter<u64>,
    acknowledged: Counter<u64>,
    delivered: Counter<u64>,
    unreadable: Counter<u64>,
    append: Histogram<f64>,
    by_qos: [[KeyValue; 1]; 2],
}

/// A message between its PUBLISH and its commit; however that ends, it is counted no longer.
#[derive(Debug)]
pub(crate) struct InFlight(UpDownCounter<i64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1, &[]);
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let meter = kit::telemetry::meter("broker");
        Metrics {
            connections: meter
                .i64_up_down_counter("updraft_broker_connections")
                .with_description("MQTT clients connected now")
                .build(),
            in_flight: meter
                .i64_up_down_counter("updraft_broker_in_flight")
                .with_description("Messages of clients that wait for their commit")
                .build(),
            publishes: meter
                .u64_counter("updraft_broker_publishes_total")
                .with_description("Messages received from clients by quality of service")
                .build(),
            acknowledged: meter
                .u64_counter("updraft_broker_acknowledged_total")
                .with_description("Messages acknowledged to clients after their commit")
                .build(),
            delivered: meter
                .u64_counter("updraft_broker_delivered_total")
                .with_description("Messages sent to subscribers by quality of service")
                .build(),
            unreadable: meter
                .u64_counter("updraft_broker_unreadable_total")
                .with_description("Messages in the Unified Namespace that break its rules")
                .build(),
            append: meter
                .f64_histogram("updraft_broker_append_seconds")
                .with_unit("s")
                .with_description("From a PUBLISH to its commit")
                .build(),
            by_qos: [[KeyValue::new("qos", 0)], [KeyValue::new("qos", 1)]],
        }
    }
}

impl Metrics {
    pub(crate) fn connected(&self) {
        self.connections.add(1, &[]);
    }

    pub(crate) fn disconnected(&self) {
        self.connections.add(-1, &[]);
    }

    pub(crate) fn in_flight(&self) -> InFlight {
        self.in_flight.add(1, &[]);
        InFlight(self.in_flight.clone())
    }

    pub(crate) fn published(&self, qos: u8) {
        self.publishes.add(1, &self.by_qos[usize::from(qos.min(1))]);
    }

    pub(crate) fn acknowledged(&self) {
        self.acknowledged.add(1, &[]);
    }

    pub(crate) fn delivered(&self, qos: u8) {
        self.delivered.add(1, &self.by_qos[usize::from(qos.min(1))]);
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.add(1, &[]);
    }

    pub(crate) fn appended(&self, after: Duration) {
        self.append.record(after.as_secs_f64(), &[]);
    }
}
