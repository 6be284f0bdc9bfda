//! The shared life of all services: read the file, build, run, and never end in silence.
//!
//! ```no_run
//! use kit::service::{Context, Service};
//!
//! async fn build(context: Context) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:1883").await?;
//!     Ok(async move {
//!         context.shutdown.cancelled().await;
//!         drop(listener);
//!         Ok(())
//!     })
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     kit::service::main("broker", env!("CARGO_PKG_VERSION"), build)
//! }
//! ```

mod runner;

pub use self::runner::{RunError, run};

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{self, ConfigError, HubConfig};
use crate::http::Endpoint;
use crate::listen::BindError;
use crate::ready::Readiness;
use crate::telemetry::{Metrics, Telemetry};
use crate::tls::Tls;
use crate::{shutdown, telemetry};

/// Exit codes of every binary; 0 is a clean end.
pub const EXIT_FAILED: u8 = 1;
/// A mistake in the arguments or in the file: nothing was started.
pub const EXIT_CONFIG: u8 = 2;

/// What every service is handed. Services of one process share it.
#[derive(Debug, Clone)]
pub struct Context {
    pub config: Arc<HubConfig>,
    pub tls: Option<Tls>,
    pub readiness: Readiness,
    /// Cancelled when the process is to end: drain, then return.
    pub shutdown: CancellationToken,
}

/// One service: how it is built, and with that, how it is run.
pub struct Service {
    name: &'static str,
    build: Box<dyn FnOnce(Context) -> BoxFuture<'static, anyhow::Result<Running>> + Send>,
}

/// A service that is built: what its task does until it is shut down.
pub(crate) type Running = BoxFuture<'static, anyhow::Result<()>>;

impl Context {
    /// Reads the certificates that `config` names. For tests and for [`launch`].
    pub fn new(config: HubConfig, shutdown: CancellationToken) -> Result<Self, ConfigError> {
        let tls = Tls::load(&config)?;
        Ok(Self {
            config: Arc::new(config),
            tls,
            readiness: Readiness::default(),
            shutdown,
        })
    }
}

impl Service {
    /// `build` binds ports and opens files, and returns what is to run. It must not wait for
    /// another service: all are built before any runs. Its [`ConfigError`] makes the process exit
    /// with [`EXIT_CONFIG`].
    pub fn new<B, F, R, E1, E2>(name: &'static str, build: B) -> Self
    where
        B: FnOnce(Context) -> F + Send + 'static,
        F: Future<Output = Result<R, E1>> + Send + 'static,
        R: Future<Output = Result<(), E2>> + Send + 'static,
        E1: Into<anyhow::Error>,
        E2: Into<anyhow::Error>,
    {
        let build = |context| -> BoxFuture<'static, anyhow::Result<Running>> {
            Box::pin(async move {
                let running = build(context).await.map_err(Into::into)?;
                let running: Running = Box::pin(async move { running.await.map_err(Into::into) });
                Ok(running)
            })
        };
        Self {
            name,
            build: Box::new(build),
        }
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Service")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The whole `main` of a binary with one service: `-c FILE`, then [`launch`].
pub fn main<B, F, R, E1, E2>(name: &'static str, version: &'static str, build: B) -> ExitCode
where
    B: FnOnce(Context) -> F + Send + 'static,
    F: Future<Output = Result<R, E1>> + Send + 'static,
    R: Future<Output = Result<(), E2>> + Send + 'static,
    E1: Into<anyhow::Error>,
    E2: Into<anyhow::Error>,
{
    let command = clap::Command::new(name)
        .display_name(format!("updraft-{name}"))
        .version(version)
        .arg(
            clap::Arg::new("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .help("The hub.yaml of this node")
                .default_value("hub.yaml")
                .value_parser(clap::value_parser!(PathBuf)),
        );
    let matches = command.get_matches();
    let path = matches
        .get_one::<PathBuf>("config")
        .cloned()
        .unwrap_or_default();
    launch(name, version, &path, |_| {
        Ok(vec![Service::new(name, build)])
    })
}

/// Runs the services that `choose` picks for the file at `path` until a signal ends them: with one
/// telemetry, one readiness and one HTTP endpoint for all of them.
pub fn launch(
    name: &'static str,
    version: &'static str,
    path: &Path,
    choose: impl FnOnce(&HubConfig) -> Result<Vec<Service>, ConfigError>,
) -> ExitCode {
    let outcome = prepare(path, choose)
        .and_then(|(config, services)| run_to_end(name, version, config, services));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (line, code) = verdict(&error);
            eprintln!("{line}");
            ExitCode::from(code)
        }
    }
}

/// The last line of a process that failed, and its exit code. A mistake in the file is told as the
/// file's line alone, whatever it went through on its way here.
#[must_use]
pub fn verdict(error: &anyhow::Error) -> (String, u8) {
    if let Some(mistake) = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<ConfigError>())
    {
        return (mistake.to_string(), EXIT_CONFIG);
    }
    let mut line = String::from("updraft: ");
    let mut previous = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors repeat their cause in their own words.
        if !previous.contains(&cause) {
            line.push_str(if previous.is_empty() { "" } else { ": " });
            line.push_str(&cause);
            previous = cause;
        }
    }
    (line, EXIT_FAILED)
}

fn prepare(
    path: &Path,
    choose: impl FnOnce(&HubConfig) -> Result<Vec<Service>, ConfigError>,
) -> anyhow::Result<(HubConfig, Vec<Service>)> {
    let config = config::load(path)?;
    let services = choose(&config)?;
    Ok((config, services))
}

fn run_to_end(
    name: &'static str,
    version: &'static str,
    config: HubConfig,
    services: Vec<Service>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let context = Context::new(config, shutdown::on_signal()?)?;
        let telemetry = telemetry::init(name, version, &context.config, context.tls.as_ref())?;
        let outcome = serve(version, context, &telemetry, services).await;
        telemetry.shutdown().await;
        outcome
    });
    // A blocking task that hangs must not keep a process alive whose services have ended.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    version: &str,
    context: Context,
    telemetry: &Telemetry,
    mut services: Vec<Service>,
) -> anyhow::Result<()> {
    for warning in context.config.warnings() {
        warn!("{warning}");
    }
    let names: Vec<_> = services.iter().map(Service::name).collect();
    info!(version, services = names.join(","), "starting");
    if let Some(address) = &context.config.telemetry.listen {
        services.insert(0, endpoint(**address, telemetry.metrics().clone()));
    }
    run(services, context, shutdown::GRACE).await?;
    info!("ended");
    Ok(())
}

/// `/metrics` and its like, as one more service of the process.
fn endpoint(address: SocketAddr, metrics: Metrics) -> Service {
    Service::new("telemetry", move |context: Context| async move {
        let endpoint = Endpoint::bind(address, context.readiness, metrics).await?;
        Ok::<_, BindError>(endpoint.run(context.shutdown))
    })
}
