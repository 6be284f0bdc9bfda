//! An OpenTelemetry collector that remembers what it was sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Collector {
    pub address: SocketAddr,
    received: Received,
    server: tokio::task::JoinHandle<()>,
}

/// What came, each with the hub that sent it.
#[derive(Clone, Debug, Default)]
pub struct Received(Arc<Mutex<Seen>>);

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub spans: Vec<(String, Span)>,
    /// Hub and target, such as `log_service::uplink`.
    pub logs: BTreeSet<(String, String)>,
    /// Hub and name.
    pub metrics: BTreeSet<(String, String)>,
}

impl Collector {
    pub fn start() -> Result<Collector> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let incoming = TcpIncoming::bind(any).context("bind a collector")?;
        let address = incoming.local_addr()?;
        let received = Received::default();
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(received.clone()))
            .add_service(LogsServiceServer::new(received.clone()))
            .add_service(MetricsServiceServer::new(received.clone()))
            .serve_with_incoming(incoming);
        let server = tokio::spawn(async move {
            // Who waits for what it should receive says that nothing came.
            let _ = serving.await;
        });
        Ok(Collector {
            address,
            received,
            server,
        })
    }

    pub fn seen(&self) -> Seen {
        self.received.lock().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attribute `updraft.hub`.
fn hub(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| &resource.attributes[..]);
    let hub = attributes
        .unwrap_or_default()
        .iter()
        .find(|attribute| attribute.key == "updraft.hub");
    let value = hub.and_then(|attribute| attribute.value.clone()?.value);
    match value {
        Some(Value::StringValue(hub)) => hub,
        _ => String::new(),
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let hub = hub(of_resource.resource.as_ref());
            let scopes = of_resource.scope_spans.into_iter();
            let spans = scopes.flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (hub.clone(), span));
            self.lock().spans.extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Received {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_logs {
            let hub = hub(of_resource.resource.as_ref());
            for scope in of_resource.scope_logs {
                let target = scope.scope.map(|scope| scope.name).unwrap_or_default();
                self.lock().logs.insert((hub.clone(), target));
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_metrics {
            let hub = hub(of_resource.resource.as_ref());
            let scopes = of_resource.scope_metrics.into_iter();
            let metrics = scopes.flat_map(|scope| scope.metrics);
            let names = metrics.map(|metric| (hub.clone(), metric.name));
            self.lock().metrics.extend(names);
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
