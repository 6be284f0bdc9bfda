//! What the forwarder counts.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge};
use proto::Lane;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// `updraft_forwarder_envelopes_total`: envelopes acknowledged by the parent, by lane.
    envelopes: Counter<u64>,
    /// `updraft_forwarder_cursor_offset`: offset of the next record to send, by lane.
    cursor: Gauge<u64>,
    /// `updraft_forwarder_connected`: 1 while the lane's stream to the parent stands.
    connected: Gauge<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = kit::telemetry::meter("updraft_forwarder");
        Metrics {
            envelopes: meter
                .u64_counter("updraft_forwarder_envelopes_total")
                .build(),
            cursor: meter.u64_gauge("updraft_forwarder_cursor_offset").build(),
            connected: meter.u64_gauge("updraft_forwarder_connected").build(),
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
}

fn label(lane: Lane) -> KeyValue {
    KeyValue::new("lane", lane.name())
}
