//! `/trend`: the page, and a chart that the server draws for who has no scripts.

use axum::extract::{RawQuery, State};
use historian::{Grid, Point, Series};
use maud::{Markup, html};
use proto::Nanos;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::page::{self, Nav};
use crate::tags::address::{self, Address};
use crate::tags::show;

use super::asked::{Asked, MAX_TAGS, Stretch};
use super::load;

/// What the buttons offer.
const LASTS: [(&str, &str); 7] = [
    ("1m", "1 min"),
    ("5m", "5 min"),
    ("15m", "15 min"),
    ("1h", "1 h"),
    ("8h", "8 h"),
    ("1day", "1 d"),
    ("7days", "7 d"),
];
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 320.0;

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Markup, Problem> {
    let asked = Asked::parse(query.as_deref())?;
    load::known(&app, &asked.tags)?;
    let plain = match asked.plain && !asked.tags.is_empty() {
        true => Some(plain(&app, &asked).await),
        false => None,
    };
    let body = html! {
        h1 { "Trend" }
        div #trend.trend data-max=(MAX_TAGS) {
            (chosen(&asked))
            @if asked.tags.is_empty() {
                p.notice { "Choose a tag: search for it above, or mark some on the page " a href="/tags" { "Tags" } "." }
            } @else {
                (times(&asked))
                div #notices {}
                @match plain {
                    Some(plain) => (plain),
                    None => (frame(&asked)),
                }
            }
        }
    };
    let files = ["vendor/uplot/uPlot.min.css", "trend.css", "trend.js"];
    Ok(page::layout(
        &app,
        &viewer,
        "Trend",
        Nav::Trend,
        &files,
        body,
    ))
}

/// What the script draws into.
fn frame(asked: &Asked) -> Markup {
    html! {
        noscript { p.notice { a href=(asked.link("/trend", &[("plain", "1"), ("last", last(asked))])) { "Draw it on the server" } " instead of here." } }
        div.card.chart-card {
            div.row.apart.chart-head {
                div #tools.row role="group" aria-label="Zoom" hidden {
                    button.button type="button" data-do="in" aria-label="Zoom in" { "+" }
                    button.button type="button" data-do="out" aria-label="Zoom out" { "−" }
                    button.button type="button" data-do="left" aria-label="Earlier" { "←" }
                    button.button type="button" data-do="right" aria-label="Later" { "→" }
                    button.button type="button" data-do="live" { "Live" }
                }
                div.row {
                    label.small for="axes" { "Axes" }
                    select #axes {
                        option value="unit" { "by unit" }
                        option value="own" { "one each" }
                        option value="one" { "one for all" }
                        option value="norm" { "normalised" }
                    }
                    a #csv.button href=(asked.link("/trend/csv", &[("last", last(asked))])) { "CSV" }
                }
            }
            div #chart.chart tabindex="0" role="group"
                aria-label="Chart. Plus and minus zoom, the arrows move, L goes back to live." {}
            div #legend.legend {}
            p #about.muted.small role="status" {}
        }
    }
}

fn last(asked: &Asked) -> &str {
    match &asked.stretch {
        Stretch::Last(_, text) => text,
        Stretch::Fixed(_) => "15m",
    }
}

/// The tags, each with a way to leave it out, and a search for more.
fn chosen(asked: &Asked) -> Markup {
    html! {
        div.row.chosen {
            @for (index, tag) in asked.tags.iter().enumerate() { (chip(asked, index, tag)) }
            @if asked.tags.len() < MAX_TAGS {
                form #add.add role="search" action="/tags" method="get" {
                    label.visually-hidden for="add-q" { "Add a tag" }
                    input #add-q type="search" name="q" placeholder="Add a tag…" autocomplete="off"
                        spellcheck="false" role="combobox" aria-expanded="false"
                        aria-controls="offers" aria-autocomplete="list";
                    ul #offers.offers role="listbox" aria-label="Tags" hidden {}
                }
            }
        }
    }
}

fn chip(asked: &Asked, index: usize, tag: &Address) -> Markup {
    let mut others = asked.clone();
    others.tags.remove(index);
    let name = match &*tag.key {
        "" => tag.topic.rsplit('/').next().unwrap_or_default(),
        key => key,
    };
    let parameters = match &asked.stretch {
        Stretch::Last(_, text) => vec![("last", text.clone())],
        Stretch::Fixed(range) => vec![
            ("from", range.start.to_string()),
            ("to", range.end.to_string()),
        ],
    };
    let parameters: Vec<(&str, &str)> = parameters
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    html! {
        span.chip data-tag=(address::text(&tag.topic, &tag.key)) {
            span class=(format!("swatch series-{}", index % 8 + 1)) {}
            a href=(address::one(&tag.topic, &tag.key)) title=(tag.topic) { (name) }
            a.remove href=(others.link("/trend", &parameters)) aria-label=(format!("Leave out {name}")) { "×" }
        }
    }
}

