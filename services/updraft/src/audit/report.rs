//! What an audit found, for people and for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value as Json, json};

use super::compare::Comparison;
use super::layer::{Difference, Layer, Stream};
use super::rows::RowCheck;
use proto::Origin;

/// So many differences are printed; each layer's first one is always among them.
const PRINTED: usize = 20;

/// All that was read of one hub.
#[derive(Debug)]
pub(super) struct Audited {
    pub(super) layer: Layer,
    /// By origin; `None` without a historian in the file.
    pub(super) rows: Option<std::collections::BTreeMap<Origin, RowCheck>>,
}

#[derive(Debug)]
pub(super) struct Report {
    pub(super) hubs: Vec<Audited>,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) differences: Vec<Difference>,
}

impl Report {
    pub(super) fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    pub(super) fn print(&self) {
        println!("{}", self.table());
        for difference in self.differences.iter().take(PRINTED) {
            println!("DIFFERENCE {difference}");
        }
        if self.differences.len() > PRINTED {
            println!("… and {} more", self.differences.len() - PRINTED);
        }
        let shortened = self.hubs.iter().map(|audited| &audited.layer);
        for layer in shortened.filter(|layer| layer.first_offset > 0) {
            let (hub, first) = (&layer.hub, layer.first_offset);
            println!(
                "{hub}: verified from offset {first} on; what was before is deleted (retention)"
            );
        }
        if self.is_clean() {
            println!("nothing differs: all chains recomputed, all layers equal as far as they go");
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "hub",
            "origin",
            "sequences",
            "records",
            "withheld",
            "equal below",
            "behind",
            "rows",
            "not written",
            "dead",
        ]);
        for audited in &self.hubs {
            for (origin, stream) in &audited.layer.streams {
                table.add_row(self.row(audited, origin, stream));
            }
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn row(&self, audited: &Audited, origin: &Origin, stream: &Stream) -> Vec<String> {
        let incarnation = origin.incarnation.to_string();
        let range = stream.range();
        let dash = || "–".to_owned();
        let comparison = self.comparison(audited, origin);
        let rows = audited
            .rows
            .as_ref()
            .map(|rows| rows.get(origin).cloned().unwrap_or_default());
        vec![
            audited.layer.hub.to_string(),
            format!("{}/{}/{}", origin.hub, &incarnation[..8], origin.lane),
            format!("{}…{}", range.start, range.end.saturating_sub(1)),
            stream.records.to_string(),
            (stream.withheld + stream.dropped).to_string(),
            comparison.map_or_else(dash, |comparison| comparison.equal.to_string()),
            comparison.map_or_else(dash, |comparison| comparison.behind.to_string()),
            rows.as_ref()
                .map_or_else(dash, |rows| rows.rows.to_string()),
            rows.as_ref()
                .map_or_else(dash, |rows| rows.behind.to_string()),
            rows.as_ref()
                .map_or_else(dash, |rows| rows.dead_letters.to_string()),
        ]
    }

    fn comparison(&self, audited: &Audited, origin: &Origin) -> Option<&Comparison> {
        self.comparisons.iter().find(|comparison| {
            comparison.origin == *origin && comparison.upper == audited.layer.hub
        })
    }

    pub(super) fn json(&self) -> Json {
        let layers = self.hubs.iter().map(|audited| {
            let origins = audited.layer.streams.iter();
            let origins = origins.map(|(origin, stream)| self.origin_json(audited, origin, stream));
            json!({
                "hub": audited.layer.hub.as_str(),
                "first_offset": audited.layer.first_offset,
                "origins": origins.collect::<Vec<_>>(),
            })
        });
        let differences = self.differences.iter().map(|difference| {
            json!({
                "hub": difference.hub,
                "origin": difference.origin.as_ref().map(ToString::to_string),
                "sequence": difference.sequence,
                "what": difference.what,
            })
        });
        json!({
            "layers": layers.collect::<Vec<_>>(),
            "differences": differences.collect::<Vec<_>>(),
            "ok": self.is_clean(),
        })
    }

    fn origin_json(&self, audited: &Audited, origin: &Origin, stream: &Stream) -> Json {
        let comparison = self.comparison(audited, origin);
        let rows = audited
            .rows
            .as_ref()
            .map(|rows| rows.get(origin).cloned().unwrap_or_default());
        json!({
            "origin": origin.to_string(),
            "first_sequence": stream.range().start,
            "next_sequence": stream.range().end,
            "records": stream.records,
            "withheld": stream.withheld,
            "dropped": stream.dropped,
            "compared_with": comparison.map(|comparison| comparison.lower.as_str()),
            "equal": comparison.map(|comparison| comparison.equal),
            "behind": comparison.map(|comparison| comparison.behind),
            "historian": rows.map(|rows| json!({
                "rows": rows.rows,
                "not_written": rows.behind,
                "dead_letters": rows.dead_letters,
            })),
        })
    }
}
