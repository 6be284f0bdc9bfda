//! Logs, traces and metrics of the process.
//!
//! Logs go to stderr. Metrics are always kept, for `/metrics`. With `telemetry.otlp` set, all three
//! are also sent to a collector, from threads of their own: an endpoint that can't be reached costs
//! a service nothing but a bounded queue whose overflow is thrown away.

mod export;
mod metrics;
mod process;

pub use self::metrics::{Metrics, MetricsError};

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::metrics::Meter;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt};

use self::export::Export;
use crate::config::HubConfig;
use crate::tls::Tls;

/// How long the last records may take to leave the process.
const FLUSH: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the variable RUST_LOG is no log filter")]
    Filter(#[from] tracing_subscriber::filter::FromEnvError),
    #[error("telemetry.otlp: can't be exported to")]
    Exporter(#[from] ExporterBuildError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("telemetry is already set up in this process")]
    Twice(#[from] TryInitError),
}

/// Keeps telemetry going. What is buffered leaves with [`Telemetry::shutdown`] or on drop.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    export: Option<Export>,
}

/// The meter of one part, for its instruments. Only meters taken after [`init`] are counted.
///
/// Instruments are named as Prometheus shows them: `updraft_log_append_seconds`,
/// `updraft_broker_publishes_total`.
#[must_use]
pub fn meter(name: &'static str) -> Meter {
    global::meter(name)
}

/// Starts telemetry for the whole process; within a Tokio runtime.
pub fn init(
    service: &str,
    version: &'static str,
    config: &HubConfig,
    tls: Option<&Tls>,
) -> Result<Telemetry, TelemetryError> {
    let resource = resource(service, version, config);
    let otlp = config.telemetry.otlp.as_ref();
    let export = otlp
        .map(|url| Export::new(url, tls, &resource, config.telemetry.traces.get()))
        .transpose()?;
    let metrics = match otlp {
        Some(url) => Metrics::with_exporter(resource, export::metric_exporter(url, tls)?)?,
        None => Metrics::new()?,
    };
    process::register(&metrics, version, config)?;
    global::set_meter_provider(metrics.provider().clone());
    if let Some(export) = &export {
        global::set_tracer_provider(export.tracer_provider());
    }

    let filter = || filter(config.telemetry.log.as_str());
    let stderr = std::io::stderr;
    let ansi = stderr().is_terminal();
    let text = fmt::layer()
        .compact()
        .with_writer(stderr)
        .with_ansi(ansi)
        .with_filter(filter()?);
    let exported = match &export {
        Some(export) => Some(
            export
                .layer()
                .with_filter(export::without_own_targets(filter()?)),
        ),
        None => None,
    };
    tracing_subscriber::registry()
        .with(exported)
        .with(text)
        .try_init()?;
    Ok(Telemetry { metrics, export })
}

impl Telemetry {
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends what is buffered, for a few seconds at most, without blocking the runtime.
    pub async fn shutdown(self) {
        // An error is a panic of the flush: nothing is left to report it to.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(export) = self.export.take() {
            export.shutdown(FLUSH);
            self.metrics.shutdown(FLUSH);
        }
    }
}

fn filter(configured: &str) -> Result<EnvFilter, TelemetryError> {
    match std::env::var_os(EnvFilter::DEFAULT_ENV).filter(|directives| !directives.is_empty()) {
        Some(_) => Ok(EnvFilter::try_from_default_env()?),
        // What Raft does is told by the log. Its library warns of every request to a node that is
        // away, which is nothing to wake anybody for. That of OPC UA calls errors what the collector
        // tells once, in its own words, and mends by itself.
        None => Ok(EnvFilter::new(format!(
            "openraft=error,opcua_client=off,opcua_core=off,opcua_crypto=off,{configured}"
        ))),
    }
}

fn resource(service: &str, version: &'static str, config: &HubConfig) -> Resource {
    let node = i64::try_from(config.node.id.0).unwrap_or(i64::MAX);
    Resource::builder()
        .with_service_name(format!("updraft-{service}"))
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .with_attribute(opentelemetry::KeyValue::new(
            "updraft.hub",
            config.hub.path.to_string(),
        ))
        .with_attribute(opentelemetry::KeyValue::new("updraft.node", node))
        .build()
}
