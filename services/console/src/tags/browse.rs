//! `/tags`: the tree of the namespace, the search, and the list of what was chosen.

use axum::Json;
use axum::extract::{Query, State};
use historian::Kind;
use maud::{Markup, html};
use proto::Nanos;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::page::{self, Nav};

use super::address::{self, link};
use super::index::{Live, MAX_TAGS};
use super::names::{Child, Found, TagId, TagName};
use super::{Loaded, show};

/// Rows of a list; also what one viewer has live.
pub(super) const ROWS: usize = 100;
/// Levels of the tree that are sent at a time.
const BRANCHES: usize = 200;
const MAX_QUERY: usize = 200;
/// What the search of a chart offers.
const OFFERS: usize = 12;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Chosen {
    /// Words to search for; instead of a path.
    #[serde(default)]
    q: String,
    path: Option<String>,
    #[serde(default)]
    skip: usize,
}

impl Chosen {
    fn check(mut self) -> Result<Chosen, Problem> {
        if self.q.chars().count() > MAX_QUERY {
            let problem = format!("a search takes at most {MAX_QUERY} characters");
            return Err(Problem::BadRequest(problem));
        }
        self.q = self.q.trim().to_owned();
        self.path = self.path.filter(|path| !path.is_empty());
        Ok(self)
    }

    fn searches(&self) -> bool {
        !self.q.is_empty()
    }

    fn at(&self, skip: usize) -> String {
        let skip = skip.to_string();
        let mut parameters = Vec::new();
        if self.searches() {
            parameters.push(("q", &*self.q));
        } else if let Some(path) = &self.path {
            parameters.push(("path", path));
        }
        if skip != "0" {
            parameters.push(("skip", &skip));
        }
        link("/tags", &parameters)
    }
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    Query(chosen): Query<Chosen>,
) -> Result<Markup, Problem> {
    let chosen = chosen.check()?;
    let total = app.tags.index().names().len();
    let body = html! {
        div.row.apart {
            h1 { "Tags" }
            span.muted.number { (show::count(total as u64)) " tags" }
        }
        (state(&app))
        form #search.tag-search role="search" action="/tags" method="get" {
            label.visually-hidden for="q" { "Search for a tag" }
            input #q type="search" name="q" value=(chosen.q) maxlength=(MAX_QUERY)
                placeholder="Search: words of the path, in any case" autocomplete="off"
                aria-controls="list" spellcheck="false";
            button.button type="submit" { "Search" }
        }
        div.browser {
            details.tree-frame open {
                summary { "Namespace" }
                nav.tree aria-label="Namespace" { (tree(&app, chosen.path.as_deref())) }
            }
            section #list aria-label="Tags" { (listed(&app, &chosen)) }
        }
    };
    let files = ["tags.css", "tags.js"];
    Ok(page::layout(&app, &viewer, "Tags", Nav::Tags, &files, body))
}

/// The list alone, for the search as one types.
pub(super) async fn list(
    State(app): State<App>,
    _viewer: Viewer,
    Query(chosen): Query<Chosen>,
) -> Result<Markup, Problem> {
    Ok(listed(&app, &chosen.check()?))
}

#[derive(Debug, Deserialize)]
pub(super) struct Branch {
    path: Option<String>,
    after: Option<String>,
}

/// What lies below one level of the tree.
pub(super) async fn branches(
    State(app): State<App>,
    _viewer: Viewer,
    Query(branch): Query<Branch>,
) -> Markup {
    let path = branch.path.as_deref().filter(|path| !path.is_empty());
    level(&app, path, branch.after.as_deref(), &[], None)
}

/// What the search of a chart offers.
#[derive(Debug, Serialize)]
pub(super) struct Offer {
    tag: String,
    name: String,
    parent: String,
    value: String,
    kind: &'static str,
}

pub(super) async fn find(
    State(app): State<App>,
    _viewer: Viewer,
    Query(chosen): Query<Chosen>,
) -> Result<Json<Vec<Offer>>, Problem> {
    let chosen = chosen.check()?;
    let index = app.tags.index();
    let found = index.search(&chosen.q, OFFERS);
    let offer = |(_, name, live): (TagId, TagName, Live)| Offer {
        tag: address::text(&name.topic, &name.key),
        name: name.name().to_owned(),
        parent: name.parent().to_owned(),
        value: (live.newest.as_ref()).map_or_else(String::new, |newest| show::short(&newest.value)),
        kind: live
            .newest
            .as_ref()
            .map_or("", |newest| show::kind(newest.kind)),
    };
    Ok(Json(
        index.look_up(&found.tags).into_iter().map(offer).collect(),
    ))
}

