use proto::{Batch, Incarnation, Lane, Nanos, Record, Scope, rpc};

use super::*;

fn origin() -> Origin {
    Origin {
        hub: "acme.line".parse().unwrap(),
        incarnation: Incarnation(7),
        lane: Lane::Normal,
    }
}

/// What a log delivers of one origin: batches of 1, 2, 3 and 4 records.
fn log() -> Vec<Delivery> {
    let (mut chain, mut first) = (Chain::default(), 0);
    (1..=4_u64)
        .map(|size| {
            let record = |n| Record::message("a", format!("{first} {n}"), Nanos(1));
            let records: Vec<Record> = (0..size).map(record).collect();
            let batch = Batch::encode(&records).unwrap();
            let mut envelope = Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
            envelope.origin = Some((&origin()).into());
            envelope.first_sequence = first;
            chain = chain.next(first, envelope.count, &envelope.digest);
            let offset = 100 + first;
            first += size;
            Delivery {
                offset,
                leader_time: 0,
                chain: chain.to_bytes(),
                envelope: Some(envelope),
            }
        })
        .collect()
}

fn head(deliveries: &[Delivery]) -> OriginState {
    let last = deliveries.last();
    let end = last.map_or(0, |last| last.envelope.as_ref().unwrap().end_sequence());
    OriginState {
        origin: Some((&origin()).into()),
        next_sequence: end,
        chain: last.map_or(Chain::default().to_bytes(), |last| last.chain.clone()),
    }
}

fn verified(deliveries: &[Delivery]) -> Verifier {
    let mut verifier = Verifier::default();
    for delivery in deliveries {
        verifier.take(delivery);
    }
    verifier
}

fn stream(verifier: &Verifier) -> &Stream {
    &verifier.streams[&origin()]
}

#[test]
fn a_whole_log_is_verified_from_its_start_and_from_any_head() {
    let log = log();
    for start in 0..log.len() {
        let mut verifier = match start {
            0 => Verifier::default(),
            _ => {
                let offset = log[start].offset;
                Verifier::from_heads(&[head(&log[..start])], offset)
            }
        };
        for delivery in &log[start..] {
            verifier.take(delivery);
        }
        let stream = stream(&verifier);
        let from = head(&log[..start]).next_sequence;
        assert_eq!((stream.from, stream.to), (from, 10), "from {start}");
        assert!(!verifier.differs(), "{verifier:?}");
    }
}

#[test]
fn what_was_tampered_with_is_named() {
    fn envelope(log: &mut [Delivery], index: usize) -> &mut rpc::Envelope {
        log[index].envelope.as_mut().unwrap()
    }
    type Edit = fn(&mut Vec<Delivery>);
    let table: [(Edit, u64, &str); 6] = [
        (
            |log| {
                let mut bytes = envelope(log, 1).batch.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                envelope(log, 1).batch = bytes.into();
            },
            1,
            "invalid envelope.digest: not the digest of the batch",
        ),
        (
            |log| {
                let mut bytes = envelope(log, 1).batch.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                envelope(log, 1).digest = blake3::hash(&bytes).as_bytes().to_vec().into();
                envelope(log, 1).batch = bytes.into();
            },
            1,
            "the log says chain",
        ),
        (
            |log| log[2].chain = vec![9; 32].into(),
            3,
            "the log says chain",
        ),
        (|log| log[2].chain.clear(), 3, "the log says chain"),
        (|log| drop(log.remove(1)), 3, "1 to 2 are missing"),
        (
            |log| log.insert(2, log[1].clone()),
            1,
            "1 is there again; 3 was next",
        ),
    ];
    for (edit, sequence, what) in table {
        let mut log = log();
        edit(&mut log);
        let verifier = verified(&log);
        let difference = stream(&verifier).first_difference.as_ref().unwrap();
        assert_eq!(difference.sequence, Sequence(sequence), "{difference:?}");
        assert!(difference.what.starts_with(what), "{what}: {difference:?}");
        assert!(verifier.differs());
    }
}

#[test]
fn a_delivery_of_no_origin_or_at_another_offset_is_told() {
    type Edit = fn(&mut Delivery);
    let table: [(Edit, &str); 3] = [
        (
            |delivery| delivery.offset += 1,
            "offset 104 stands where 103",
        ),
        (
            |delivery| delivery.envelope.as_mut().unwrap().origin = None,
            "invalid origin.hub",
        ),
        (|delivery| delivery.envelope = None, "invalid origin.hub"),
    ];
    for (edit, what) in table {
        let mut log = log();
        edit(&mut log[2]);
        let verifier = verified(&log);
        let stray = verifier.stray.as_deref().unwrap_or_default();
        assert!(stray.starts_with(what), "{what}: {stray}");
        assert!(verifier.differs());
    }
}

