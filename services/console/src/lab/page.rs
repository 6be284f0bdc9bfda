//! The lab's page: what stands and what is broken, and buttons that change it.

use std::time::{Duration, SystemTime};

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kit::config::Role;
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::info;

use super::{Action, Lab, LabEvent, LabLink, LabNode, LabState, NodeState, Order};
use crate::app::App;
use crate::auth::{Operator, Viewer};
use crate::error::{Problem, sentence};
use crate::live::{self, Feed};
use crate::page::{self, Nav};

/// How long a page waits for the outcome of an order; the events tell of it in any case.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an order waits when many are given at once.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);
/// Id of the form that all buttons belong to: it stands outside of what is live, with the token of
/// the session, so that what is live is the same for all.
const FORM: &str = "orders";

#[derive(Debug)]
pub(crate) struct Bench {
    state: watch::Receiver<LabState>,
    orders: mpsc::Sender<Order>,
    /// Without buttons and with them.
    viewers: Feed,
    operators: Feed,
}

impl Bench {
    pub(crate) fn new(lab: Lab) -> Bench {
        Bench {
            state: lab.state,
            orders: lab.orders,
            viewers: Feed::default(),
            operators: Feed::default(),
        }
    }

    fn feed(&self, viewer: &Viewer) -> &Feed {
        match viewer.may(Role::Operator) {
            true => &self.operators,
            false => &self.viewers,
        }
    }

    fn publish(&self, state: &LabState) {
        for (feed, may_order) in [(&self.viewers, false), (&self.operators, true)] {
            feed.publish(&bench(state, may_order).into_string());
        }
    }
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/lab", get(show))
        .route("/live/lab", get(follow))
        .route("/lab/orders", post(order))
}