/// What is not as it should be.
fn state(app: &App) -> Markup {
    let state = app.tags.state();
    let beyond = app.tags.index().beyond();
    html! {
        @match &state.loaded {
            Loaded::Failed(reason) => p.notice data-state="warn" {
                "The historian does not answer, so only tags that said something since the console "
                "started are here: " (reason)
            },
            Loaded::Loading => p.notice role="status" { "Tags are still being loaded." },
            Loaded::Nothing | Loaded::Done => {}
        }
        @match state.behind {
            None => p.notice data-state="warn" { "The log does not answer: values may be old." },
            Some(behind) if behind > 100_000 => p.notice data-state="warn" {
                "The console is " (show::count(behind)) " records behind the log."
            },
            Some(_) => {}
        }
        @if beyond > 0 {
            p.notice data-state="warn" {
                "There are more than " (show::count(MAX_TAGS as u64)) " tags. " (show::count(beyond))
                " values belong to tags that are not listed here."
            }
        }
    }
}

/// The tree, open along the chosen path.
fn tree(app: &App, chosen: Option<&str>) -> Markup {
    let along: Vec<&str> = chosen
        .map(|path| path.split('/').collect())
        .unwrap_or_default();
    html! {
        a.level href="/tags" data-path="" aria-current=[chosen.is_none().then_some("true")] {
            "All tags"
        }
        (level(app, None, None, &along, chosen))
    }
}

fn level(
    app: &App,
    path: Option<&str>,
    after: Option<&str>,
    along: &[&str],
    chosen: Option<&str>,
) -> Markup {
    let branches = app.tags.index().names().branches(path, after, BRANCHES + 1);
    let more = branches.len() > BRANCHES;
    let shown = &branches[..branches.len().min(BRANCHES)];
    let last = shown.last().map(|child| child.name.clone());
    html! {
        ul {
            @for child in shown { li { (branch(app, path, child, along, chosen)) } }
            @if let (true, Some(last)) = (more, last) {
                li {
                    a.more href=(link("/tags/tree", &[("path", path.unwrap_or("")), ("after", &last)])) {
                        "More…"
                    }
                }
            }
        }
    }
}

fn branch(
    app: &App,
    parent: Option<&str>,
    child: &Child,
    along: &[&str],
    chosen: Option<&str>,
) -> Markup {
    let path = match parent {
        Some(parent) => format!("{parent}/{}", child.name),
        None => child.name.clone(),
    };
    let open = along.first() == Some(&&*child.name);
    let name = html! {
        a.level href=(link("/tags", &[("path", &path)])) data-path=(path)
            aria-current=[(chosen == Some(&path)).then_some("true")] {
            (if child.name.is_empty() { "(empty)" } else { &child.name })
            " " span.muted.small.number { (show::count(child.tags.into())) }
        }
    };
    html! {
        @if child.has_children {
            div.branch {
                (name)
                details data-path=(path) open[open] {
                    summary aria-label=(format!("Levels below {}", child.name)) {}
                    @if open { (level(app, Some(&path), None, &along[1..], chosen)) }
                }
            }
        } @else { div.leaf { (name) } }
    }
}

fn listed(app: &App, chosen: &Chosen) -> Markup {
    let index = app.tags.index();
    let found = match chosen.searches() {
        true => {
            let mut found = index.search(&chosen.q, chosen.skip.saturating_add(ROWS).min(10_000));
            found.tags = found.tags.split_off(chosen.skip.min(found.tags.len()));
            found
        }
        false => index
            .names()
            .below(chosen.path.as_deref(), chosen.skip, ROWS),
    };
    let rows = index.look_up(&found.tags);
    html! {
        (heading(chosen, &found))
        @if rows.is_empty() { (nothing(app, chosen)) } @else {
            form action="/trend" method="get" {
                div.scroll { (table(app, &rows)) }
                div.row.apart {
                    button.button type="submit" { "Show the marked as a trend" }
                    (pages(chosen, &found))
                }
            }
        }
    }
}

