//! `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts or routes.

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::listen::{self, BindError};
use crate::ready::Readiness;
use crate::telemetry::Metrics;

/// The endpoint of `telemetry.listen`: bound, but not served before [`Endpoint::run`].
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    router: Router,
}

impl Endpoint {
    pub async fn bind(
        address: SocketAddr,
        readiness: Readiness,
        metrics: Metrics,
    ) -> Result<Self, BindError> {
        let listener = listen::bind("telemetry.listen", address).await?;
        let router = Router::new()
            .route("/metrics", get(metrics_text).with_state(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz).with_state(readiness));
        Ok(Self { listener, router })
    }

    /// The address with the port that the system chose, if the file said 0.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub fn run(
        self,
        shutdown: CancellationToken,
    ) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
        axum::serve(self.listener, self.router)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .into_future()
    }
}

async fn metrics_text(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Answering at all is the health; whether work gets done is [`readyz`].
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = match report.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn serves_metrics_health_and_readiness_until_shutdown() {
        let (readiness, metrics) = (Readiness::default(), Metrics::new().unwrap());
        metrics
            .meter("test")
            .u64_counter("updraft_test_total")
            .build()
            .add(3, &[]);
        let any = "127.0.0.1:0".parse().unwrap();
        let endpoint = Endpoint::bind(any, readiness.clone(), metrics)
            .await
            .unwrap();
        let (address, shutdown) = (endpoint.local_addr().unwrap(), CancellationToken::new());
        let running = tokio::spawn(endpoint.run(shutdown.clone()));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let part = readiness.register("log");
        part.not_ready("no leader");
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains(r#""reason":"no leader""#), "{answer}");
        part.ready();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(
            get(address, "/metrics")
                .await
                .contains("\nupdraft_test_total 3\n")
        );

        shutdown.cancel();
        running.await.unwrap().unwrap();
    }
}
