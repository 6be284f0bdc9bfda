//! Traces and logs to an OTLP collector.

use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig,
    WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{Sampler, SamplingResult, SdkTracerProvider, ShouldSample};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::HttpUrl;
use crate::tls::Tls;

/// How long one export may take before it counts as failed.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What the export itself uses: its spans and logs would be exported in turn, for ever.
const OWN_TARGETS: [&str; 6] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "tonic",
    "tower",
];

#[derive(Debug)]
pub(super) struct Export {
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
}

impl Export {
    pub(super) fn new(
        url: &HttpUrl,
        tls: Option<&Tls>,
        resource: &Resource,
        traced: f64,
    ) -> Result<Self, ExporterBuildError> {
        let spans = to(SpanExporter::builder().with_tonic(), url, tls).build()?;
        let records = to(LogExporter::builder().with_tonic(), url, tls).build()?;
        let traces = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(ShareOfBatches(traced))
            .with_batch_exporter(spans)
            .build();
        let logs = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_batch_exporter(records)
            .build();
        Ok(Self { traces, logs })
    }

    /// Takes the spans and events of `tracing`.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let traces = tracing_opentelemetry::layer().with_tracer(self.traces.tracer("updraft"));
        traces.and_then(OpenTelemetryTracingBridge::new(&self.logs))
    }

    /// For spans that are no spans of `tracing`.
    pub(super) fn tracer_provider(&self) -> SdkTracerProvider {
        self.traces.clone()
    }

    pub(super) fn shutdown(&self, within: Duration) {
        // Nobody is left to hear about what could not be sent.
        let _ = self.traces.shutdown_with_timeout(within);
        let _ = self.logs.shutdown_with_timeout(within);
    }
}

/// Of the batches, whose spans have a parent elsewhere, a share is traced; all other spans are.
///
/// The trace id decides, which is the batch's own: every stage decides the same, on every node and
/// at every hub, and a hub that traces more traces all that another one does.
#[derive(Clone, Debug)]
struct ShareOfBatches(f64);

impl ShouldSample for ShareOfBatches {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let batch = parent.is_some_and(|parent| parent.span().span_context().is_remote());
        let sampler = match batch {
            true => Sampler::TraceIdRatioBased(self.0),
            false => Sampler::AlwaysOn,
        };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

pub(super) fn metric_exporter(
    url: &HttpUrl,
    tls: Option<&Tls>,
) -> Result<MetricExporter, ExporterBuildError> {
    to(MetricExporter::builder().with_tonic(), url, tls).build()
}

/// `filter` without the targets that the export itself uses.
pub(super) fn without_own_targets(filter: EnvFilter) -> EnvFilter {
    OWN_TARGETS.iter().fold(filter, |filter, target| {
        match format!("{target}=off").parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        }
    })
}

fn to<B: WithExportConfig + WithTonicConfig>(builder: B, url: &HttpUrl, tls: Option<&Tls>) -> B {
    let builder = builder.with_endpoint(url.to_string()).with_timeout(TIMEOUT);
    match tls.filter(|_| url.is_https()) {
        Some(tls) => builder.with_tls_config(tls.client.clone()),
        None => builder,
    }
}
