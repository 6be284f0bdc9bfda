//! An overview as HTML.

use std::time::Duration;

use maud::{Markup, html};

use super::tree::{Hub, Node, Overview, State};
use crate::format::{bytes, count, counted, duration, rate};
use crate::page;

impl State {
    /// For the attribute `data-state`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Idle => "idle",
            State::Warn => "warn",
            State::Bad => "bad",
        }
    }
}

pub(super) fn waiting() -> Markup {
    html! { p.muted { "Asking the log of this hub…" } }
}

pub(super) fn overview(overview: &Overview) -> Markup {
    if overview.hubs.is_empty() {
        return html! {
            p.notice data-state="bad" {
                "The log of this hub does not answer. Is it running, and is "
                code { "log.nodes" } " in hub.yaml where it listens?"
            }
        };
    }
    html! {
        (summary(overview))
        ul.pyramid { (level(overview, None)) }
    }
}

/// Read out when it changes; numbers that change every second stay out of it.
fn summary(overview: &Overview) -> Markup {
    let nodes: usize = overview.hubs.iter().map(|hub| hub.nodes.len()).sum();
    let ailing: Vec<&Hub> = overview
        .hubs
        .iter()
        .filter(|hub| hub.state != State::Ok)
        .collect();
    let hubs = counted(overview.hubs.len() as u64, "hub");
    let nodes = counted(nodes as u64, "node");
    html! {
        p #summary.summary role="status" data-state=(overview.worst().name()) {
            @match ailing[..] {
                [] => { strong { "All well" } " " },
                [hub] => { strong { (hub.path) " is " (hub.word) } " " },
                _ => { strong { (ailing.len()) " hubs need a look" } " " },
            }
            span.muted { (hubs) ", " (nodes) }
        }
    }
}

fn level(overview: &Overview, parent: Option<usize>) -> Markup {
    html! {
        @for (index, hub) in overview.children(parent) {
            li id=(id(hub)) {
                @if parent.is_some() { (link(hub)) }
                (card(hub, overview))
                @if overview.children(Some(index)).next().is_some() {
                    ul { (level(overview, Some(index))) }
                }
            }
        }
    }
}

fn id(hub: &Hub) -> String {
    format!("hub-{}", hub.path)
}

/// The way up from a hub to the one above it.
fn link(hub: &Hub) -> Markup {
    // What is wrong with the hub itself but not with the way up is told on its card.
    let state = if hub.gone { hub.state } else { State::Ok };
    html! {
        p.link data-state=(state.name()) {
            span.number {
                @if state == State::Bad { "✕ nothing arrives" }
                @else if state == State::Idle { "unknown" }
                @else { "↑ " (hub.rate.map_or("–".to_owned(), rate)) }
            }
        }
    }
}

fn card(hub: &Hub, overview: &Overview) -> Markup {
    let name = hub.path.rsplit('.').next().unwrap_or(&hub.path);
    html! {
        article.card.hub-card data-state=(hub.state.name()) {
            header.row.apart {
                h2 { (name) }
                span.badge data-state=(hub.state.name()) { (hub.word) }
            }
            @if name != hub.path { p.path.mono.muted { (page::breakable(&hub.path)) } }
            p.rate.number { (hub.rate.map_or("–".to_owned(), rate)) span.muted { " records" } }
            dl.facts { (facts(hub, overview)) }
            @if !hub.nodes.is_empty() {
                ul.nodes aria-label="Nodes" { @for node in &hub.nodes { (self::node(node)) } }
            }
            @if !hub.alarms.is_empty() {
                ul.alarms aria-label="Alarms" {
                    @for alarm in &hub.alarms {
                        li data-state=(alarm.state.name()) { (alarm.text) }
                    }
                }
            }
        }
    }
}

fn facts(hub: &Hub, overview: &Overview) -> Markup {
    let up = match hub.parent.and_then(|parent| overview.hubs.get(parent)) {
        Some(parent) => format!("lag at {}", parent.path),
        None => "lag at the hub above".to_owned(),
    };
    html! {
        (fact("log", &counted(hub.records, "record")))
        @if let Some(behind) = hub.behind { (fact(&up, &lag(behind))) }
        @for (name, behind) in &hub.historians {
            (fact(&format!("lag at historian {name}"), &lag(*behind)))
        }
        (fact("on disk", &bytes(hub.disk_bytes)))
        @if let Some(silence) = hub.silence {
            (fact("heard of", &ago(silence)))
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd.number { (value) } } }
}

fn lag(behind: u64) -> String {
    match behind {
        0 => "none".to_owned(),
        behind => counted(behind, "record"),
    }
}

/// A hub reports every second, so a second or two are no age.
fn ago(silence: Duration) -> String {
    match silence.as_secs() {
        0..=2 => "now".to_owned(),
        _ => format!("{} ago", duration(silence)),
    }
}

fn node(node: &Node) -> Markup {
    html! {
        li data-state=(node.state.name()) title=(node.address) {
            span.node-name { "node " (node.id) }
            span.badge data-state=(node.state.name()) { (node.word) }
            @if let Some(behind) = node.behind {
                span.muted.small.number title="entries that it has not applied yet" {
                    "lag " (count(behind))
                }
            }
        }
    }
}
