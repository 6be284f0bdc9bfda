//! What the forwarder counts.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge};
use proto::Lane;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    envelopes: Counter<u64>,
    cursor: Gauge<u64>,
    connected: Gauge<u64>,
    reports: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = kit::telemetry::meter("updraft_forwarder");
        Metrics {
            envelopes: meter
                .u64_counter("updraft_forwarder_envelopes_total")
                .with_description("Batches that the parent has acknowledged")
                .build(),
            cursor: meter
                .u64_gauge("updraft_forwarder_cursor_offset")
                .with_description("Offset of the next record to send, while this node forwards")
                .build(),
            connected: meter
                .u64_gauge("updraft_forwarder_connected")
                .with_description("1 while this node forwards the lane to the parent")
                .build(),
            reports: meter
                .u64_counter("updraft_forwarder_reports_total")
                .with_description("Reports of this hub and those below, by whether they were taken")
                .build(),
        }
    }

    pub(crate) fn acknowledged(&self, lane: Lane, envelopes: u64) {
        self.envelopes.add(envelopes, &[label(lane)]);
    }

    pub(crate) fn cursor(&self, lane: Lane, next_offset: u64) {
        self.cursor.record(next_offset, &[label(lane)]);
    }

    pub(crate) fn connected(&self, lane: Lane, connected: bool) {
        self.connected.record(u64::from(connected), &[label(lane)]);
    }

    /// What became of a report to the parent.
    pub(crate) fn reported(&self, outcome: &'static str) {
        self.reports.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}

fn label(lane: Lane) -> KeyValue {
    KeyValue::new("lane", lane.name())
}
