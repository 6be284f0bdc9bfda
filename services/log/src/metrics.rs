//! What the log service counts.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// `updraft_log_append_seconds`: from a producer's append to its commit and apply.
    pub(crate) append_seconds: Histogram<f64>,
    /// `updraft_log_appended_records_total`: committed records of this hub's producers.
    pub(crate) appended_records: Counter<u64>,
    /// `updraft_log_uplink_records_total`: committed records of hubs below, by hub.
    pub(crate) uplink_records: Counter<u64>,
    /// `updraft_log_refused_total`: requests that were not taken, by reason.
    pub(crate) refused: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = kit::telemetry::meter("updraft_log");
        Metrics {
            append_seconds: meter.f64_histogram("updraft_log_append_seconds").build(),
            appended_records: meter
                .u64_counter("updraft_log_appended_records_total")
                .build(),
            uplink_records: meter
                .u64_counter("updraft_log_uplink_records_total")
                .build(),
            refused: meter.u64_counter("updraft_log_refused_total").build(),
        }
    }

    pub(crate) fn refuse(&self, refusal: &proto::rpc::Refusal) {
        let reason = format!("{:?}", refusal.kind()).to_lowercase();
        self.refused.add(1, &[KeyValue::new("reason", reason)]);
    }
}