fn heading(chosen: &Chosen, found: &Found) -> Markup {
    let total = show::count(found.total as u64);
    html! {
        p.muted role="status" {
            (total) @if found.total == 1 { " tag " } @else { " tags " }
            @if chosen.searches() { "with “" (chosen.q) "”" }
            @else if let Some(path) = &chosen.path { "in " span.mono.path { (path) } }
            @else { "in all" }
        }
    }
}

fn nothing(app: &App, chosen: &Chosen) -> Markup {
    html! {
        p.notice {
            @if chosen.searches() { "No tag has all of these words in its path." }
            @else if app.tags.index().names().len() == 0 {
                "Nothing was published yet. Try " code { "updraft pub --value umh/v1/acme/_raw/t 1" } "."
            }
            @else { "There is no tag here." }
        }
    }
}

fn pages(chosen: &Chosen, found: &Found) -> Markup {
    let end = chosen.skip + found.tags.len();
    html! {
        nav.row aria-label="Pages of the list" {
            span.muted.number {
                (show::count(chosen.skip as u64 + 1)) "–" (show::count(end as u64))
                " of " (show::count(found.total as u64))
            }
            @if chosen.skip > 0 {
                a.button.page rel="prev" href=(chosen.at(chosen.skip.saturating_sub(ROWS))) { "Back" }
            }
            @if end < found.total && end < 10_000 + ROWS * usize::from(!chosen.searches()) * 100_000 {
                a.button.page rel="next" href=(chosen.at(end)) { "Next" }
            }
        }
    }
}

fn table(app: &App, rows: &[(TagId, TagName, Live)]) -> Markup {
    let now = Nanos::now();
    html! {
        table.tags data-run=(app.tags.run()) {
            thead { tr {
                th { span.visually-hidden { "Mark" } }
                th { "Tag" } th.number { "Value" } th { "Unit" } th { "Quality" }
                th.number { "Age" } th.number { "Rate" } th { "Type" }
            } }
            tbody { @for (id, name, live) in rows { (row(*id, name, live, now)) } }
        }
    }
}

fn row(id: TagId, name: &TagName, live: &Live, now: Nanos) -> Markup {
    let newest = live.newest.as_ref();
    let charted =
        newest.is_some_and(|newest| matches!(newest.kind, Kind::Number | Kind::Bool | Kind::Text));
    let label = format!("Mark {}", name.name());
    html! {
        tr data-tag=(id.0) {
            td.mark {
                @if charted {
                    input type="checkbox" name="tag" aria-label=(label)
                        value=(address::text(&name.topic, &name.key));
                }
            }
            th scope="row" {
                a href=(address::one(&name.topic, &name.key)) { (name.name()) }
                div.muted.small.path { (name.parent()) }
            }
            @match newest {
                Some(newest) => (cells(&Cells::of(live, newest, now))),
                None => td colspan="6" .muted { "no value yet" },
            }
        }
    }
}

/// What changes in a row; also what is sent to who looks at it.
#[derive(Debug, Serialize)]
pub(super) struct Cells {
    pub(super) value: String,
    exact: String,
    unit: String,
    state: &'static str,
    quality: &'static str,
    /// Milliseconds since the Unix epoch.
    time: i64,
    age: String,
    rate: String,
    kind: &'static str,
}

impl Cells {
    pub(super) fn of(live: &Live, newest: &super::index::Newest, now: Nanos) -> Cells {
        let (state, quality) = show::quality(newest.quality);
        let time = newest.taken.unwrap_or(newest.time);
        Cells {
            value: show::short(&newest.value),
            exact: show::exact(&newest.value),
            unit: newest.unit().unwrap_or_default().to_owned(),
            state,
            quality,
            time: time.0.div_euclid(1_000_000),
            age: show::age(time, now),
            rate: (live.rate.per_second(now)).map_or_else(|| "–".into(), show::rate),
            kind: show::kind(newest.kind),
        }
    }
}

fn cells(cells: &Cells) -> Markup {
    html! {
        td.number.value title=(cells.exact) { (cells.value) }
        td.unit { (cells.unit) }
        td.quality { span.badge data-state=(cells.state) { (cells.quality) } }
        td.number.age { time data-ms=(cells.time) { (cells.age) } }
        td.number.per-second { (cells.rate) }
        td.kind { (cells.kind) }
    }
}
