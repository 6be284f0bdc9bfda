//! Live values of the rows on a screen: what changed, twice a second at most. A row is rendered once
//! for all who look at it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use proto::Nanos;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::live;

use super::browse::{Cells, ROWS};
use super::names::TagId;

/// A viewer hears no more often.
pub(crate) const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
pub(super) struct Watched {
    run: u64,
    /// Ids, separated by commas.
    ids: String,
}

pub(super) async fn follow(
    State(app): State<App>,
    viewer: Viewer,
    Query(watched): Query<Watched>,
) -> Result<Response, Problem> {
    let ids: Result<Vec<u32>, _> = watched.ids.split(',').map(str::parse).collect();
    let ids = ids.map_err(|_| Problem::BadRequest("ids are numbers with commas between".into()))?;
    if ids.len() > ROWS {
        let problem = format!("at most {ROWS} tags are live at once");
        return Err(Problem::BadRequest(problem));
    }
    let known = watched.run == app.tags.run();
    let watch = Watch {
        app: app.clone(),
        tags: ids.into_iter().map(|id| (TagId(id), 0)).collect(),
        ticks: ticks(),
        known,
    };
    live::respond(&app, &viewer, watch.frames())
}

/// Ticks of a viewer's stream; one that could not be sent in time is left out.
pub(crate) fn ticks() -> Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct Watch {
    app: App,
    /// With the version that was sent last.
    tags: Vec<(TagId, u64)>,
    ticks: Interval,
    /// The ids are of this run of the console.
    known: bool,
}

#[derive(Serialize)]
struct Change {
    id: u32,
    #[serde(flatten)]
    cells: Cells,
}

impl Watch {
    fn frames(self) -> impl Stream<Item = Bytes> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            if !watch.known {
                watch.known = true;
                watch.tags.clear();
                return Some((live::frame("stale", ""), watch));
            }
            loop {
                watch.ticks.tick().await;
                if let Some(data) = watch.changes() {
                    return Some((live::frame("message", &data), watch));
                }
            }
        })
    }

    /// What is new to this viewer, as a JSON array; `None` when nothing is.
    fn changes(&mut self) -> Option<String> {
        let now = Nanos::now();
        let changes = self
            .app
            .tags
            .rendered()
            .changes(&self.app, &mut self.tags, now);
        (!changes.is_empty()).then(|| format!("[{}]", changes.join(",")))
    }
}

/// Rows that were rendered lately, for all who look at the same tags.
#[derive(Debug, Default)]
pub(super) struct Rendered(Mutex<Recently>);

/// Of one stretch of [`EVERY`]; with the next one all are forgotten.
#[derive(Debug, Default)]
struct Recently {
    stretch: i64,
    /// With the version that it shows.
    rows: HashMap<TagId, (u64, Arc<str>)>,
}

impl Rendered {
    fn changes(&self, app: &App, watched: &mut [(TagId, u64)], now: Nanos) -> Vec<Arc<str>> {
        let mut recently = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recently.begin(now);
        let mut changes = Vec::new();
        let mut others = Vec::new();
        for (id, sent) in watched.iter_mut() {
            match recently.rows.get(id) {
                Some((version, _)) if version == sent => {}
                Some((version, row)) => {
                    *sent = *version;
                    changes.push(Arc::clone(row));
                }
                None => others.push((*id, *sent)),
            }
        }
        app.tags.index().changes(&mut others, |id, live| {
            if let Some(newest) = &live.newest {
                let cells = Cells::of(live, newest, now);
                let change = serde_json::to_string(&Change { id: id.0, cells });
                let row: Arc<str> = change.unwrap_or_default().into();
                recently.rows.insert(id, (live.version, Arc::clone(&row)));
                changes.push(row);
            }
        });
        let sent: HashMap<TagId, u64> = others.into_iter().collect();
        for (id, version) in watched {
            *version = sent.get(id).copied().unwrap_or(*version);
        }
        changes
    }
}

impl Recently {
    fn begin(&mut self, now: Nanos) {
        let every = i64::try_from(EVERY.as_nanos()).unwrap_or(i64::MAX);
        let stretch = now.0.div_euclid(every);
        if stretch != self.stretch {
            self.stretch = stretch;
            self.rows.clear();
        }
    }
}
