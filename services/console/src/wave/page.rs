//! `/wave`: the waveform of a tag and its spectrum.

use axum::extract::{Query, State};
use maud::{Markup, html};
use proto::Nanos;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::page::{self, Nav};
use crate::tags::address::{self, link};
use crate::tags::show;

use super::data::{Asked, Stretch};
use super::signal;
use super::source;

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Markup, Problem> {
    let Stretch { tag, range } = asked.stretch(&app)?;
    let heads = source::heads(&app, &tag, &range).await?;
    let id = app.tags.index().find(&tag.topic, &tag.key);
    let name = tag.topic.rsplit('/').next().unwrap_or_default();
    let (from, to) = (range.start.to_string(), range.end.to_string());
    let download = |format: &str| {
        let parameters = [
            ("topic", &*tag.topic),
            ("key", &tag.key),
            ("from", &from),
            ("to", &to),
            ("format", format),
        ];
        link("/wave/raw", &parameters)
    };
    let body = html! {
        p.small { a href="/tags" { "Tags" } " / " a.path href=(address::one(&tag.topic, &tag.key)) { (tag.topic) } }
        h1 { (name) }
        div #wave data-topic=(tag.topic) data-key=(tag.key) data-run=(app.tags.run())
            data-id=[id.map(|id| id.0)] {
            div #notices {}
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
                        a #csv.button href=(download("csv")) { "CSV" }
                        a #bin.button href=(download("bin")) { "Raw samples" }
                    }
                }
                div #signal.chart tabindex="0" role="group"
                    aria-label="Waveform. Plus and minus zoom, the arrows move, L goes back to live." {}
                p #about.muted.small role="status" {}
            }
            h2 { "Spectrum" }
            div.card.chart-card {
                div #spectrum.chart tabindex="0" role="img" aria-label="Amplitude spectrum; its peaks are in the table below." {}
                p #bins.muted.small {}
                div #peaks.scroll {}
            }
            h2 { "Blocks" }
            div.card.scroll #blocks tabindex="0" role="region" aria-label="Blocks" { (blocks(&heads.heads)) }
        }
    };
    let files = ["vendor/uplot/uPlot.min.css", "trend.css", "wave.js"];
    Ok(page::layout(&app, &viewer, name, Nav::Tags, &files, body))
}

/// Whole without scripts: what is there, and what is missing.
fn blocks(heads: &[historian::WaveHead]) -> Markup {
    html! {
        @if heads.is_empty() { p.muted { "There is no block in this stretch of time." } } @else {
            table {
                thead { tr { th { "Begins" } th.number { "First sample" } th.number { "Samples" } th.number { "Rate" } th { "Before it" } } }
                tbody {
                    @for (index, head) in heads.iter().enumerate().rev().take(20) {
                        tr {
                            td { time datetime=(show::utc(head.start)) { (show::utc_short(head.start)) } }
                            td.number { (head.first_sample) }
                            td.number { (head.count) }
                            td.number { (show::hertz(head.rate)) " Hz" }
                            td { (before(index.checked_sub(1).and_then(|before| heads.get(before)), head)) }
                        }
                    }
                }
            }
        }
    }
}

fn before(before: Option<&historian::WaveHead>, head: &historian::WaveHead) -> Markup {
    let Some(before) = before else {
        return html! { span.muted { "–" } };
    };
    if signal::continues(before, head) {
        return html! { span.muted { "no gap" } };
    }
    let missing = head
        .first_sample
        .saturating_sub(before.first_sample.saturating_add(before.count));
    let apart = Nanos(head.start.0.saturating_sub(before.end().0));
    html! {
        span.badge data-state="warn" { "gap" } " "
        (show::short_float(apart.0 as f64 / 1e6)) " ms"
        @if missing > 0 { ", " (show::count(missing)) " samples" }
    }
}
