//! What the collectors count; each metric has the label `collector`.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge};

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// `updraft_collector_samples_total`: samples that are durable in the log.
    samples: Counter<u64>,
    /// `updraft_collector_refused_total`: samples that the log refused, such as one too large.
    refused: Counter<u64>,
    /// `updraft_collector_connected`: 1 while the machine answers.
    connected: Gauge<u64>,
    /// `updraft_collector_reconnects_total`: connections made after the first one.
    reconnects: Counter<u64>,
    /// `updraft_collector_errors_total`: connections lost or not had, and answers that were errors.
    errors: Counter<u64>,
    /// `updraft_collector_bad_tags`: tags that the machine refuses at present.
    bad_tags: Gauge<u64>,
    /// `updraft_collector_overflows_total`: OPC UA values before which the server dropped others,
    /// because its queue was full.
    overflows: Counter<u64>,
    /// `updraft_collector_republished_total`: OPC UA notifications that were lost on the way and
    /// came again.
    republished: Counter<u64>,
    /// `updraft_collector_gaps_total`: times that OPC UA values may be missing: the server could
    /// not send a notification again, or its subscription was gone.
    gaps: Counter<u64>,
}

/// Those of one collector.
#[derive(Clone, Debug)]
pub(crate) struct CollectorMetrics {
    all: Metrics,
    collector: [KeyValue; 1],
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = kit::telemetry::meter("updraft_collector");
        let counter = |name, description| {
            let counter = meter.u64_counter(name);
            counter.with_description(description).build()
        };
        let gauge = |name, description| {
            let gauge = meter.u64_gauge(name);
            gauge.with_description(description).build()
        };
        Metrics {
            samples: counter(
                "updraft_collector_samples_total",
                "Samples that are durable in the log",
            ),
            refused: counter(
                "updraft_collector_refused_total",
                "Samples that the log refused, such as one too large",
            ),
            connected: gauge("updraft_collector_connected", "1 while the machine answers"),
            reconnects: counter(
                "updraft_collector_reconnects_total",
                "Connections made after the first one",
            ),
            errors: counter(
                "updraft_collector_errors_total",
                "Connections lost or not had, and answers that were errors",
            ),
            bad_tags: gauge(
                "updraft_collector_bad_tags",
                "Tags that the machine refuses at present",
            ),
            overflows: counter(
                "updraft_collector_overflows_total",
                "OPC UA values before which the server dropped others, because its queue was full",
            ),
            republished: counter(
                "updraft_collector_republished_total",
                "OPC UA notifications that were lost on the way and came again",
            ),
            gaps: counter(
                "updraft_collector_gaps_total",
                "Times that OPC UA values may be missing, because the server could not send again",
            ),
        }
    }

    pub(crate) fn of(&self, collector: &str) -> CollectorMetrics {
        let metrics = CollectorMetrics {
            all: self.clone(),
            collector: [KeyValue::new("collector", collector.to_owned())],
        };
        // What alarms when it grows must have been seen at 0 before.
        self.gaps.add(0, &metrics.collector);
        self.overflows.add(0, &metrics.collector);
        metrics
    }
}

impl CollectorMetrics {
    pub(crate) fn samples(&self, count: u64) {
        self.all.samples.add(count, &self.collector);
    }

    pub(crate) fn refused(&self) {
        self.all.refused.add(1, &self.collector);
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.all
            .connected
            .record(u64::from(connected), &self.collector);
    }

    pub(crate) fn reconnected(&self) {
        self.all.reconnects.add(1, &self.collector);
    }

    pub(crate) fn error(&self) {
        self.all.errors.add(1, &self.collector);
    }

    pub(crate) fn bad_tags(&self, count: usize) {
        self.all.bad_tags.record(count as u64, &self.collector);
    }

    pub(crate) fn overflows(&self, count: u64) {
        self.all.overflows.add(count, &self.collector);
    }

    pub(crate) fn republished(&self) {
        self.all.republished.add(1, &self.collector);
    }

    pub(crate) fn gap(&self) {
        self.all.gaps.add(1, &self.collector);
    }
}
