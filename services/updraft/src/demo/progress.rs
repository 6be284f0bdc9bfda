//! One line: what each layer has committed, how fast, and how far it lags behind.

use super::gauges::{Sample, lag, unwritten};
use super::plant::short;
use super::story::{Now, Phase};
use crate::pyramid::Observer;

pub(super) fn line(hubs: &[Observer], sample: &Sample, now: &Now) -> String {
    let layers = hubs.iter().enumerate();
    let layers: Vec<String> = layers
        .map(|(index, hub)| layer(index, hub, sample))
        .collect();
    let elapsed = now
        .started
        .map_or(0.0, |(started, _)| started.elapsed().as_secs_f64());
    let doing = match (now.phase, &now.fault) {
        (Phase::Draining, _) => " | draining".to_owned(),
        (_, Some(fault)) => format!(" | fault: {}", fault.what),
        (_, None) => String::new(),
    };
    format!("{elapsed:6.1}s  {}{doing}", layers.join(" | "))
}

fn layer(index: usize, hub: &Observer, sample: &Sample) -> String {
    let name = short(hub.path());
    let Some(status) = &sample.statuses[index] else {
        return format!("{name} does not answer");
    };
    let mut notes = Vec::new();
    if let Some(Some(rate)) = sample.rates[index].back() {
        notes.push(format!("{rate}/s"));
    }
    let behind = lag(hub.path(), &sample.statuses).filter(|n| *n > 0);
    notes.extend(behind.map(|n| format!("lag {n}")));
    let unwritten = unwritten(hub, status).filter(|n| *n > 0);
    notes.extend(unwritten.map(|n| format!("SQLite lag {n}")));
    match notes.join(", ") {
        notes if notes.is_empty() => format!("{name} {}", status.next_offset),
        notes => format!("{name} {} ({notes})", status.next_offset),
    }
}
