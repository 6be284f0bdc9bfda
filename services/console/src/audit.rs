//! The audit: the chains of this hub's log are computed again as it grows, and compared with what
//! the hubs below hold (I8).
//!
//! One task tails the log from where it stood at the start ([`verify`]); on an operator's order it
//! also walks it once from its beginning, no faster than [`WALK_BYTES_PER_SECOND`]. The whole
//! comparison of every record with every historian is `updraft audit`.

mod verify;
mod view;

use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt};
use kit::config::Role;
use maud::{Markup, html};
use proto::Offset;
use proto::rpc::{HubReport, StatusResponse, TailResponse};
use raft_log::client::{ClientError, LogClient, TailFrom};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{error, info};

use crate::app::App;
use crate::auth::{Operator, Viewer};
use crate::error::Problem;
use crate::live::{self, Feed};
use crate::page::{self, Nav};
use verify::Verifier;

/// So that a walk costs the log's disks less than its clients notice.
const WALK_BYTES_PER_SECOND: f64 = 16.0 * 1024.0 * 1024.0;
/// How long reading may take for what comes next.
const PATIENCE: Duration = Duration::from_secs(30);
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How the walk calls what was verified live.
const LIVE: &str = "live";

/// The page's end of the task.
#[derive(Debug)]
pub(crate) struct Audit {
    feed: Feed,
    orders: mpsc::Sender<Order>,
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct Orders(mpsc::Receiver<Order>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Walk,
    Stop,
}

impl Audit {
    pub(crate) fn new() -> (Audit, Orders) {
        let (orders, received) = mpsc::channel(4);
        let feed = Feed::default();
        (Audit { feed, orders }, Orders(received))
    }
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/audit", get(show))
        .route("/audit/orders", post(order))
        .route("/live/audit", get(follow))
}

async fn show(State(app): State<App>, viewer: Viewer) -> Markup {
    let body = html! {
        div.row.apart {
            h1 { "Audit" }
            @if viewer.may(Role::Operator) { (buttons(&viewer)) }
        }
        p.muted {
            "Every origin carries a hash chain over all of its batches. It is computed again here, "
            "from the bytes that the log delivers, and compared with what each hub below holds."
        }
        div #audit data-live="/live/audit" { (app.audit.feed.current()) }
    };
    page::layout(&app, &viewer, "Audit", Nav::Audit, &[], body)
}

fn buttons(viewer: &Viewer) -> Markup {
    html! {
        form.row method="post" action="/audit/orders" {
            (viewer.csrf_field())
            button.button.primary type="submit" name="order" value="walk" {
                "Verify from the beginning"
            }
            button.button type="submit" name="order" value="stop" { "Stop" }
        }
    }
}

async fn follow(State(app): State<App>, viewer: Viewer) -> Result<Response, Problem> {
    live::respond(&app, &viewer, app.audit.feed.follow())
}

#[derive(Debug, Deserialize)]
struct Given {
    order: Order,
}

async fn order(
    State(app): State<App>,
    operator: Operator,
    given: Result<Form<Given>, FormRejection>,
) -> Result<Redirect, Problem> {
    let Form(Given { order }) = given?;
    info!(user = operator.name, ?order, "order to the audit");
    let outcome = match (app.audit.orders.try_send(order), order) {
        (Err(_), _) => Err("the audit is busy: try again".to_owned()),
        (Ok(()), Order::Walk) => Ok("the log is read again from its beginning".to_owned()),
        (Ok(()), Order::Stop) => Ok("reading from the beginning has ended".to_owned()),
    };
    app.auth.flash(&operator, outcome);
    Ok(Redirect::to("/audit"))
}

type Tail = Pin<Box<dyn Stream<Item = Result<TailResponse, ClientError>> + Send>>;

/// Verifies, forever.
pub(crate) async fn run(app: App, Orders(mut orders): Orders) {
    app.audit.feed.publish(&view::waiting().into_string());
    let mut reports = app.topology.reports.subscribe();
    let Some(own) = first(&mut reports).await else {
        return std::future::pending().await;
    };
    let mut task = AuditTask {
        live: Verifier::from_heads(&own.origins, own.next_offset),
        tail: tail(&app.log, own.next_offset),
        walk: None,
        told: false,
        ticks: ticks(),
        reading: Reading::new(Instant::now()),
        walking: Reading::new(Instant::now()),
        app,
    };
    loop {
        tokio::select! {
            Some(Ok(response)) = task.tail.next() => task.read(&response).await,
            Some(response) = next(&mut task.walk) => task.walked(response).await,
            Some(order) = orders.recv() => task.order(order).await,
            _ = task.ticks.tick() => task.show(&reports.borrow_and_update()),
        }
    }
}

/// The own hub's report, once it is formed.
async fn first(reports: &mut watch::Receiver<Vec<HubReport>>) -> Option<HubReport> {
    let formed = |reports: &Vec<HubReport>| {
        let own = reports.first();
        own.is_some_and(|own| !own.incarnation.is_empty())
    };
    let reports = reports.wait_for(formed).await.ok()?;
    reports.first().cloned()
}

fn tail(log: &LogClient, from: u64) -> Tail {
    let offset = Offset(from);
    Box::pin(log.tail(TailFrom {
        offset,
        ..TailFrom::default()
    }))
}

fn ticks() -> Interval {
    let mut ticks = interval(SHOW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct AuditTask {
    app: App,
    live: Verifier,
    tail: Tail,
    walk: Option<Walk>,
    /// That there is a difference.
    told: bool,
    ticks: Interval,
    reading: Reading,
    walking: Reading,
}

/// Whether reading gets on: a log that can't be read somewhere answers with nothing, for ever.
struct Reading {
    at: u64,
    since: Instant,
}

impl Reading {
    fn new(now: Instant) -> Reading {
        Reading { at: 0, since: now }
    }

    /// Where nothing has come from for [`PATIENCE`], though the log goes on to `end`.
    fn stuck(&mut self, at: u64, end: u64, now: Instant) -> Option<u64> {
        if at != self.at || at >= end {
            *self = Reading { at, since: now };
        }
        (now - self.since > PATIENCE).then_some(at)
    }
}

/// Reading the log from its beginning to where it ended when this began.
struct Walk {
    verifier: Verifier,
    tail: Tail,
    /// Where the log begins: what was before is deleted.
    from: u64,
    at: u64,
    until: u64,
    began: Instant,
    bytes: u64,
    /// Not to be faster than allowed.
    pause_until: Instant,
    /// How long it took.
    done: Option<Duration>,
}

/// What the walk delivers, or never anything.
async fn next(walk: &mut Option<Walk>) -> Option<TailResponse> {
    match walk.as_mut().filter(|walk| walk.done.is_none()) {
        None => std::future::pending().await,
        Some(walk) => {
            sleep_until(walk.pause_until).await;
            walk.tail.next().await?.ok()
        }
    }
}

impl AuditTask {
    async fn order(&mut self, order: Order) {
        let own = self.app.topology.reports.borrow().first().cloned();
        self.walk = match (order, own) {
            (Order::Walk, Some(own)) => match self.app.log.status().await {
                Ok(status) => Some(Walk::new(&self.app.log, &status, own.next_offset)),
                Err(error) => {
                    error!(%error, "the log can't be walked: it does not say where it begins");
                    None
                }
            },
            _ => None,
        };
    }

    /// What the log has next. What was deleted before it was read is left out: it begins again.
    async fn read(&mut self, response: &TailResponse) {
        let next = self.live.next_offset.unwrap_or_default();
        if response.first_offset > next
            && let Ok(status) = self.app.log.status().await
        {
            let retention = status.retention.unwrap_or_default();
            self.live = Verifier::from_retained(&retention);
            self.tail = tail(&self.app.log, retention.first_offset);
            return;
        }
        for delivery in &response.deliveries {
            self.live.take(delivery);
        }
    }

    async fn walked(&mut self, response: TailResponse) {
        let Some(walk) = &mut self.walk else {
            return;
        };
        if response.first_offset > walk.at {
            // The log was shortened while it was read.
            return self.order(Order::Walk).await;
        }
        walk.take(&response, &self.live);
        if walk.done.is_some() {
            self.live.extend(&walk.verifier, LIVE);
        }
    }

    fn show(&mut self, reports: &[HubReport]) {
        for report in reports {
            self.live.hear(&report.hub, &report.origins);
            if let Some(walk) = &mut self.walk {
                walk.verifier.hear(&report.hub, &report.origins);
            }
        }
        let walk = self.walk.as_ref();
        let differs = self.live.differs() || walk.is_some_and(|walk| walk.verifier.differs());
        if differs && !self.told {
            error!("the audit has found a difference: see the console's page /audit");
        }
        self.told = differs;
        let now = Instant::now();
        let end = reports.first().map_or(0, |own| own.next_offset);
        let live = self.live.next_offset.unwrap_or(end);
        let stuck = self.reading.stuck(live, end, now);
        let walked = walk.filter(|walk| walk.done.is_none());
        let (at, until) = walked.map_or((0, 0), |walk| (walk.at, walk.until));
        let stuck = stuck.or(self.walking.stuck(at, until, now));
        let page = view::audit(&self.live, walk, stuck, reports);
        self.app.audit.feed.publish(&page.into_string());
    }
}

impl Walk {
    /// Begins where the log does, with what it knows of what it has deleted.
    fn new(log: &LogClient, status: &StatusResponse, until: u64) -> Walk {
        let now = Instant::now();
        let retention = status.retention.clone().unwrap_or_default();
        let from = retention.first_offset;
        Walk {
            verifier: Verifier::from_retained(&retention),
            tail: tail(log, from),
            from,
            at: from,
            until,
            began: now,
            bytes: 0,
            pause_until: now,
            // Of an empty log there is nothing to read.
            done: (until <= from).then_some(Duration::ZERO),
        }
    }

    fn take(&mut self, response: &TailResponse, live: &Verifier) {
        let begins = live.begins();
        for delivery in &response.deliveries {
            if delivery.offset < self.until {
                self.verifier.take(delivery);
                self.verifier.hear(LIVE, &begins);
                let batch = delivery.envelope.as_ref().map_or(0, |it| it.batch.len());
                self.bytes += batch as u64;
            }
        }
        self.at = response.next_offset.min(self.until);
        self.pause_until = self.began + due(self.bytes);
        if self.at >= self.until {
            self.done = Some(self.began.elapsed());
        }
    }
}

/// When so many bytes may have been read.
#[allow(clippy::cast_precision_loss, reason = "a pace, not a count")]
fn due(bytes: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / WALK_BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_stuck_when_there_is_more_and_nothing_comes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut reading = Reading::new(start);
        for (offset, end, seconds, stuck) in [
            (5, 9, 0, None),
            (5, 9, 30, None),
            (5, 9, 31, Some(5)),
            (6, 9, 32, None),
            (9, 9, 99, None),
            (9, 12, 100, None),
            (9, 12, 140, Some(9)),
        ] {
            assert_eq!(reading.stuck(offset, end, at(seconds)), stuck, "{seconds}");
        }
    }
}
