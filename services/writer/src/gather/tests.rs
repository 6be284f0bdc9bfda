use bytes::Bytes;
use proto::{Batch, Incarnation, Lane, Origin, Record, Scope, rpc};

use super::*;

/// An envelope of `count` messages; offsets are sequences.
fn delivery(offset: u64, count: u64) -> Delivery {
    let records: Vec<Record> = (0..count)
        .map(|n| Record::message("t", n.to_string(), Nanos(0)))
        .collect();
    let batch = Batch::encode(&records).unwrap();
    let mut envelope = rpc::Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
    let hub = "acme".parse().unwrap();
    let origin = Origin {
        hub,
        incarnation: Incarnation(1),
        lane: Lane::Normal,
    };
    envelope.origin = Some(rpc::Origin::from(&origin));
    envelope.first_sequence = offset;
    Delivery {
        offset,
        leader_time: 7,
        chain: Bytes::new(),
        envelope: Some(envelope),
    }
}

fn response(deliveries: &[(u64, u64)]) -> TailResponse {
    let deliveries: Vec<_> = deliveries
        .iter()
        .map(|(o, count)| delivery(*o, *count))
        .collect();
    let next_offset = deliveries.last().map_or(0, end);
    TailResponse {
        deliveries,
        next_offset,
        end_offset: next_offset,
        first_offset: 0,
    }
}

fn taken(gather: &mut Gather, limits: Limits, now: Instant) -> Option<(usize, u64)> {
    let portion = gather.take(limits, now).unwrap();
    portion.map(|portion| (portion.rows.len(), portion.next.0))
}

fn small(rows: usize) -> Limits {
    Limits { rows, failures: 0 }
}

#[test]
fn a_portion_is_due_after_a_while() {
    let start = Instant::now();
    let mut gather = Gather::new(Offset(0));
    assert_eq!(
        (gather.due(), taken(&mut gather, small(10), start)),
        (None, None)
    );
    assert_eq!(gather.push(response(&[(0, 2), (2, 1)]), start), None);
    assert_eq!(taken(&mut gather, small(10), start), None);
    gather.push(response(&[(3, 1)]), start + LINGER / 2);
    assert_eq!(gather.due(), Some(start + LINGER));
    assert_eq!(taken(&mut gather, small(10), start + LINGER), Some((4, 4)));
    assert_eq!(
        (
            gather.due(),
            taken(&mut gather, small(10), start + LINGER * 9)
        ),
        (None, None)
    );
}

#[test]
fn what_is_too_much_for_one_waits_for_the_next() {
    let now = Instant::now();
    let mut gather = Gather::new(Offset(0));
    gather.push(response(&[(0, 3), (3, 3), (6, 3), (9, 1)]), now);
    assert_eq!(taken(&mut gather, small(5), now), Some((6, 6)));
    assert!(!gather.has_room());
    assert_eq!(taken(&mut gather, small(1), now), Some((3, 9)));
    assert_eq!(taken(&mut gather, small(5), now), None);
    assert!(gather.has_room());
    assert_eq!(taken(&mut gather, small(5), now + LINGER), Some((1, 10)));
}

#[test]
fn a_cursor_within_an_envelope_skips_what_is_stored() {
    let now = Instant::now();
    let mut gather = Gather::new(Offset(2));
    assert_eq!(gather.push(response(&[(0, 5)]), now), None);
    let portion = gather.take(small(1), now).unwrap().unwrap();
    let offsets: Vec<u64> = portion.rows.iter().map(|row| row.offset.0).collect();
    assert_eq!(
        (offsets, portion.next, portion.newest),
        (vec![2, 3, 4], Offset(5), Nanos(7))
    );
}

#[test]
fn envelopes_without_data_move_the_cursor() {
    let now = Instant::now();
    let mut gather = Gather::new(Offset(0));
    let mut withheld = response(&[(0, 5)]);
    let envelope = withheld.deliveries[0].envelope.take().unwrap();
    withheld.deliveries[0].envelope = Some(envelope.withheld());
    gather.push(withheld, now);
    assert_eq!(taken(&mut gather, small(9), now + LINGER), Some((0, 5)));
    gather.push(
        TailResponse {
            deliveries: vec![],
            next_offset: 5,
            end_offset: 5,
            first_offset: 0,
        },
        now,
    );
    assert_eq!(gather.due(), None);
}

#[test]
fn what_the_log_lost_is_named() {
    let now = Instant::now();
    let mut gather = Gather::new(Offset(3));
    assert_eq!(gather.push(response(&[(7, 1)]), now), Some(3..7));
    assert_eq!(gather.push(response(&[(8, 1)]), now), None);
    assert_eq!(gather.push(response(&[(10, 1)]), now), Some(9..10));
    assert_eq!(taken(&mut gather, small(9), now + LINGER), Some((3, 11)));
}

#[test]
fn limits_shrink_after_some_failures_and_grow_again() {
    let mut limits = Limits::default();
    for _ in 0..PATIENCE {
        limits.failed();
    }
    assert_eq!(limits.rows, MAX_ROWS);
    limits.failed();
    assert_eq!((limits.rows, limits.failures()), (MAX_ROWS / 2, 4));
    for _ in 0..40 {
        limits.failed();
    }
    assert_eq!(limits.rows, 1);
    limits.succeeded();
    assert_eq!(
        limits,
        Limits {
            rows: 2,
            failures: 0
        }
    );
}
