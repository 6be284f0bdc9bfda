//! The overview: the hubs of the tree with their nodes, live.
//!
//! One task asks the log once a second, [`tree`] makes an overview of the answer, and [`view`]
//! renders it once for all who look.

pub(crate) mod tree;
mod view;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use proto::Nanos;
use proto::rpc::HubReport;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::live::{self, Feed};
use crate::page::{self, Nav};
use tree::Tree;

const ASK_EVERY: Duration = Duration::from_secs(1);

/// The newest of what the log tells of this hub and those below.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    feed: Feed,
    /// The own hub first.
    pub(crate) reports: watch::Sender<Vec<HubReport>>,
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(show))
        .route("/live/overview", get(follow))
}

async fn show(State(app): State<App>, viewer: Viewer) -> Markup {
    let body = html! {
        h1.visually-hidden { "Overview" }
        div #overview data-live="/live/overview" { (app.topology.feed.current()) }
    };
    page::layout(&app, &viewer, "Overview", Nav::Overview, &[], body)
}

async fn follow(State(app): State<App>, viewer: Viewer) -> Result<Response, Problem> {
    live::respond(&app, &viewer, app.topology.feed.follow())
}

/// Asks, forever.
pub(crate) async fn run(app: App) {
    let topology = &app.topology;
    topology.feed.publish(&view::waiting().into_string());
    let mut tree = Tree::default();
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = app.log.topology().await;
        if let Err(error) = &answer {
            debug!(%error, "no topology");
        }
        let answer = answer.ok();
        let overview = tree.update(Nanos::now(), answer.clone());
        topology
            .feed
            .publish(&view::overview(&overview).into_string());
        if let Some(reports) = answer {
            topology.reports.send_replace(reports);
        }
    }
}
