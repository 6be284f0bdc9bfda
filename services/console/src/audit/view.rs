//! The state of the audit as HTML.

use maud::{Markup, html};
use proto::Origin;
use proto::rpc::HubReport;

use super::verify::{Difference, Stream, Verifier, Witness};
use super::{LIVE, Walk};
use crate::format::{bytes, count, counted, duration};
use crate::page;

pub(super) fn waiting() -> Markup {
    html! { p.muted { "Waiting for the log of this hub…" } }
}

/// `stuck` is where the log can't be read.
pub(super) fn audit(
    live: &Verifier,
    walk: Option<&Walk>,
    stuck: Option<u64>,
    reports: &[HubReport],
) -> Markup {
    html! {
        (verdict(live, walk, stuck))
        @if let Some(walk) = walk { (progress(walk)) }
        (historians(reports))
        div.origins {
            @for (origin, stream) in &live.streams { (card(origin, stream, reports)) }
        }
        @if live.streams.is_empty() {
            p.muted { "This hub has no records yet: nothing to verify." }
        }
    }
}

fn verdict(live: &Verifier, walk: Option<&Walk>, stuck: Option<u64>) -> Markup {
    let differs = live.differs() || walk.is_some_and(|walk| walk.verifier.differs());
    let stray = live.stray.as_ref();
    let stray = stray.or(walk.and_then(|walk| walk.verifier.stray.as_ref()));
    let (state, word) = match (differs, stuck) {
        (true, _) => ("bad", "Something differs"),
        (false, Some(_)) => ("warn", "Not all can be read"),
        (false, None) => ("ok", "No difference"),
    };
    html! {
        p #verdict.summary role="status" data-state=(state) {
            strong { (word) }
            span.muted { (counted(live.streams.len() as u64, "origin")) " verified as they grow" }
        }
        @if let Some(offset) = stuck {
            p.notice data-state="warn" {
                "The log delivers nothing from offset " (count(offset)) " on, though it has more: "
                "what lies there is not verified. The log of its nodes says why."
            }
        }
        @if let Some(stray) = stray {
            p.notice data-state="bad" { "In the log itself: " (stray) }
        }
    }
}

fn progress(walk: &Walk) -> Markup {
    let part = html! {
        (counted(walk.at, "record")) " of " (count(walk.until)) ", " (bytes(walk.bytes))
    };
    let differing = walk
        .verifier
        .streams
        .iter()
        .filter(|(_, stream)| stream.differs());
    html! {
        section.card.walk aria-labelledby="walk" {
            h2 #walk { "From the beginning" }
            progress aria-labelledby="walk" max=(walk.until.max(1)) value=(walk.at) {}
            p.number {
                @match walk.done {
                    None => (part),
                    Some(elapsed) => { "Read " (part) " in " (duration(elapsed)) },
                }
            }
            @if walk.from > 0 {
                p.muted {
                    "The log begins at offset " span.number { (count(walk.from)) } ": what was "
                    "before is deleted, and its chains are taken for what the log's state says."
                }
            }
            @for (origin, stream) in differing {
                p { (name(origin)) }
                (differences(stream))
            }
        }
    }
}

fn historians(reports: &[HubReport]) -> Markup {
    let own = reports.first();
    let cursors = own.map(|own| own.cursors.as_slice()).unwrap_or_default();
    let end = own.map_or(0, |own| own.next_offset);
    let writers = cursors.iter().filter_map(|cursor| {
        let name = cursor.name.strip_prefix("writer/")?;
        Some((name, cursor.next_offset))
    });
    html! {
        @for (name, next) in writers {
            p.muted {
                "Historian " (name) " has all below offset " span.number { (count(next)) } ", "
                (lag(end.saturating_sub(next))) "."
            }
        }
    }
}

fn name(origin: &Origin) -> Markup {
    html! {
        span.mono { (page::breakable(origin.hub.as_str())) } " " span.badge { (origin.lane) } " "
        span.muted.small.mono title="incarnation" {
            (origin.incarnation.to_string().get(..8).unwrap_or_default())
        }
    }
}

fn card(origin: &Origin, stream: &Stream, reports: &[HubReport]) -> Markup {
    let differs = stream.differs();
    let own = reports.first().map_or("", |own| own.hub.as_str());
    let (state, word) = match (differs, stream.to > stream.from) {
        (true, _) => ("bad", "differs"),
        (false, true) => ("ok", "verified"),
        (false, false) => ("idle", "nothing new"),
    };
    html! {
        section.card.origin data-state=(state) {
            header.row.apart {
                h3 { (name(origin)) }
                span.badge data-state=(state) { (word) }
            }
            dl.facts {
                div {
                    dt { "computed again" }
                    dd.number { (count(stream.from)) " to " (count(stream.to)) }
                }
            }
            @if !stream.witnesses.is_empty() {
                div.scroll { (witnesses(stream, own)) }
            }
            (differences(stream))
        }
    }
}

fn witnesses(stream: &Stream, own: &str) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Layer" }
                    th scope="col" { "Heads" }
                    th.number scope="col" { "Agree to" }
                    th.number scope="col" { "It has" }
                }
            }
            tbody {
                @for (name, witness) in stream.witnesses.iter().filter(|(name, _)| *name != LIVE) {
                    (row(name, witness, stream, own))
                }
            }
        }
    }
}

fn row(name: &str, witness: &Witness, stream: &Stream, own: &str) -> Markup {
    let (state, word) = match (&witness.first_difference, witness.agrees_to) {
        (Some(_), _) => ("bad", "differ"),
        (None, Some(_)) => ("ok", "agree"),
        (None, None) => ("idle", "not met yet"),
    };
    let more = witness.has.saturating_sub(stream.to);
    html! {
        tr {
            th.mono scope="row" {
                (page::breakable(name)) @if name == own { span.muted { " (this hub)" } }
            }
            td { span.badge data-state=(state) { (word) } }
            td.number { (witness.agrees_to.map_or("–".to_owned(), count)) }
            td.number {
                (count(witness.has))
                @if more > 0 { span.muted { " (" (count(more)) " more)" } }
            }
        }
    }
}

fn differences(stream: &Stream) -> Markup {
    let others = stream.witnesses.iter().filter_map(|(name, witness)| {
        let difference = witness.first_difference.as_ref()?;
        Some((name.as_str(), difference))
    });
    html! {
        @if let Some(difference) = &stream.first_difference { (told("this hub's log", difference)) }
        @for (name, difference) in others { (told(name, difference)) }
    }
}

fn told(whose: &str, difference: &Difference) -> Markup {
    html! {
        p.notice.small data-state="bad" {
            strong { "First difference of " (whose) " at sequence " (difference.sequence) ": " }
            span.difference { (difference.what) }
        }
    }
}

fn lag(behind: u64) -> String {
    match behind {
        0 => "which is all of the log".to_owned(),
        behind => format!("{} behind the log", count(behind)),
    }
}
