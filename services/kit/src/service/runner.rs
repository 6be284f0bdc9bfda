//! Several services in one process: all or none.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument, error, info, info_span};

use super::{Context, Running, Service};
use crate::ready::Part;

/// Why the services did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing was run.
    #[error("service \"{service}\" can't start")]
    Build {
        service: &'static str,
        source: anyhow::Error,
    },
    #[error("service \"{service}\" failed")]
    Failed {
        service: &'static str,
        source: anyhow::Error,
    },
    #[error("service \"{service}\" panicked")]
    Panicked {
        service: &'static str,
        source: JoinError,
    },
    /// It returned without an error, though nobody had asked it to.
    #[error("service \"{service}\" ended by itself")]
    Unasked { service: &'static str },
    /// They were aborted.
    #[error("still running {grace:?} after shutdown began: {services}")]
    Stuck { services: String, grace: Duration },
}

/// Builds all `services`, then runs them until `context.shutdown` is cancelled.
///
/// The end of one service before that, however it comes about, cancels the others: a node that
/// misses a part is one that its cluster should see as gone. They get `grace` to drain. The first
/// error is returned, every one is logged.
pub async fn run(
    services: Vec<Service>,
    context: Context,
    grace: Duration,
) -> Result<(), RunError> {
    let starting = context.readiness.register("start");
    let mut built = Vec::with_capacity(services.len());
    for service in services {
        let name = service.name;
        let running = (service.build)(context.clone())
            .await
            .map_err(|source| RunError::Build {
                service: name,
                source,
            })?;
        built.push((name, running));
    }
    Runner::spawn(built, &context, starting)
        .watch(&context, grace)
        .await
}

struct Runner {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    first_error: Option<RunError>,
    /// Held so that the process counts as started while the tasks run.
    _started: Part,
}

impl Runner {
    fn spawn(built: Vec<(&'static str, Running)>, context: &Context, started: Part) -> Self {
        let mut tasks = JoinSet::new();
        let mut names = HashMap::new();
        for (service, running) in built {
            let hub = context.config.hub.path.as_str();
            let span = info_span!("service", service, hub, node = context.config.node.id.0);
            names.insert(tasks.spawn(running.instrument(span)).id(), service);
        }
        started.ready();
        Self {
            tasks,
            names,
            first_error: None,
            _started: started,
        }
    }

    async fn watch(mut self, context: &Context, grace: Duration) -> Result<(), RunError> {
        let mut deadline = None;
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended, context.shutdown.is_cancelled());
                    context.shutdown.cancel();
                }
                () = context.shutdown.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + grace);
                }
                () = until(deadline) => {
                    self.stuck(grace);
                    break;
                }
            }
        }
        self.first_error.map_or(Ok(()), Err)
    }

    /// Tells apart who ended how; only an end without error after the shutdown began is in order.
    fn ended(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>, asked: bool) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let service = self.names.remove(&id).unwrap_or("unknown");
        let error = match ended {
            Ok((_, Ok(()))) if asked => {
                info!(service, "service ended");
                return;
            }
            Ok((_, Ok(()))) => RunError::Unasked { service },
            Ok((_, Err(source))) => RunError::Failed { service, source },
            Err(source) => RunError::Panicked { service, source },
        };
        self.record(error);
    }

    fn stuck(&mut self, grace: Duration) {
        let mut services: Vec<_> = self.names.values().copied().collect();
        services.sort_unstable();
        self.record(RunError::Stuck {
            services: services.join(", "),
            grace,
        });
        self.tasks.abort_all();
    }

    fn record(&mut self, error: RunError) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        error!(cause, "{error}");
        self.first_error.get_or_insert(error);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
