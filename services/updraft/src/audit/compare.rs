//! The same origin at two layers. Pure.

use proto::{HubPath, Origin};

use super::layer::{Difference, Layer, Stream};

/// What comparing two layers gave for one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) origin: Origin,
    pub(crate) lower: HubPath,
    pub(crate) upper: HubPath,
    /// Records that both layers have, and that are equal.
    pub(crate) equal: u64,
    /// Records that the upper layer does not have yet.
    pub(crate) behind: u64,
    pub(crate) difference: Option<Difference>,
}

/// Compares each layer with the next one below it, for all origins of the lower one, and names
/// what an upper layer claims to have from a hub that is among the layers but knows nothing of it.
pub(crate) fn compare(layers: &[Layer]) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for upper in layers {
        let lower = |origin: &Origin| {
            let candidates = layers.iter().filter(|lower| {
                lower.hub != upper.hub
                    && upper.hub.covers(&lower.hub)
                    && lower.hub.covers(&origin.hub)
            });
            // The next one down is the one with the shortest path.
            candidates.min_by_key(|lower| lower.hub.as_str().len())
        };
        let below = layers.iter().filter(|layer| upper.hub.covers(&layer.hub));
        let mut origins: Vec<&Origin> = below.flat_map(|layer| layer.streams.keys()).collect();
        origins.sort_unstable();
        origins.dedup();
        for origin in origins {
            if let Some(lower) = lower(origin) {
                comparisons.push(compare_origin(origin, lower, upper));
            }
        }
    }
    comparisons
}

fn compare_origin(origin: &Origin, lower: &Layer, upper: &Layer) -> Comparison {
    let nothing = Stream::default();
    let below = lower.streams.get(origin).unwrap_or(&nothing);
    let above = upper.streams.get(origin).unwrap_or(&nothing);
    let found = differs(below, above);
    let equal = match &found {
        None => overlap(below, above),
        Some((sequence, _)) => sequence.saturating_sub(above.range().start),
    };
    let difference = found.map(|(sequence, what)| Difference {
        hub: upper.hub.to_string(),
        origin: Some(origin.clone()),
        sequence: Some(sequence),
        what: format!("{what} (compared with {})", lower.hub),
    });
    Comparison {
        origin: origin.clone(),
        lower: lower.hub.clone(),
        upper: upper.hub.clone(),
        equal,
        behind: below.range().end.saturating_sub(above.range().end),
        difference,
    }
}

fn overlap(below: &Stream, above: &Stream) -> u64 {
    let (below, above) = (below.range(), above.range());
    below
        .end
        .min(above.end)
        .saturating_sub(below.start.max(above.start))
}

/// The first sequence at which the upper layer has something else. Each layer may have deleted its
/// beginning, and the upper one may lack the newest; both are no difference.
fn differs(below: &Stream, above: &Stream) -> Option<(u64, String)> {
    let (range_below, range_above) = (below.range(), above.range());
    if range_above.end > range_below.end {
        let what = format!(
            "the upper layer has more: the lower one ends at {}",
            range_below.end
        );
        return Some((range_below.end, what));
    }
    let from = range_below.start.max(range_above.start);
    let to = range_below.end.min(range_above.end);
    let shared = |stream: &Stream| {
        let links = stream
            .links
            .iter()
            .filter(|link| link.end() > from && link.first_sequence < to);
        links.cloned().collect::<Vec<_>>()
    };
    let (links_below, links_above) = (shared(below), shared(above));
    for (lower, upper) in links_below.iter().zip(&links_above) {
        if lower.first_sequence != upper.first_sequence || lower.count != upper.count {
            let at = lower.first_sequence.max(upper.first_sequence);
            let what = format!(
                "another batch: {} to {} above, {} to {} below",
                upper.first_sequence,
                upper.end() - 1,
                lower.first_sequence,
                lower.end() - 1
            );
            return Some((at, what));
        }
        if lower.digest != upper.digest {
            return Some((lower.first_sequence, "the batch has another digest".into()));
        }
    }
    let one_more = (links_below.len() != links_above.len()).then_some(to);
    one_more.map(|at| (at, "one of the two has more batches".into()))
}

#[cfg(test)]
mod tests {
    use proto::rpc::Delivery;

    use super::*;
    use crate::audit::layer::tests::{layer, log, origin};

    /// The upper layer's log after `edit`, against the untouched lower one.
    fn compared(edit: impl Fn(&mut Vec<Delivery>)) -> Comparison {
        let mut above = log();
        edit(&mut above);
        let layers = [layer("acme", &above), layer("acme.line", &log())];
        compare(&layers).remove(0)
    }

    #[test]
    fn equal_layers() {
        let comparison = compared(|_| {});
        let expected = Comparison {
            origin: origin(),
            lower: "acme.line".parse().unwrap(),
            upper: "acme".parse().unwrap(),
            equal: 10,
            behind: 0,
            difference: None,
        };
        assert_eq!(comparison, expected);
    }

    #[test]
    fn a_layer_may_be_behind_or_have_deleted_its_beginning() {
        type Edit = fn(&mut Vec<Delivery>);
        let table: [(Edit, u64, u64); 3] = [
            (|log| log.truncate(3), 6, 4),
            (|log| drop(log.drain(..2)), 7, 0),
            (Vec::clear, 0, 10),
        ];
        for (edit, equal, behind) in table {
            let comparison = compared(edit);
            assert_eq!(comparison.difference, None);
            assert_eq!((comparison.equal, comparison.behind), (equal, behind));
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        type Edit = fn(&mut Vec<Delivery>);
        let table: [(Edit, u64, &str); 3] = [
            (
                |log| log[1].envelope.as_mut().unwrap().digest = vec![9; 32].into(),
                1,
                "the batch has another digest",
            ),
            (
                |log| drop(log.remove(1)),
                3,
                "another batch: 3 to 5 above, 1 to 2 below",
            ),
            (
                |log| {
                    let mut more = log[3].clone();
                    more.envelope.as_mut().unwrap().first_sequence = 10;
                    log.push(more);
                },
                10,
                "the upper layer has more: the lower one ends at 10",
            ),
        ];
        for (edit, sequence, what) in table {
            let difference = compared(edit).difference.unwrap();
            assert_eq!(
                (difference.hub.as_str(), difference.sequence),
                ("acme", Some(sequence))
            );
            assert!(
                difference.what.starts_with(what),
                "{what}: {}",
                difference.what
            );
        }
    }

    #[test]
    fn each_layer_is_compared_with_the_next_one_below() {
        let layers = ["acme", "acme.line", "acme.line.cell"].map(|hub| layer(hub, &log()));
        // The origin is acme.line's: its child has no part in it.
        let pairs: Vec<_> = compare(&layers)
            .iter()
            .map(|comparison| (comparison.upper.to_string(), comparison.lower.to_string()))
            .collect();
        assert_eq!(pairs, [("acme".to_owned(), "acme.line".to_owned())]);
    }
}