fn times(asked: &Asked) -> Markup {
    let now = Nanos::now();
    let range = asked.stretch.range(now);
    html! {
        div.row.apart.times {
            nav.row aria-label="Stretch of time" {
                @for (last, text) in LASTS {
                    @let chosen = matches!(&asked.stretch, Stretch::Last(_, written) if written == last);
                    a.button.last href=(asked.link("/trend", &[("last", last)])) data-last=(last)
                        aria-current=[chosen.then_some("true")] { (text) }
                }
            }
            form #range.row action="/trend" method="get" {
                @for tag in asked.texts() { input type="hidden" name="tag" value=(tag); }
                label.small for="from" { "From" }
                input #from type="datetime-local" name="from" step="1" value=(local(range.start));
                label.small for="to" { "to" }
                input #to type="datetime-local" name="to" step="1" value=(local(range.end));
                button.button type="submit" { "Show" }
                noscript { span.small.muted { "UTC" } }
            }
        }
    }
}

/// As an input for date and time takes it.
fn local(time: Nanos) -> String {
    show::utc(time).chars().take(19).collect()
}

/// A chart for each tag, drawn here.
async fn plain(app: &App, asked: &Asked) -> Markup {
    let range = asked.stretch.range(Nanos::now());
    let grid = Grid::new(range, 500);
    let mut charts = Vec::new();
    for tag in &asked.tags {
        charts.push((tag, load::load(app, tag, grid).await.joined.trend));
    }
    let span = grid.to().0.saturating_sub(grid.from().0);
    let step = |from: i64, to: i64| {
        let (from, to) = (from.to_string(), to.to_string());
        asked.link("/trend", &[("plain", "1"), ("from", &from), ("to", &to)])
    };
    let (from, to) = (grid.from().0, grid.to().0);
    html! {
        nav.row aria-label="Zoom" {
            a.button href=(step(from.saturating_sub(span / 2), to.saturating_sub(span / 2))) { "Earlier" }
            a.button href=(step(from.saturating_add(span / 2), to.saturating_add(span / 2))) { "Later" }
            a.button href=(step(from.saturating_add(span / 4), to.saturating_sub(span / 4))) { "Zoom in" }
            a.button href=(step(from.saturating_sub(span / 2), to.saturating_add(span / 2))) { "Zoom out" }
        }
        @for (index, (tag, trend)) in charts.iter().enumerate() {
            section.card {
                h2 { (address::text(&tag.topic, &tag.key)) }
                (svg(index, trend))
            }
        }
    }
}

fn svg(index: usize, trend: &historian::Trend) -> Markup {
    let lines: Vec<Vec<(Nanos, f64)>> = match &trend.series {
        Series::Raw(points) => vec![points.iter().filter_map(drawn).collect()],
        Series::Envelope(buckets) => {
            let low = buckets
                .iter()
                .filter_map(|bucket| drawn(bucket.min.as_ref()?));
            let high = buckets
                .iter()
                .filter_map(|bucket| drawn(bucket.max.as_ref()?));
            vec![low.collect(), high.collect()]
        }
    };
    let values = || lines.iter().flatten().map(|(_, value)| *value);
    let (low, high) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let (from, to) = (trend.grid.from(), trend.grid.to());
    let span = (to.0 - from.0).max(1) as f64;
    let height = if high > low { high - low } else { 1.0 };
    let place = |(time, value): &(Nanos, f64)| {
        let x = (time.0 - from.0) as f64 / span * WIDTH;
        let y = HEIGHT - (value - low) / height * HEIGHT;
        format!("{x:.1},{y:.1}")
    };
    html! {
        @if low.is_finite() {
            p.small.muted { (show::short_float(low)) " to " (show::short_float(high)) ", "
                (show::utc_short(from)) " to " (show::utc_short(to)) ", "
                (show::count(trend.count())) " values" }
            svg.plain viewBox=(format!("0 -2 {WIDTH} {}", HEIGHT + 4.0)) role="img" preserveAspectRatio="none"
                aria-label="Trend" {
                @for line in &lines {
                    @let points = line.iter().map(place).collect::<Vec<_>>().join(" ");
                    polyline class=(format!("series-{}", index % 8 + 1)) points=(points) {}
                }
            }
        } @else { p.muted { "There are no numbers in this stretch of time." } }
        @if !trend.states.is_empty() {
            ul.states { @for state in &trend.states { li { (show::utc_short(state.time)) " " strong { (state.text) } } } }
        }
    }
}

fn drawn(point: &Point) -> Option<(Nanos, f64)> {
    Some((point.time, point.number.value?))
}
