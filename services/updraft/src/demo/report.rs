//! The verdict as a table and as JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value as Json, json};

use super::faults::Done;
use super::oracle::Tally;
use super::verdict::{Place, Verdict};

pub(super) fn json(verdict: &Verdict, faults: &[Done]) -> Json {
    let layers = verdict.layers.iter().map(|place| {
        let tally = place.tally;
        json!({
            "hub": place.name,
            "records": tally.records,
            "missing": tally.missing,
            "duplicate": tally.duplicate,
            "reordered": tally.reordered,
            "altered": tally.altered,
        })
    });
    json!({
        "acknowledged": verdict.acknowledged,
        "layers": layers.collect::<Vec<_>>(),
        "historian": verdict.historian.tally,
        "site_historian": verdict.site_historian.tally,
        "faults": faults,
        "vibration": {
            "samples": verdict.vibration.samples,
            "bytes_on_wire": verdict.vibration.bytes_on_wire,
        },
        "further": verdict.further,
        "ok": verdict.is_clean(),
    })
}

/// What a person reads at the end.
pub(super) fn text(verdict: &Verdict, faults: &[Done]) -> String {
    let mut lines = vec![String::new()];
    for fault in faults {
        lines.push(fault.line());
    }
    let acknowledged = verdict.acknowledged;
    lines.push(format!(
        "\nThe machines hold {acknowledged} acknowledgements. Found of them:\n"
    ));
    lines.push(table(verdict).to_string());
    for place in verdict.places() {
        lines.extend(
            place
                .described
                .iter()
                .map(|what| format!("{}: {what}", place.name)),
        );
    }
    lines.extend(verdict.further.iter().cloned());
    let vibration = verdict.vibration;
    lines.push(format!(
        "\nVibration: {} samples at the enterprise, {} bytes on the wire ({} as sampled)",
        vibration.samples,
        vibration.bytes_on_wire,
        vibration.samples * 2
    ));
    lines.push(if verdict.is_clean() {
        "OK: nothing is missing, doubled, reordered or altered; all hash chains agree".into()
    } else {
        "NOT OK: see above".into()
    });
    lines.join("\n")
}

/// The verdict in one line.
pub(super) fn summary(verdict: &Verdict) -> String {
    if verdict.is_clean() {
        let acknowledged = verdict.acknowledged;
        return format!(
            "OK: {acknowledged} acknowledgements, nothing missing, doubled, reordered or altered \
             in any log or historian"
        );
    }
    let places = verdict.places().filter(|place| !place.tally.is_clean());
    let places = places.map(|place| {
        let Tally {
            missing,
            duplicate,
            reordered,
            altered,
            ..
        } = place.tally;
        format!(
            "{}: {missing} missing, {duplicate} duplicate, {reordered} reordered, {altered} altered",
            place.name
        )
    });
    let all: Vec<String> = places.chain(verdict.further.iter().cloned()).collect();
    format!("NOT OK: {}", all.join("; "))
}

fn table(verdict: &Verdict) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "where",
        "records",
        "missing",
        "duplicate",
        "reordered",
        "altered",
    ]);
    for place in verdict.places() {
        table.add_row(row(place));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(place: &Place) -> Vec<String> {
    let tally = place.tally;
    let counts = [
        tally.records,
        tally.missing,
        tally.duplicate,
        tally.reordered,
        tally.altered,
    ];
    [place.name.clone()]
        .into_iter()
        .chain(counts.map(|count| count.to_string()))
        .collect()
}
