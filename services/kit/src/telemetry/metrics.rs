//! The one registry of the process's metrics.

use std::time::Duration;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use prometheus::core::Collector;
use prometheus::{Encoder, Registry, TextEncoder};

/// The metrics of a process and their Prometheus text. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("can't set up the metrics registry")]
    Registry(#[from] OTelSdkError),
    #[error("can't write the metrics as text")]
    Text(#[from] prometheus::Error),
}

/// From 100 µs, an fsync on a fast disk, to 10 s, a client's patience.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// From a small record to the largest one, in steps of four.
const BYTES: [f64; 10] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

impl Metrics {
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Metrics that nothing but [`Metrics::text`] shows.
    pub fn new() -> Result<Self, MetricsError> {
        Self::build(Resource::builder_empty().build(), None)
    }

    /// Metrics that `exporter` also sends, once a minute.
    pub(super) fn with_exporter(
        resource: Resource,
        exporter: MetricExporter,
    ) -> Result<Self, MetricsError> {
        Self::build(resource, Some(exporter))
    }

    fn build(resource: Resource, exporter: Option<MetricExporter>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        // The names of the instruments are already those of Prometheus; scope and target say
        // nothing that a scraper does not know.
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let builder = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(reader)
            .with_view(view);
        let builder = match exporter {
            Some(exporter) => builder.with_periodic_exporter(exporter),
            None => builder,
        };
        Ok(Self {
            registry,
            provider: builder.build(),
        })
    }

    /// See [`super::meter`], which is this one of the process.
    #[must_use]
    pub fn meter(&self, name: &'static str) -> Meter {
        self.provider.meter(name)
    }

    /// All metrics in the Prometheus text format.
    pub fn text(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Metrics that are no instruments of a meter.
    pub(super) fn register(&self, collector: impl Collector + 'static) -> Result<(), MetricsError> {
        Ok(self.registry.register(Box::new(collector))?)
    }

    pub(super) fn provider(&self) -> &SdkMeterProvider {
        &self.provider
    }

    pub(super) fn shutdown(&self, within: Duration) {
        // Nobody is left to hear about metrics that could not be sent.
        let _ = self.provider.shutdown_with_timeout(within);
    }
}

/// The default buckets are for milliseconds; ours are by the unit at the end of the name.
fn view(instrument: &Instrument) -> Option<Stream> {
    use opentelemetry_sdk::metrics::InstrumentKind::Histogram;
    let name = instrument.name();
    let boundaries: &[f64] = match instrument.kind() {
        Histogram if name.ends_with("_seconds") => &SECONDS,
        Histogram if name.ends_with("_bytes") => &BYTES,
        _ => return None,
    };
    let aggregation = Aggregation::ExplicitBucketHistogram {
        boundaries: boundaries.to_vec(),
        record_min_max: false,
    };
    Stream::builder().with_aggregation(aggregation).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::KeyValue;

    #[test]
    fn names_come_out_as_they_were_given() {
        let metrics = Metrics::new().unwrap();
        let meter = metrics.meter("updraft_log");
        let publishes = meter
            .u64_counter("updraft_broker_publishes_total")
            .with_description("Publishes by quality of service")
            .build();
        publishes.add(2, &[KeyValue::new("qos", 1)]);
        let append = meter
            .f64_histogram("updraft_log_append_seconds")
            .with_unit("s")
            .build();
        append.record(0.0007, &[]);
        meter
            .u64_gauge("updraft_log_bytes")
            .with_unit("By")
            .build()
            .record(42, &[]);
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        let expected = [
            "# HELP updraft_broker_publishes_total Publishes by quality of service\n",
            "# TYPE updraft_broker_publishes_total counter\n",
            "updraft_broker_publishes_total{qos=\"1\"} 2\n",
            "# TYPE updraft_log_append_seconds histogram\n",
            "updraft_log_append_seconds_bucket{le=\"0.0005\"} 0\n",
            "updraft_log_append_seconds_bucket{le=\"0.001\"} 1\n",
            "updraft_log_append_seconds_count 1\n",
            "# TYPE updraft_log_bytes gauge\nupdraft_log_bytes 42\n",
        ];
        for line in expected {
            assert!(text.contains(line), "{line}\nis missing in\n{text}");
        }
        assert!(
            !text.contains("otel_scope") && !text.contains("target_info"),
            "{text}"
        );
    }
}
