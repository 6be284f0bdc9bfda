//! Connections: how many, how long they may take, and TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

/// Others wait to be accepted. More than there are seats for live views.
const MAX_CONNECTIONS: usize = 1024;
/// For the handshake of TLS, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(20);
/// After an error that is not of one connection, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What the browser reaches.
pub(super) struct Gate {
    pub(super) listener: TcpListener,
    /// Clear text when absent.
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) router: Router,
}

impl Gate {
    /// Serves until the shutdown, and then what was asked before.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        let tls = self.tls.map(TlsAcceptor::from);
        loop {
            let (place, stream, peer) = tokio::select! {
                accepted = accept(&places, &self.listener) => accepted,
                () = shutdown.cancelled() => break,
            };
            let connection = Connection {
                peer,
                router: self.router.clone(),
                shutdown: shutdown.clone(),
                _place: place,
            };
            connections.spawn(connection.serve(stream, tls.clone()));
        }
        connections.close();
        connections.wait().await;
    }
}

async fn accept(
    places: &Arc<Semaphore>,
    listener: &TcpListener,
) -> (Option<OwnedSemaphorePermit>, TcpStream, SocketAddr) {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (place, stream, peer),
            Err(error) => {
                warn!(%error, "can't accept a connection to the console");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Small events must not wait for more.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.talk(stream).await,
            Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.talk(stream).await,
                Ok(Err(error)) => debug!(peer = %self.peer, %error, "no TLS connection"),
                Err(_) => debug!(peer = %self.peer, "the TLS handshake took too long"),
            },
        }
    }

    async fn talk(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (peer, router) = (self.peer, self.router.clone());
        let service = service_fn(move |request| answer(router.clone(), peer, request));
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE);
        builder.http2().timer(TokioTimer::new());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(peer = %self.peer, error, "connection");
        }
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
