//! `/tags/one`: one tag, with its last values.

use std::collections::HashSet;

use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use historian::{Kind, Reading};
use maud::{Markup, html};
use proto::{Nanos, Offset, Quality, Sequence};
use serde::Deserialize;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::live;
use crate::page::{self, Nav};

use super::address::{self, Address, link};
use super::index::{Live, Newest};
use super::names::TagId;
use super::recent::RecentValue;
use super::show;

/// How many of the last values are shown.
const LAST: usize = 10;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    topic: String,
    #[serde(default)]
    key: String,
}

/// A line of the last values.
struct Line {
    time: Nanos,
    sequence: Sequence,
    quality: Quality,
    value: String,
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Markup, Problem> {
    let address = Address::new(&asked.topic, &asked.key)?;
    let id = find(&app, &address)?;
    let older = older(&app, &address).await;
    let live = link(
        "/tags/one/live",
        &[("topic", &address.topic), ("key", &address.key)],
    );
    let name = if address.key.is_empty() {
        address.topic.rsplit('/').next().unwrap_or_default()
    } else {
        &address.key
    };
    let parent = address
        .topic
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    let body = html! {
        p.small { a href="/tags" { "Tags" } " / " a.path href=(link("/tags", &[("path", parent)])) { (parent) } }
        h1 { (name) }
        div.row.topic {
            code #topic.path { (address.topic) @if !address.key.is_empty() { " · " (address.key) } }
            button.button.quiet type="button" data-copy=(address::text(&address.topic, &address.key)) hidden {
                "Copy"
            }
        }
        div data-live=(live) { (shown(&app, id, &address, &older)) }
    };
    let files = ["tags.css", "tags.js"];
    Ok(page::layout(&app, &viewer, name, Nav::Tags, &files, body))
}

pub(super) async fn follow(
    State(app): State<App>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let address = Address::new(&asked.topic, &asked.key)?;
    let id = find(&app, &address)?;
    let older = older(&app, &address).await;
    let frames = frames(app.clone(), id, address, older);
    live::respond(&app, &viewer, frames)
}

fn find(app: &App, address: &Address) -> Result<TagId, Problem> {
    let found = app.tags.index().find(&address.topic, &address.key);
    found.ok_or_else(|| {
        let tag = show::cut(&address::text(&address.topic, &address.key), 200);
        Problem::BadRequest(format!(
            "there is no tag {tag:?}; search for it on the page Tags"
        ))
    })
}

fn frames(
    app: App,
    id: TagId,
    address: Address,
    older: Vec<Reading>,
) -> impl Stream<Item = Bytes> + Send {
    let state = (app, [(id, 0)], address, older, super::watch::ticks());
    futures::stream::unfold(state, |mut state| async move {
        loop {
            state.4.tick().await;
            let mut changed = false;
            state
                .0
                .tags
                .index()
                .changes(&mut state.1, |_, _| changed = true);
            if changed {
                let page = shown(&state.0, state.1[0].0, &state.2, &state.3);
                return Some((live::frame("message", &page.into_string()), state));
            }
        }
    })
}

/// What the database has; the page is whole without it.
async fn older(app: &App, address: &Address) -> Vec<Reading> {
    let Some(historian) = &app.historian else {
        return Vec::new();
    };
    let newest = historian.newest(&address.topic, &address.key, 10);
    newest.await.unwrap_or_default()
}

fn shown(app: &App, id: TagId, address: &Address, older: &[Reading]) -> Markup {
    let found = app.tags.index().look_up(&[id]);
    let Some((_, _, live)) = found.first() else {
        return html! {};
    };
    let lines = lines(app, id, older);
    html! {
        @match &live.newest {
            Some(newest) => (facts(live, newest)),
            None => p.notice { "It has no value yet." },
        }
        (links(address, live.newest.as_ref()))
        h2 { "Last values" }
        @if lines.is_empty() { p.muted { "None are in memory, and there is no historian with them." } }
        @else {
            div.card.scroll { table {
                thead { tr { th { "Source time" } th.number { "Value" } th { "Quality" } } }
                tbody { @for line in &lines { (row(line)) } }
            } }
        }
    }
}

fn facts(live: &Live, newest: &Newest) -> Markup {
    let now = Nanos::now();
    let (state, word) = show::quality(newest.quality);
    let rate = live
        .rate
        .per_second(now)
        .map_or_else(|| "–".into(), show::rate);
    html! {
        div.card.tag-facts {
            div {
                p.big { span.number { (show::short(&newest.value)) } " " span.unit { (newest.unit().unwrap_or_default()) } }
                span.badge data-state=(state) { (word) }
                @if !newest.quality.is_good() { " " span.small.mono { (format!("0x{:08X}", newest.quality.0)) } }
            }
            dl {
                dt { "Exact value" } dd.mono.path { (show::exact(&newest.value)) }
                dt { "Source time" } dd { (moment(newest.time)) }
                dt { "Received" } dd {
                    @match newest.taken {
                        Some(taken) => (moment(taken)),
                        None => "before the console started",
                    }
                }
                dt { "Type" } dd { (show::kind(newest.kind)) }
                dt { "Rate" } dd.number { (rate) }
                dt { "Born in" } dd.mono.path { (newest.hub) }
            }
        }
    }
}

fn moment(time: Nanos) -> Markup {
    html! { time datetime=(show::utc(time)) title=(show::utc(time)) { (show::utc_short(time)) } }
}

fn links(address: &Address, newest: Option<&Newest>) -> Markup {
    let kind = newest.map(|newest| newest.kind);
    html! {
        p.row {
            @match kind {
                Some(Kind::Wave) => a.button.primary href=(address::wave(&address.topic, &address.key)) { "Waveform" },
                Some(Kind::Message) | None => {}
                Some(_) => a.button.primary href=(address::trend(&address.topic, &address.key)) { "Trend" },
            }
        }
    }
}

/// The newest of what is in memory and in the database, each once.
fn lines(app: &App, id: TagId, older: &[Reading]) -> Vec<Line> {
    let recent = app.tags.index().recent(id, Offset(0), LAST);
    let mut lines: Vec<Line> = Vec::new();
    for entry in recent.entries.iter().rev() {
        let value = match &entry.value {
            RecentValue::Text(text) => text.to_string(),
            RecentValue::Bool(value) => value.to_string(),
            RecentValue::Wave(head) => show::exact(&historian::Brief::Wave((**head).clone())),
            RecentValue::Other => "message".into(),
            value => value
                .number()
                .map(|number| number.to_string())
                .unwrap_or_default(),
        };
        lines.push(Line {
            time: entry.time,
            sequence: entry.sequence,
            quality: entry.quality,
            value,
        });
    }
    let known: HashSet<_> = lines
        .iter()
        .map(|line| (line.time, line.sequence))
        .collect();
    let stored = older
        .iter()
        .filter(|reading| !known.contains(&(reading.time, reading.sequence)));
    lines.extend(stored.map(|reading| Line {
        time: reading.time,
        sequence: reading.sequence,
        quality: reading.quality,
        value: show::exact(&reading.value),
    }));
    lines.truncate(LAST);
    lines
}

fn row(line: &Line) -> Markup {
    let (state, word) = show::quality(line.quality);
    html! {
        tr {
            td { (moment(line.time)) }
            td.number.path { (line.value) }
            td { span.badge data-state=(state) { (word) } }
        }
    }
}
