//! `/trend/data`: what a chart draws, as JSON. Times are milliseconds since the Unix epoch.

use axum::Json;
use axum::extract::{RawQuery, State};
use futures::future::join_all;
use historian::{Bucket, Grid, Point, Series, State as Changed};
use proto::{Nanos, Quality};
use serde::Serialize;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::tags::address::{self, Address};

use super::asked::Asked;
use super::load::{self, Loaded};

/// Empty buckets in a row that break a line. With fewer values than points none are broken.
const GAP_BUCKETS: i64 = 5;

#[derive(Debug, Serialize)]
pub(super) struct Chart {
    from: f64,
    to: f64,
    /// Of a bucket.
    width: f64,
    /// Where `/trend/live` goes on, for each tag.
    next: Vec<u64>,
    tags: Vec<Line>,
    notices: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    tag: String,
    name: String,
    parent: String,
    unit: String,
    /// Values are joined by steps, not by lines.
    steps: bool,
    count: u64,
    t: Vec<f64>,
    v: Vec<Option<f64>>,
    /// The smallest and largest values of each bucket, when there are more values than points.
    #[serde(skip_serializing_if = "Option::is_none")]
    lo: Option<Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hi: Option<Vec<Option<f64>>>,
    q: Vec<u8>,
    /// Time, text and quality from then on.
    states: Vec<(f64, String, u8)>,
    states_cut: bool,
}

pub(super) async fn show(
    State(app): State<App>,
    _viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Chart>, Problem> {
    Ok(Json(chart(&app, &Asked::parse(query.as_deref())?).await?))
}

pub(super) async fn chart(app: &App, asked: &Asked) -> Result<Chart, Problem> {
    load::known(app, &asked.tags)?;
    let range = asked.stretch.range(Nanos::now());
    let grid = Grid::new(range, asked.points);
    let loaded = join_all(asked.tags.iter().map(|tag| load::load(app, tag, grid))).await;
    Ok(Chart {
        from: millis(grid.from()),
        to: millis(grid.to()),
        width: grid.width() as f64 / 1e6,
        next: loaded.iter().map(|loaded| loaded.next.0).collect(),
        notices: notices(app, &loaded),
        tags: (asked.tags.iter().zip(loaded))
            .map(|(tag, loaded)| line(app, tag, loaded))
            .collect(),
    })
}

fn notices(app: &App, loaded: &[Loaded]) -> Vec<String> {
    let mut notices = Vec::new();
    if app.historian.is_none() {
        notices.push(
            "This hub has no historian: only what the console saw lately is here.".to_owned(),
        );
    }
    if app.tags.state().behind.is_none() {
        notices.push("The log does not answer: the newest values are missing.".to_owned());
    }
    if let Some(problem) = loaded.iter().find_map(|loaded| loaded.problem.as_ref()) {
        notices.push(format!("The historian does not answer: {problem}"));
    }
    if loaded.iter().any(|loaded| loaded.joined.gap) {
        notices.push(
            "The historian is behind the log by more than the console holds: values between the \
             two are missing."
                .to_owned(),
        );
    }
    notices
}

pub(crate) fn millis(time: Nanos) -> f64 {
    time.0 as f64 / 1e6
}

pub(super) fn grade(quality: Quality) -> u8 {
    u8::try_from(quality.0 >> 30).unwrap_or(2).min(2)
}

fn line(app: &App, tag: &Address, loaded: Loaded) -> Line {
    let trend = loaded.joined.trend;
    let index = app.tags.index();
    let id = index.find(&tag.topic, &tag.key);
    let newest = id
        .and_then(|id| index.look_up(&[id]).pop())
        .and_then(|(_, _, live)| live.newest);
    let (parent, name) = match &*tag.key {
        "" => tag.topic.rsplit_once('/').unwrap_or(("", &tag.topic)),
        key => (&*tag.topic, key),
    };
    let mut line = Line {
        tag: address::text(&tag.topic, &tag.key),
        name: name.to_owned(),
        parent: parent.to_owned(),
        unit: newest
            .as_ref()
            .and_then(|newest| newest.unit())
            .unwrap_or_default()
            .to_owned(),
        steps: newest.is_some_and(|newest| newest.kind == historian::Kind::Bool),
        count: trend.count(),
        states: trend.states.iter().map(state).collect(),
        states_cut: trend.states_cut,
        ..Line::default()
    };
    if let Some(before) = &trend.before {
        line.push(before);
    }
    match &trend.series {
        Series::Raw(points) => points.iter().for_each(|point| line.push(point)),
        Series::Envelope(buckets) => {
            let before = trend.before.as_ref().map(|point| point.time);
            line.envelope(before, buckets, trend.grid.width());
        }
    }
    if let Some(after) = &trend.after {
        line.push(after);
    }
    line
}

pub(super) fn state(state: &Changed) -> (f64, String, u8) {
    (millis(state.time), state.text.clone(), grade(state.quality))
}

impl Line {
    fn push(&mut self, point: &Point) {
        self.t.push(millis(point.time));
        self.v.push(point.number.value);
        self.q.push(grade(point.quality));
        if let (Some(lo), Some(hi)) = (&mut self.lo, &mut self.hi) {
            lo.push(point.number.value);
            hi.push(point.number.value);
        }
    }

    fn envelope(&mut self, before: Option<Nanos>, buckets: &[Bucket], width: i64) {
        let value = |point: &Option<Point>| point.as_ref().and_then(|point| point.number.value);
        let mut lo = self.v.clone();
        let mut hi = self.v.clone();
        let mut before = before.map(|time| time.0);
        for bucket in buckets {
            let start = bucket.start.0;
            // Where nothing came for long, a band would say that something did.
            if before.is_some_and(|before| start.saturating_sub(before) > GAP_BUCKETS * width) {
                self.t.push(millis(bucket.start) - width as f64 / 2e6);
                self.v.push(None);
                self.q.push(0);
                lo.push(None);
                hi.push(None);
            }
            before = Some(start);
            self.t.push(millis(bucket.start) + width as f64 / 2e6);
            self.v.push(bucket.last.number.value);
            self.q.push(grade(bucket.quality));
            lo.push(value(&bucket.min));
            hi.push(value(&bucket.max));
        }
        (self.lo, self.hi) = (Some(lo), Some(hi));
    }
}
