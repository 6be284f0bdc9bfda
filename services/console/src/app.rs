//! What all requests share.

use std::ops::Deref;
use std::sync::Arc;

use historian::Historian;
use kit::config::HubConfig;
use raft_log::client::LogClient;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::auth::Auth;
use crate::lab::page::Bench;
use crate::live::Seats;
use crate::metrics::Metrics;
use crate::overview::Topology;
use crate::tags::Tags;

/// Cheap to clone; every handler takes it as `State<App>`.
#[derive(Clone, Debug)]
pub(crate) struct App(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) hub: Arc<HubConfig>,
    pub(crate) log: LogClient,
    pub(crate) auth: Auth,
    /// Places for viewers of something live.
    pub(crate) seats: Seats,
    pub(crate) topology: Topology,
    pub(crate) audit: Audit,
    pub(crate) lab: Option<Bench>,
    pub(crate) tags: Tags,
    pub(crate) historian: Option<Arc<dyn Historian>>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

impl App {
    pub(crate) fn new(parts: Parts) -> App {
        App(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
