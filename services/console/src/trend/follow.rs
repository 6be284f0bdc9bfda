//! `/trend/live`: what the log brought since, twice a second at most.

use std::iter::repeat;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use proto::{Nanos, Offset};
use serde::Serialize;
use tokio::time::Interval;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::live;
use crate::tags::address::Address;
use crate::tags::{RecentValue, ticks};

use super::asked::Asked;
use super::data::{grade, millis};
use super::join::{point, thinned};

/// Points of a tag in one message; more are thinned out.
const MAX_POINTS: u32 = 400;
/// Values of a tag that are looked at for one message.
const MAX_RECENT: usize = 50_000;

pub(super) async fn follow(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let asked = Asked::parse(query.as_deref())?;
    if asked.since.len() > asked.tags.len() {
        let problem = "`since` has more numbers than there are tags";
        return Err(Problem::BadRequest(problem.to_owned()));
    }
    let end = app.tags.index().next_offset();
    let since = asked.since.into_iter().map(Offset).chain(repeat(end));
    let follow = Follow {
        app: app.clone(),
        tags: asked.tags.into_iter().zip(since).collect(),
        number: 0,
        ticks: ticks(),
    };
    live::respond(&app, &viewer, follow.frames())
}

struct Follow {
    app: App,
    /// With the position from which on its values were not sent yet.
    tags: Vec<(Address, Offset)>,
    number: u64,
    ticks: Interval,
}

#[derive(Serialize)]
struct News {
    now: f64,
    /// Of this message; 0 begins anew where the link says.
    number: u64,
    /// Values are missing before these.
    gap: bool,
    tags: Vec<Added>,
}

#[derive(Default, Serialize)]
struct Added {
    t: Vec<f64>,
    v: Vec<Option<f64>>,
    q: Vec<u8>,
    states: Vec<(f64, String, u8)>,
}

impl Follow {
    fn frames(self) -> impl Stream<Item = Bytes> + Send {
        futures::stream::unfold(self, |mut follow| async move {
            follow.ticks.tick().await;
            let news = follow.news();
            let data = serde_json::to_string(&news).unwrap_or_default();
            Some((live::frame("message", &data), follow))
        })
    }

    fn news(&mut self) -> News {
        let index = self.app.tags.index();
        // Whatever comes while the tags are read one by one is left for the next message.
        let until = index.next_offset();
        let mut gap = false;
        let mut tags = Vec::new();
        for (tag, next) in &mut self.tags {
            let from = std::mem::replace(next, until.max(*next));
            let Some(id) = index.find(&tag.topic, &tag.key) else {
                tags.push(Added::default());
                continue;
            };
            let since = index.recent(id, from, MAX_RECENT);
            gap |= !since.complete;
            let entries = since.entries.iter().filter(|entry| entry.offset < until);
            let mut added = Added::default();
            let mut points = Vec::new();
            for entry in entries {
                if let RecentValue::Text(text) = &entry.value {
                    added
                        .states
                        .push((millis(entry.time), text.to_string(), grade(entry.quality)));
                }
                points.extend(point(entry));
            }
            for point in thinned(points, MAX_POINTS) {
                added.t.push(millis(point.time));
                added.v.push(point.number.value);
                added.q.push(grade(point.quality));
            }
            tags.push(added);
        }
        self.number += 1;
        News {
            now: millis(Nanos::now()),
            number: self.number - 1,
            gap,
            tags,
        }
    }
}
