//! A small log, and what is found when it is tampered with.

use proto::{Batch, Incarnation, Lane, Nanos, Record, Scope};

use super::*;

pub(crate) fn origin() -> Origin {
    Origin {
        hub: "acme.line".parse().unwrap(),
        incarnation: Incarnation(7),
        lane: Lane::Normal,
    }
}

/// Envelopes of 1, 2, 3 and 4 records.
pub(crate) fn log() -> Vec<Delivery> {
    let mut chain = Chain::default();
    let mut sequence = 0;
    let mut deliveries = Vec::new();
    for count in 1..=4_u32 {
        let records: Vec<Record> = (0..count)
            .map(|n| Record::message("t", format!("{count} {n}"), Nanos(1)))
            .collect();
        let batch = Batch::encode(&records).unwrap();
        let mut envelope = Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
        envelope.origin = Some((&origin()).into());
        envelope.first_sequence = sequence;
        chain = chain.next(sequence, count, &envelope.digest);
        deliveries.push(Delivery {
            offset: 100 + sequence,
            leader_time: 1,
            chain: chain.to_bytes(),
            envelope: Some(envelope),
        });
        sequence += u64::from(count);
    }
    deliveries
}

pub(crate) fn layer(hub: &str, log: &[Delivery]) -> Layer {
    let mut layer = Layer::new(hub.parse().unwrap());
    log.iter().for_each(|delivery| layer.take(delivery));
    layer
}

fn head(log: &[Delivery], next_sequence: u64) -> OriginState {
    let chain = log
        .last()
        .map(|delivery| delivery.chain.clone())
        .unwrap_or_default();
    OriginState {
        origin: Some((&origin()).into()),
        next_sequence,
        chain,
    }
}

fn first(log: &[Delivery]) -> Option<(Option<u64>, String)> {
    let mut layer = layer("acme.line", log);
    layer.finish(&[head(&super::tests::log(), 10)]);
    layer
        .differences
        .into_iter()
        .next()
        .map(|difference| (difference.sequence, difference.what))
}

fn envelope(delivery: &mut Delivery) -> &mut Envelope {
    delivery.envelope.as_mut().unwrap()
}

#[test]
fn a_log_that_is_whole_has_no_difference() {
    assert_eq!(first(&log()), None);
    // Neither has one whose beginning was deleted.
    assert_eq!(first(&log()[2..]), None);
    let layer = layer("acme.line", &log());
    let stream = &layer.streams[&origin()];
    assert_eq!((stream.records, stream.range()), (10, 0..10));
}

#[test]
fn an_envelope_without_its_batch_continues_the_chain() {
    let mut log = log();
    let withheld = envelope(&mut log[1]).clone().withheld();
    log[1].envelope = Some(withheld);
    assert_eq!(first(&log), None);
    let layer = layer("acme.line", &log);
    let stream = &layer.streams[&origin()];
    assert_eq!((stream.records, stream.withheld), (8, 2));
}

#[test]
fn what_was_tampered_with_is_found() {
    type Edit = fn(&mut Vec<Delivery>);
    let table: [(Edit, u64, &str); 7] = [
        (
            |log| drop(log.remove(1)),
            3,
            "offset 103 stands where 101 was next",
        ),
        (
            |log| log.truncate(3),
            6,
            "the log says it has all below 10, but 6 is missing",
        ),
        (
            |log| log.swap(1, 2),
            3,
            "offset 103 stands where 101 was next",
        ),
        (
            |log| envelope(&mut log[1]).batch = "other".into(),
            1,
            "invalid envelope.digest: not the digest of the batch",
        ),
        (
            |log| envelope(&mut log[2]).first_sequence = 4,
            4,
            "3 to 3 are missing",
        ),
        (
            |log| envelope(&mut log[2]).first_sequence = 2,
            2,
            "it is there again; 3 was next",
        ),
        (
            |log| log[1].chain = vec![0; 32].into(),
            1,
            "the log says chain 00000000",
        ),
    ];
    for (edit, sequence, what) in table {
        let mut log = log();
        edit(&mut log);
        let (found_at, found) = first(&log).unwrap_or_default();
        assert_eq!(found_at, Some(sequence), "{what}");
        assert!(found.starts_with(what), "{what}: {found}");
    }
}

#[test]
fn a_batch_that_was_exchanged_with_its_digest_breaks_the_chain() {
    let mut log = log();
    let batch = Batch::encode(&[Record::message("t", "forged", Nanos(1))]).unwrap();
    let first_envelope = envelope(&mut log[0]);
    first_envelope.digest = batch.digest().to_vec().into();
    first_envelope.batch = batch.bytes;
    let (sequence, what) = first(&log).unwrap();
    assert_eq!(sequence, Some(0));
    assert!(what.starts_with("the log says chain "), "{what}");
}

#[test]
fn a_head_that_differs_is_found() {
    let mut layer = layer("acme.line", &log());
    let mut state = head(&log(), 10);
    state.chain = vec![1; 32].into();
    layer.finish(&[state]);
    let difference = &layer.differences[0];
    let expected = format!(
        "acme.line: origin {} at 10: the log says its chain's head is 0101",
        origin()
    );
    assert!(
        difference.to_string().starts_with(&expected),
        "{difference}"
    );
}

/// Where the log says that `log()` begins after its first two envelopes.
fn retained_head(chain: &[u8]) -> RetainedHead {
    RetainedHead {
        origin: Some((&origin()).into()),
        first_sequence: 3,
        chain: chain.to_vec().into(),
    }
}

#[test]
fn a_log_that_has_deleted_its_beginning_is_proven_from_its_heads() {
    let all = log();
    let good = retained_head(&all[1].chain);
    let found = |head: RetainedHead, rest: &[Delivery]| {
        let mut layer = Layer::from_heads("acme.line".parse().unwrap(), 103, &[head]);
        rest.iter().for_each(|delivery| layer.take(delivery));
        layer.finish(&[super::tests::head(&all, 10)]);
        layer
            .differences
            .first()
            .map(|difference| difference.what.clone())
    };
    assert_eq!(found(good.clone(), &all[2..]), None);
    let table = [
        (
            good.clone(),
            &all[3..],
            "offset 106 stands where 103 was next",
        ),
        (retained_head(&[7; 32]), &all[2..], "the log says chain"),
        (
            good,
            &[][..],
            "the log says it has all below 10, but 3 is missing",
        ),
    ];
    for (head, rest, what) in table {
        let found = found(head, rest).unwrap();
        assert!(found.starts_with(what), "{what}: {found}");
    }
    // Everything is deleted.
    let mut end = retained_head(&all[3].chain);
    end.first_sequence = 10;
    assert_eq!(found(end, &[]), None);
}