/// Renders every change, for as long as there are any.
pub(crate) async fn run(app: App) {
    let Some(bench) = &app.lab else {
        return std::future::pending().await;
    };
    let mut state = bench.state.clone();
    loop {
        let now = state.borrow_and_update().clone();
        bench.publish(&now);
        if state.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Markup, Problem> {
    let bench = app.lab.as_ref().ok_or(Problem::NotFound)?;
    let may_order = viewer.may(Role::Operator);
    let body = html! {
        h1 { "Lab" }
        p.muted {
            "What this demo may break: real processes and real connections. "
            @if !may_order { "Giving orders needs the role operator." }
        }
        @if may_order {
            form #(FORM) method="post" action="/lab/orders" { (viewer.csrf_field()) }
            p #outcome.notice role="status" hidden {}
        }
        div #bench data-live="/live/lab" { (bench.feed(&viewer).current()) }
    };
    Ok(page::layout(
        &app,
        &viewer,
        "Lab",
        Nav::Lab,
        &["lab.js"],
        body,
    ))
}

async fn follow(State(app): State<App>, viewer: Viewer) -> Result<Response, Problem> {
    let bench = app.lab.as_ref().ok_or(Problem::NotFound)?;
    live::respond(&app, &viewer, bench.feed(&viewer).follow())
}

#[derive(Debug, Deserialize)]
struct Given {
    order: String,
}

async fn order(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    given: Result<Form<Given>, FormRejection>,
) -> Result<Response, Problem> {
    let bench = app.lab.as_ref().ok_or(Problem::NotFound)?;
    let Form(given) = given?;
    let action = parse(&given.order)
        .ok_or_else(|| Problem::BadRequest(format!("no order is called {:?}", given.order)))?;
    info!(user = operator.name, order = given.order, "order");
    let outcome = carry_out(bench, action).await;
    let accept = headers.get(header::ACCEPT);
    if accept.is_some_and(|accept| accept.as_bytes() == b"application/json") {
        let (ok, text) = match outcome {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        let text = sentence(&text);
        return Ok(Json(serde_json::json!({ "ok": ok, "text": text })).into_response());
    }
    app.auth.flash(&operator, outcome);
    Ok(Redirect::to("/lab").into_response())
}

async fn carry_out(bench: &Bench, action: Action) -> Result<String, String> {
    let (done, outcome) = oneshot::channel();
    let order = Order { action, done };
    let sent = bench.orders.send_timeout(order, QUEUE_PATIENCE).await;
    sent.map_err(|_| "too many orders are waiting, or the demo has ended".to_owned())?;
    match timeout(PATIENCE, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("the order was dropped".to_owned()),
        Err(_) => Ok("ordered; the events will tell".to_owned()),
    }
}

/// The words of a button; [`parse`] reads them again.
fn words(action: &Action) -> String {
    match action {
        Action::Kill { hub, node } => format!("kill {hub} {node}"),
        Action::Start { hub, node } => format!("start {hub} {node}"),
        Action::Cut { child } => format!("cut {child}"),
        Action::Heal { child } => format!("heal {child}"),
        Action::Audit => "audit".to_owned(),
    }
}

fn parse(words: &str) -> Option<Action> {
    let words: Vec<&str> = words.split(' ').collect();
    let node = |node: &str| node.parse::<u64>().ok();
    Some(match words[..] {
        ["kill", hub, id] => Action::Kill {
            hub: hub.to_owned(),
            node: node(id)?,
        },
        ["start", hub, id] => Action::Start {
            hub: hub.to_owned(),
            node: node(id)?,
        },
        ["cut", child] => Action::Cut {
            child: child.to_owned(),
        },
        ["heal", child] => Action::Heal {
            child: child.to_owned(),
        },
        ["audit"] => Action::Audit,
        _ => return None,
    })
}

fn bench(state: &LabState, may_order: bool) -> Markup {
    html! {
        div.bench {
            section.card aria-labelledby="lab-nodes" {
                h2 #lab-nodes { "Nodes" }
                ul.parts { @for node in &state.nodes { (self::node(node, may_order)) } }
            }
            section.card aria-labelledby="lab-links" {
                h2 #lab-links { "Links" }
                ul.parts { @for link in &state.links { (self::link(link, may_order)) } }
                @if may_order {
                    p.row {
                        (button(&Action::Audit, "Audit now", "primary", "Audit now"))
                        span.muted.small {
                            "Stops the machines, waits until all has arrived, compares every layer."
                        }
                    }
                }
            }
        }
        section.card aria-labelledby="lab-events" {
            h2 #lab-events { "Events" }
            (events(&state.events))
        }
    }
}

fn node(node: &LabNode, may_order: bool) -> Markup {
    let (level, word) = match node.state {
        NodeState::Running => ("ok", "running"),
        NodeState::Killed => ("bad", "killed"),
        NodeState::Starting => ("warn", "starting"),
    };
    let (hub, id) = (node.hub.clone(), node.node);
    let (action, order, class) = match node.state {
        NodeState::Killed => (Action::Start { hub, node: id }, "Start", ""),
        _ => (Action::Kill { hub, node: id }, "Kill", "danger"),
    };
    let label = format!("{order} {} node {id}", node.hub);
    html! {
        li id=(format!("node-{}-{id}", node.hub)) {
            span.part-name { span.mono { (page::breakable(&node.hub)) } " node " (id) }
            span.badge data-state=(level) { (word) }
            @if may_order { (button(&action, order, class, &label)) }
        }
    }
}

fn link(link: &LabLink, may_order: bool) -> Markup {
    let LabLink { child, parent, cut } = link;
    let (level, word) = if *cut {
        ("bad", "cut")
    } else {
        ("ok", "connected")
    };
    let id = child.clone();
    let (action, word_of, class) = match cut {
        true => (Action::Heal { child: id }, "Heal", ""),
        false => (Action::Cut { child: id }, "Cut", "danger"),
    };
    let label = format!("{word_of} the link from {child} to {parent}");
    html! {
        li id=(format!("link-{child}")) {
            span.part-name.mono {
                (page::breakable(child)) " → " (page::breakable(parent))
            }
            span.badge data-state=(level) { (word) }
            @if may_order { (button(&action, word_of, class, &label)) }
        }
    }
}

fn button(action: &Action, text: &str, class: &str, label: &str) -> Markup {
    html! {
        button class={ "button " (class) } type="submit" form=(FORM) name="order" value=(words(action))
            aria-label=(label) { (text) }
    }
}

/// The newest first; read out as they come.
fn events(events: &[LabEvent]) -> Markup {
    html! {
        @if events.is_empty() { p.muted { "Nothing has happened yet." } }
        div role="log" aria-label="Events, the newest first" {
            ol.events reversed {
                @for event in events.iter().rev() {
                    li { time.mono.muted { (clock(event.time)) } " " (event.text) }
                }
            }
        }
    }
}

/// Time of the day, UTC.
fn clock(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs()) % 86_400;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let (hub, child) = (|| "acme.site".to_owned(), || "acme.site.line".to_owned());
        for action in [
            Action::Kill {
                hub: hub(),
                node: 3,
            },
            Action::Start {
                hub: hub(),
                node: 1,
            },
            Action::Cut { child: child() },
            Action::Heal { child: child() },
            Action::Audit,
        ] {
            assert_eq!(parse(&words(&action)), Some(action));
        }
        for bad in [
            "",
            "kill",
            "kill acme",
            "kill acme x",
            "kill acme 1 2",
            "audit now",
            "reboot",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_operators_see_buttons() {
        let state = LabState {
            nodes: vec![LabNode {
                hub: "acme".into(),
                node: 1,
                state: NodeState::Running,
            }],
            ..LabState::default()
        };
        assert!(bench(&state, true).into_string().contains("kill acme 1"));
        assert!(!bench(&state, false).into_string().contains("<button"));
    }

    #[test]
    fn the_time_of_day() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(clock(time), "22:13:20");
    }
}
