//! What the log service counts, and what it shows of its node whenever somebody looks.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use proto::Nanos;
use raft_log::Node;
use raft_log::node::Gauges;

use crate::reports::Reports;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) append_seconds: Histogram<f64>,
    pub(crate) appended_records: Counter<u64>,
    pub(crate) uplink_records: Counter<u64>,
    pub(crate) refused: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = meter();
        Metrics {
            append_seconds: meter
                .f64_histogram("updraft_log_append_seconds")
                .with_unit("s")
                .with_description("From a producer's append to its commit and apply, at the leader")
                .build(),
            appended_records: meter
                .u64_counter("updraft_log_appended_records_total")
                .with_description("Records of this hub's producers that this node, leading, took")
                .build(),
            uplink_records: meter
                .u64_counter("updraft_log_uplink_records_total")
                .with_description("Records of hubs below that this node, leading, took")
                .build(),
            refused: meter
                .u64_counter("updraft_log_refused_total")
                .with_description("Appends and envelopes that were not taken")
                .build(),
        }
    }

    pub(crate) fn refuse(&self, refusal: &proto::rpc::Refusal) {
        let reason = format!("{:?}", refusal.kind()).to_lowercase();
        self.refused.add(1, &[KeyValue::new("reason", reason)]);
    }
}

fn meter() -> Meter {
    kit::telemetry::meter("updraft_log")
}

/// Name, meaning and value of a gauge.
type Shown = (&'static str, &'static str, fn(&Gauges) -> u64);

/// Shows the node in gauges; the meter keeps them.
pub(crate) fn observe(node: &Node, reports: Arc<Mutex<Reports>>) {
    let shown: [Shown; 11] = [
        (
            "updraft_log_has_quorum",
            "1 while this node follows a leader, or leads and a majority answers it",
            |gauges| u64::from(gauges.has_quorum),
        ),
        (
            "updraft_log_leads",
            "1 while this node leads its hub",
            |gauges| u64::from(gauges.leads),
        ),
        (
            "updraft_log_term",
            "Raft term: grows with every election",
            |gauges| gauges.term,
        ),
        (
            "updraft_log_applied_index",
            "Last entry that is applied",
            |gauges| gauges.applied_index,
        ),
        (
            "updraft_log_last_index",
            "Last entry that this node holds",
            |gauges| gauges.last_index,
        ),
        (
            "updraft_log_next_offset",
            "Records in the log, over all of its life",
            |gauges| gauges.next_offset,
        ),
        (
            "updraft_log_segments",
            "Segment files on the disk",
            |gauges| gauges.segments,
        ),
        (
            "updraft_log_disk_bytes",
            "Bytes of all segment files",
            |gauges| gauges.disk_bytes,
        ),
        (
            "updraft_log_first_offset",
            "The first offset that is retained; records below are deleted",
            |gauges| gauges.first_offset,
        ),
        (
            "updraft_log_used_bytes",
            "Bytes of segments, checkpoints and index together",
            |gauges| gauges.used_bytes,
        ),
        (
            "updraft_log_left_bytes",
            "Bytes that the log may still use, by its budget and its file system",
            |gauges| gauges.left_bytes,
        ),
    ];
    for (name, description, value) in shown {
        let node = node.clone();
        meter()
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(value(&node.gauges()), &[]))
            .build();
    }
    observe_lags(node);
    observe_reports(reports);
}

fn observe_lags(node: &Node) {
    let at_leader = node.clone();
    meter()
        .u64_observable_gauge("updraft_log_follower_lag_entries")
        .with_description("Entries that a follower is known to lack, as its leader sees it")
        .with_callback(move |observer| {
            let gauges = at_leader.gauges();
            for (follower, matched) in gauges.followers {
                let follower =
                    KeyValue::new("follower", i64::try_from(follower).unwrap_or(i64::MAX));
                observer.observe(gauges.last_index.saturating_sub(matched), &[follower]);
            }
        })
        .build();
    let node = node.clone();
    meter()
        .u64_observable_gauge("updraft_log_cursor_lag_records")
        .with_description("Records that a consumer of the log has not passed yet")
        .with_callback(move |observer| {
            let gauges = node.gauges();
            for (cursor, next_offset) in gauges.cursors {
                let lag = gauges.next_offset.saturating_sub(next_offset);
                observer.observe(lag, &[KeyValue::new("cursor", cursor)]);
            }
        })
        .build();
}

fn observe_reports(reports: Arc<Mutex<Reports>>) {
    meter()
        .f64_observable_gauge("updraft_log_report_age_seconds")
        .with_unit("s")
        .with_description("How long ago this node heard of a hub below, directly or not")
        .with_callback(move |observer| {
            let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
            for (hub, age) in reports.ages(Nanos::now()) {
                let below = KeyValue::new("below", hub.to_string());
                observer.observe(age.as_secs_f64(), &[below]);
            }
        })
        .build();
}
