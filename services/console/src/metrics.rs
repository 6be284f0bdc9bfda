//! What the console counts.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// `updraft_console_request_seconds`: time to the head of the answer, by route and status.
    request: Histogram<f64>,
    /// `updraft_console_live_viewers`: open streams of live values.
    live: UpDownCounter<i64>,
    /// `updraft_console_sign_ins_total`: by outcome: `ok`, `wrong`, `slowed`.
    sign_ins: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = kit::telemetry::meter("updraft_console");
        Metrics {
            request: meter
                .f64_histogram("updraft_console_request_seconds")
                .with_unit("s")
                .with_description("From a request to the head of its answer")
                .build(),
            live: meter
                .i64_up_down_counter("updraft_console_live_viewers")
                .with_description("Open streams of live values")
                .build(),
            sign_ins: meter
                .u64_counter("updraft_console_sign_ins_total")
                .with_description("Attempts to sign in")
                .build(),
        }
    }

    /// `route` is the pattern, not the path: a path would make a new series of every tag.
    pub(crate) fn answered(&self, route: &str, status: u16, elapsed: Duration) {
        let labels = [
            KeyValue::new("route", route.to_owned()),
            KeyValue::new("status", i64::from(status)),
        ];
        self.request.record(elapsed.as_secs_f64(), &labels);
    }

    pub(crate) fn live(&self, change: i64) {
        self.live.add(change, &[]);
    }

    pub(crate) fn sign_in(&self, outcome: &'static str) {
        self.sign_ins.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}