#[test]
fn witnesses_that_are_behind_equal_and_ahead() {
    let log = log();
    let mut verifier = verified(&log[..2]);
    for (name, part) in [
        ("behind", &log[..1]),
        ("equal", &log[..2]),
        ("ahead", &log[..4]),
    ] {
        verifier.hear(name, &[head(part)]);
    }
    let agrees = |verifier: &Verifier, name: &str| stream(verifier).witnesses[name].agrees_to;
    assert_eq!(agrees(&verifier, "behind"), Some(1));
    assert_eq!(agrees(&verifier, "equal"), Some(3));
    assert_eq!(agrees(&verifier, "ahead"), None);
    // Who goes on ahead is compared with what it said first.
    verifier.hear(
        "ahead",
        &[OriginState {
            next_sequence: 99,
            ..head(&log)
        }],
    );
    for delivery in &log[2..] {
        verifier.take(delivery);
    }
    assert_eq!(agrees(&verifier, "ahead"), Some(10));
    assert_eq!(stream(&verifier).witnesses["ahead"].has, 99);
    assert!(!verifier.differs(), "{verifier:?}");
}

#[test]
fn a_witness_with_another_chain_or_other_batches_is_told() {
    let log = log();
    let other_chain = OriginState {
        chain: vec![1; 32].into(),
        ..head(&log[..2])
    };
    let other_batch = OriginState {
        next_sequence: 2,
        ..head(&log[..2])
    };
    for (state, sequence, what) in [
        (other_chain, 3, "its chain is 0101"),
        (other_batch, 2, "it has a batch that ends where none ends"),
    ] {
        // Before it is reached and after.
        let mut early = Verifier::default();
        early.take(&log[0]);
        early.hear("below", std::slice::from_ref(&state));
        early.take(&log[1]);
        let mut late = verified(&log);
        late.hear("below", &[state]);
        for verifier in [early, late] {
            let witness = &stream(&verifier).witnesses["below"];
            let difference = witness.first_difference.as_ref().unwrap();
            assert_eq!(difference.sequence, Sequence(sequence));
            assert!(difference.what.starts_with(what), "{difference:?}");
            assert!(verifier.differs());
        }
    }
}

#[test]
fn a_walk_from_the_beginning_extends_what_was_verified_live() {
    let log = log();
    let mut live = Verifier::from_heads(&[head(&log[..2])], log[2].offset);
    live.take(&log[2]);
    let mut walk = Verifier::default();
    walk.hear("live", &live.begins());
    for delivery in &log[..2] {
        walk.take(delivery);
        walk.hear("live", &live.begins());
    }
    live.extend(&walk, "live");
    assert_eq!((stream(&live).from, stream(&live).to), (0, 6));

    // Whoever walks again agrees with where the extended part begins.
    let mut again = Verifier::default();
    for delivery in &log {
        again.take(delivery);
        again.hear("live", &live.begins());
    }
    assert!(!again.differs());

    // Not when the two don't meet.
    let mut live = Verifier::from_heads(
        &[OriginState {
            chain: vec![1; 32].into(),
            ..head(&log[..2])
        }],
        log[2].offset,
    );
    walk.hear("live", &live.begins());
    live.extend(&walk, "live");
    assert_eq!(stream(&live).from, 3);
}

#[test]
fn an_origin_without_its_beginning_is_verified_from_the_next_batch_on() {
    let verifier = verified(&log()[1..]);
    let stream = stream(&verifier);
    assert_eq!((stream.from, stream.to), (3, 10));
    assert!(!verifier.differs());
}

#[test]
fn only_so_many_heads_are_remembered() {
    let mut stream = Stream::new(0, Chain::default());
    let mut chain = Chain::default();
    for first in 0..HEADS as u64 + 10 {
        let record = Record::message("a", "x", Nanos(1));
        let batch = Batch::encode(&[record]).unwrap();
        let mut envelope = Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
        envelope.first_sequence = first;
        chain = chain.next(first, 1, &envelope.digest);
        stream.take(&envelope, &chain.to_bytes());
    }
    assert_eq!(stream.heads.len(), HEADS);
    // Too long ago: nothing is said of it.
    stream.hear("old", 2, Chain::default());
    assert_eq!(stream.witnesses["old"].first_difference, None);
    assert!(!stream.differs());
}
