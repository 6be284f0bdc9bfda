use proto::rpc::{Append, Command, Envelope, OpenSession, ProducerStamp, SessionPublish};
use proto::{Batch, Record, Scope};

use super::*;

const HUB: &str = "acme.cologne";

fn hub() -> State {
    let mut state = State::default();
    let incarnation = Incarnation(7).to_bytes();
    done(
        &mut state,
        Operation::InitHub(rpc::InitHub {
            hub: HUB.into(),
            incarnation,
        }),
    );
    state
}

fn apply(state: &mut State, operation: Operation) -> (Applied, Vec<Placed>) {
    state.apply(Command {
        leader_time: 1,
        operation: Some(operation),
    })
}

fn done(state: &mut State, operation: Operation) {
    assert!(matches!(apply(state, operation).0, Applied::Done { .. }));
}

fn refused(applied: Applied) -> Refusal {
    match applied {
        Applied::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn kind(applied: Applied) -> RefusalKind {
    RefusalKind::try_from(refused(applied).kind).unwrap()
}

fn producer(state: &mut State) -> ProducerStamp {
    match apply(state, Operation::OpenProducer(Default::default())).0 {
        Applied::Producer(stamp) => stamp,
        other => panic!("{other:?}"),
    }
}

fn envelope(payload: &str, lane: Lane) -> Envelope {
    let records = [
        Record::message("a", payload.to_owned(), Nanos(1)),
        Record::message("b", payload.to_owned(), Nanos(2)),
    ];
    Envelope::birth(&Batch::encode(&records).unwrap(), lane, &Scope::up(), false)
}

fn append(stamp: &ProducerStamp, sequence: u64, envelopes: &[Envelope]) -> Operation {
    Operation::Append(Append {
        producer: Some(ProducerStamp {
            sequence,
            ..stamp.clone()
        }),
        envelopes: envelopes.to_vec(),
        publishes: vec![],
    })
}

#[test]
fn offsets_and_sequences_are_dense() {
    let mut state = hub();
    let stamp = producer(&mut state);
    let normal = envelope("x", Lane::Normal);
    let bulk = envelope("y", Lane::Bulk);
    let (_, first) = apply(&mut state, append(&stamp, 0, &[normal.clone(), bulk]));
    let (applied, second) = apply(&mut state, append(&stamp, 1, &[normal]));
    let places: Vec<_> = first
        .iter()
        .chain(&second)
        .map(|p| (p.offset, p.part, p.lane, p.origin_id, p.first_sequence))
        .collect();
    assert_eq!(
        places,
        [
            (0, 0, Lane::Normal, 0, 0),
            (2, 1, Lane::Bulk, 1, 0),
            (4, 0, Lane::Normal, 0, 2)
        ]
    );
    assert_eq!(
        applied,
        Applied::Appended(rpc::Appended {
            first_offset: 4,
            repeat: false
        })
    );
}

/// I4: a retry after a fail-over is answered and not taken again.
#[test]
fn a_retry_is_recognised_by_sequence_and_digest() {
    let mut state = hub();
    let stamp = producer(&mut state);
    let (x, y) = (envelope("x", Lane::Normal), envelope("y", Lane::Normal));
    apply(&mut state, append(&stamp, 0, std::slice::from_ref(&x)));
    apply(&mut state, append(&stamp, 1, std::slice::from_ref(&y)));
    let before = state.hash();

    let (applied, placed) = apply(&mut state, append(&stamp, 0, std::slice::from_ref(&x)));
    assert_eq!(
        applied,
        Applied::Appended(rpc::Appended {
            first_offset: 0,
            repeat: true
        })
    );
    assert!(placed.is_empty());
    assert_eq!(
        kind(apply(&mut state, append(&stamp, 0, &[y])).0),
        RefusalKind::Forked
    );
    let gap = refused(apply(&mut state, append(&stamp, 5, std::slice::from_ref(&x))).0);
    assert_eq!((gap.kind(), gap.expected), (RefusalKind::Gap, 2));
    let stranger = ProducerStamp { epoch: 9, ..stamp };
    assert_eq!(
        kind(apply(&mut state, append(&stranger, 2, &[x])).0),
        RefusalKind::UnknownProducer
    );
    assert_eq!(state.hash(), before, "refusals leave no trace");
}

#[test]
fn an_invalid_batch_is_refused_whole() {
    let mut state = hub();
    let stamp = producer(&mut state);
    let good = envelope("x", Lane::Normal);
    let bad = Envelope {
        count: 0,
        ..good.clone()
    };
    let (applied, placed) = apply(&mut state, append(&stamp, 0, &[good, bad]));
    assert_eq!(kind(applied), RefusalKind::Invalid);
    assert!(placed.is_empty());
    assert_eq!(state.next_offset, 0);
}

fn relayed(envelope: Envelope, hub: &str, first_sequence: u64) -> Operation {
    let origin = rpc::Origin {
        hub: hub.into(),
        incarnation: Incarnation(3).to_bytes(),
        lane: 0,
    };
    let envelope = Envelope {
        origin: Some(origin),
        first_sequence,
        ..envelope
    };
    Operation::Relay(rpc::Relay {
        envelope: Some(envelope),
    })
}

/// I4: the parent takes what continues, acknowledges repeats, names gaps and forks.
#[test]
fn an_envelope_from_below_must_continue_its_origin() {
    let mut state = hub();
    let edge = "acme.cologne.press";
    let (x, y) = (envelope("x", Lane::Normal), envelope("y", Lane::Normal));
    let next = |applied: Applied| match applied {
        Applied::Relayed(state) => state.next_sequence,
        other => panic!("{other:?}"),
    };
    assert_eq!(next(apply(&mut state, relayed(x.clone(), edge, 0)).0), 2);
    assert_eq!(
        next(apply(&mut state, relayed(y.clone().withheld(), edge, 2)).0),
        4
    );

    let (applied, placed) = apply(&mut state, relayed(x.clone(), edge, 0));
    assert_eq!((next(applied), placed.len()), (4, 0));
    assert_eq!(
        kind(apply(&mut state, relayed(y, edge, 0)).0),
        RefusalKind::Forked
    );
    let gap = refused(apply(&mut state, relayed(x.clone(), edge, 6)).0);
    assert_eq!((gap.kind(), gap.expected), (RefusalKind::Gap, 4));
    assert!(
        gap.message.ends_with("4 to 5 are missing"),
        "{}",
        gap.message
    );
    for stranger in ["acme", HUB, "other.hub"] {
        let (applied, _) = apply(&mut state, relayed(x.clone(), stranger, 0));
        assert_eq!(kind(applied), RefusalKind::Scope, "{stranger}");
    }
}

/// What is too old to be compared is neither acknowledged nor called a fork.
#[test]
fn a_repeat_from_long_ago_asks_for_a_new_hello() {
    let mut state = hub();
    let edge = "acme.cologne.press";
    let count = proto::envelope::MAX_UNACKNOWLEDGED as u64 + 1;
    for number in 0..count {
        let envelope = envelope(&number.to_string(), Lane::Normal);
        let (applied, _) = apply(&mut state, relayed(envelope, edge, 2 * number));
        assert!(matches!(applied, Applied::Relayed(_)));
    }
    let again = |number: u64| {
        relayed(
            envelope(&number.to_string(), Lane::Normal),
            edge,
            2 * number,
        )
    };
    assert_eq!(kind(apply(&mut state, again(0)).0), RefusalKind::Outdated);
    assert!(matches!(apply(&mut state, again(1)).0, Applied::Relayed(_)));
}

#[test]
fn a_withheld_batch_leaves_the_chain_as_the_batch_would() {
    let (mut a, mut b) = (hub(), hub());
    let x = envelope("x", Lane::Normal);
    let (_, with) = apply(&mut a, relayed(x.clone(), "acme.cologne.press", 0));
    let (_, without) = apply(&mut b, relayed(x.withheld(), "acme.cologne.press", 0));
    assert_eq!(with[0].chain, without[0].chain);
}

#[test]
fn a_cursor_has_one_holder_and_moves_forward() {
    let mut state = hub();
    let claim = |holder: &str, now| Command {
        leader_time: now,
        operation: Some(Operation::ClaimCursor(rpc::ClaimCursor {
            name: "up".into(),
            holder: holder.into(),
            lease_nanos: 10,
            pinning: true,
        })),
    };
    let commit = |epoch, next_offset| {
        let position = rpc::CursorPosition {
            name: "up".into(),
            epoch,
            next_offset,
        };
        Operation::CommitCursors(rpc::CommitCursors {
            cursors: vec![position],
        })
    };
    state.next_offset = 100;
    let epoch = |applied: Applied| match applied {
        Applied::Cursor(cursor) => (cursor.epoch, cursor.next_offset),
        other => panic!("{other:?}"),
    };
    assert_eq!(epoch(state.apply(claim("a", 10)).0), (1, 0));
    assert_eq!(kind(state.apply(claim("b", 15)).0), RefusalKind::Fenced);
    assert_eq!(epoch(state.apply(claim("a", 15)).0), (1, 0));
    done(&mut state, commit(1, 7));
    done(&mut state, commit(1, 5));
    assert_eq!(epoch(state.apply(claim("b", 25)).0), (2, 7));
    assert_eq!(kind(apply(&mut state, commit(1, 9)).0), RefusalKind::Fenced);
    assert_eq!(
        kind(apply(&mut state, commit(2, 101)).0),
        RefusalKind::Invalid
    );
}

fn open(state: &mut State, clean: bool) -> rpc::SessionState {
    let open = OpenSession {
        client_id: "m".into(),
        holder: "node 1".into(),
        clean,
        expiry_seconds: u32::MAX,
    };
    match apply(state, Operation::OpenSession(open)).0 {
        Applied::Session(session) => *session,
        other => panic!("{other:?}"),
    }
}

fn published(stamp: &ProducerStamp, sequence: u64, session_epoch: u64) -> Operation {
    let Operation::Append(mut append) = append(stamp, sequence, &[envelope("x", Lane::Normal)])
    else {
        unreachable!()
    };
    append.publishes = vec![SessionPublish {
        client_id: "m".into(),
        session_epoch,
        packet_id: 5,
        digest: 99,
    }];
    Operation::Append(append)
}

/// A dying node's retry can't overtake the client's new node.
#[test]
fn a_reopened_session_fences_the_older_connection_and_knows_its_publishes() {
    let mut state = hub();
    let stamp = producer(&mut state);
    let first = open(&mut state, false);
    assert!(!first.present);
    let (applied, _) = apply(&mut state, published(&stamp, 0, first.session_epoch));
    assert!(matches!(applied, Applied::Appended(_)));

    let second = open(&mut state, false);
    assert!(second.present);
    let known = rpc::CommittedPublish {
        packet_id: 5,
        digest: 99,
    };
    assert_eq!(second.recent_publishes, [known]);
    let stale = refused(apply(&mut state, published(&stamp, 1, first.session_epoch)).0);
    assert_eq!(
        (stale.kind(), stale.stale_sessions[0].session_epoch),
        (RefusalKind::StaleSession, first.session_epoch)
    );
    let (applied, _) = apply(&mut state, published(&stamp, 1, second.session_epoch));
    assert!(
        matches!(applied, Applied::Appended(_)),
        "the refused append took no sequence"
    );
    assert!(!open(&mut state, true).present);
}

#[test]
fn subscriptions_and_positions_survive_and_expire() {
    let mut state = hub();
    let session = open(&mut state, false);
    state.next_offset = 50;
    let update = |end, acknowledged_offset| {
        Operation::UpdateSessions(rpc::UpdateSessions {
            sessions: vec![rpc::SessionUpdate {
                client_id: "m".into(),
                session_epoch: session.session_epoch,
                subscribe: vec![rpc::Subscription {
                    filter: "a/#".into(),
                    options: 1,
                    subscription_id: None,
                }],
                acknowledged_offset,
                end,
                ..Default::default()
            }],
        })
    };
    done(&mut state, update(false, Some(40)));
    done(&mut state, update(false, Some(30)));
    let known = state.sessions.get("m", 50).unwrap();
    assert_eq!(
        (known.acknowledged_offset, known.subscriptions.len()),
        (40, 1)
    );
    done(&mut state, update(true, None));
    assert!(state.sessions.get("m", 50).is_none());
}

/// A SUBSCRIBE over a replaced connection is refused instead of granted and not stored; a floor of
/// one says nothing any more.
#[test]
fn a_replaced_connection_can_not_change_filters() {
    let mut state = hub();
    let old = open(&mut state, false);
    let new = open(&mut state, false);
    state.next_offset = 50;
    let update = |session_epoch, filter: Option<&str>| {
        let subscribe = filter.map(|filter| rpc::Subscription {
            filter: filter.into(),
            ..Default::default()
        });
        let update = rpc::SessionUpdate {
            client_id: "m".into(),
            session_epoch,
            subscribe: subscribe.into_iter().collect(),
            acknowledged_offset: Some(40),
            ..Default::default()
        };
        Operation::UpdateSessions(rpc::UpdateSessions {
            sessions: vec![update],
        })
    };
    let stale = refused(apply(&mut state, update(old.session_epoch, Some("a/#"))).0);
    assert_eq!(stale.kind(), RefusalKind::StaleSession);
    done(&mut state, update(old.session_epoch, None));
    let known = state.sessions.get("m", 50).unwrap();
    assert_eq!(
        (known.acknowledged_offset, known.subscriptions.len()),
        (0, 0)
    );
    done(&mut state, update(new.session_epoch, Some("a/#")));
    assert_eq!(state.sessions.get("m", 50).unwrap().subscriptions.len(), 1);
}

#[test]
fn retained_messages_follow_the_log() {
    let mut state = hub();
    let stamp = producer(&mut state);
    let mut publish = |sequence, payload: &str| {
        let mut record = Record::message("a/b", payload.to_owned(), Nanos(1));
        record.flags = proto::record::Flags::new(true, 1);
        let batch = Batch::encode(&[record]).unwrap();
        let envelope = Envelope::birth(&batch, Lane::Normal, &Scope::up(), true);
        apply(&mut state, append(&stamp, sequence, &[envelope]));
        state.retained.matching(&["a/#".parse().unwrap()])
    };
    assert_eq!(publish(0, "x")[0].value, proto::Value::Payload("x".into()));
    assert_eq!(publish(1, "y")[0].value, proto::Value::Payload("y".into()));
    assert!(publish(2, "").is_empty());
}

#[test]
fn a_checkpoint_is_the_whole_state() {
    let mut state = hub();
    let stamp = producer(&mut state);
    open(&mut state, false);
    apply(
        &mut state,
        append(&stamp, 0, &[envelope("x", Lane::Normal)]),
    );
    let copy = State::from_bytes(&state.to_bytes().unwrap()).unwrap();
    assert_eq!(copy.hash(), state.hash());
    assert!(
        State::from_bytes(&[9, 0])
            .unwrap_err()
            .contains("not known")
    );
}
