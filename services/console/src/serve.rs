//! The console as a service: its port, its background tasks, and what every answer has in common.

mod gate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use historian::Historian;
use kit::ready::Part;
use kit::service::Context;
use raft_log::client::LogClient;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::info;

use gate::Gate;

use crate::app::{App, Parts};
use crate::audit::{self, Audit};
use crate::auth::Auth;
use crate::config::{Config, WHO};
use crate::error::Problem;
use crate::lab::Lab;
use crate::lab::page::Bench;
use crate::live::Seats;
use crate::metrics::Metrics;
use crate::overview::Topology;
use crate::tags::Tags;
use crate::{Error, assets, auth, lab, overview, settings, tags, trend, wave};

/// A console whose port is open; nothing is answered before [`Console::run`].
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    address: SocketAddr,
    parts: Parts,
    audit_orders: audit::Orders,
    ready: Part,
}

/// Binds the port.
pub async fn build(context: Context) -> Result<Console, Error> {
    let config = Config::of(&context)?;
    let log = LogClient::new(config.log.clone())?;
    let listener = kit::listen::bind("console.listen", *config.console.listen).await?;
    let address = listener.local_addr()?;
    let tls = match *config.console.tls {
        true => kit::tls::for_browsers(&context.config)?.map(with_protocols),
        false => None,
    };
    let (audit, audit_orders) = Audit::new();
    let parts = Parts {
        hub: context.config.clone(),
        log,
        auth: Auth::new(&config.console),
        seats: Seats::default(),
        topology: Topology::default(),
        audit,
        lab: None,
        tags: Tags::new(context.config.historian.is_some()),
        historian: historian(&context).await?,
        metrics: Metrics::new(),
        shutdown: context.shutdown.clone(),
    };
    Ok(Console {
        listener,
        tls,
        address,
        parts,
        audit_orders,
        ready: context.readiness.register("console"),
    })
}

/// Opens the database, when this node's file names one.
async fn historian(context: &Context) -> Result<Option<Arc<dyn Historian>>, Error> {
    if context.config.historian.is_none() {
        return Ok(None);
    }
    let hub = context.config.clone();
    let opened = tokio::task::spawn_blocking(move || historian::open(&hub, WHO)).await;
    Ok(Some(opened.map_err(|_| Error::Task)??))
}

/// A browser opens one connection for all live views if it may.
fn with_protocols(mut tls: rustls::ServerConfig) -> Arc<rustls::ServerConfig> {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(tls)
}

impl Console {
    /// Where it listens, with the port that the system chose if the file said 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Also shows a page with what a demo lets people break.
    #[must_use]
    pub fn with_lab(mut self, lab: Lab) -> Console {
        self.parts.lab = Some(Bench::new(lab));
        self
    }

    /// Serves until the shutdown.
    pub async fn run(self) -> Result<(), Error> {
        let app = App::new(self.parts);
        let mut tasks = JoinSet::new();
        tasks.spawn(overview::run(app.clone()));
        tasks.spawn(tags::run(app.clone()));
        tasks.spawn(audit::run(app.clone(), self.audit_orders));
        tasks.spawn(lab::page::run(app.clone()));
        info!(address = %self.address, "console");
        let shutdown = app.shutdown.clone();
        let gate = Gate {
            listener: self.listener,
            tls: self.tls,
            router: router(app),
        };
        self.ready.ready();
        tokio::select! {
            () = gate.run(shutdown) => Ok(()),
            // They never return: this one panicked.
            Some(_) = tasks.join_next() => Err(Error::Task),
        }
    }
}

fn router(app: App) -> Router {
    let pages = Router::new()
        .merge(overview::routes())
        .merge(tags::routes())
        .merge(trend::routes())
        .merge(wave::routes())
        .merge(audit::routes())
        .merge(lab::page::routes())
        .merge(settings::routes())
        .merge(auth::routes())
        .fallback(|| async { Problem::NotFound })
        .layer(DefaultBodyLimit::max(auth::MAX_BODY_BYTES))
        .layer(from_fn_with_state(app.clone(), auth::guard));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(assets::routes())
        .merge(pages)
        .layer(from_fn_with_state(app.clone(), measured))
        .layer(from_fn(secured))
        .with_state(app)
}

async fn measured(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    app.metrics
        .answered(route, response.status().as_u16(), start.elapsed());
    response
}

/// What a browser is told to refuse on all of our pages.
const SECURITY: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
         object-src 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

async fn secured(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Whatever does not say otherwise is of one person and one moment.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
