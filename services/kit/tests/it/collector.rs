//! A collector that remembers what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    pub(crate) received: Received,
    _runtime: tokio::runtime::Runtime,
}

/// One line for each span (`span NAME`), log record (`log TARGET`) and metric (`metric NAME`).
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<Mutex<Vec<String>>>);

pub(crate) fn start() -> Collector {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let received = Received::default();
    let inside = runtime.enter();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(received.clone()))
        .add_service(LogsServiceServer::new(received.clone()))
        .add_service(MetricsServiceServer::new(received.clone()))
        .serve_with_incoming(incoming);
    drop(runtime.spawn(serving));
    drop(inside);
    Collector {
        address,
        received,
        _runtime: runtime,
    }
}

impl Received {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, line: &str) {
        let began = Instant::now();
        while !self.all().iter().any(|received| received == line) {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{line:?} not in {:?}",
                self.all()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn add(&self, lines: impl Iterator<Item = String>) {
        self.0.lock().unwrap().extend(lines);
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        self.add(
            scopes
                .flat_map(|scope| scope.spans)
                .map(|span| format!("span {}", span.name)),
        );
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Received {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resources = request.into_inner().resource_logs.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        // The bridge makes a scope of each target.
        self.add(
            scopes
                .filter_map(|scope| scope.scope)
                .map(|scope| format!("log {}", scope.name)),
        );
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics);
        self.add(metrics.map(|metric| format!("metric {}", metric.name)));
        Ok(Response::new(Default::default()))
    }
}
