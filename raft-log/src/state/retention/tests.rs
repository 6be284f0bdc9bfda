use proto::rpc::command::Operation;
use proto::rpc::{ClaimCursor, Command, OpenSession};
use proto::{Incarnation, Lane, Nanos};

use super::*;
use crate::state::Applied;

fn apply(state: &mut State, operation: Operation) -> Applied {
    let command = Command {
        leader_time: 5,
        operation: Some(operation),
    };
    state.apply(command).0
}

fn claim(name: &str, pinning: bool) -> Operation {
    Operation::ClaimCursor(ClaimCursor {
        name: name.into(),
        holder: "test".into(),
        lease_nanos: 1,
        pinning,
    })
}

fn origin() -> Origin {
    Origin {
        hub: "acme".parse().unwrap(),
        incarnation: Incarnation(7),
        lane: Lane::Normal,
    }
}

fn retain(before_offset: u64) -> Retain {
    let head = RetainedHead {
        origin: Some((&origin()).into()),
        first_sequence: before_offset,
        chain: Chain([3; 32]).to_bytes(),
    };
    Retain {
        before_offset,
        heads: vec![head],
    }
}

fn state() -> State {
    State {
        next_offset: 100,
        ..State::default()
    }
}

fn lost(state: &State) -> Vec<(String, u64, u64)> {
    let lost = state.retention.lost();
    lost.map(|it| (it.name, it.from_offset, it.to_offset))
        .collect()
}

#[test]
fn never_goes_back_and_is_idempotent() {
    let mut state = state();
    for (before, first) in [(40, 40), (40, 40), (30, 40), (60, 60)] {
        let applied = apply(&mut state, Operation::Retain(retain(before)));
        assert!(
            matches!(applied, Applied::Done { .. }),
            "{before}: {applied:?}"
        );
        assert_eq!(state.retention.first_offset, first);
        let head = state.retention.heads[&origin()];
        assert_eq!(
            head.first_sequence, first,
            "the heads are those of the offset"
        );
    }
    let copy = State::from_bytes(&state.to_bytes().unwrap()).unwrap();
    assert_eq!(copy.hash(), state.hash());
}

#[test]
fn what_does_not_fit_is_refused_without_a_trace() {
    let mut state = state();
    let mut bad_head = retain(40);
    bad_head.heads[0].chain = vec![1].into();
    for (retain, problem) in [
        (retain(101), "beyond the log's end"),
        (bad_head, "a head that is none"),
    ] {
        match apply(&mut state, Operation::Retain(retain)) {
            Applied::Refused(refusal) => assert!(refusal.message.contains(problem), "{refusal:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(state.retention.first_offset, 0);
    }
}

/// I2, whatever a leader proposes.
#[test]
fn a_pinning_cursor_is_never_passed() {
    let mut state = state();
    apply(&mut state, claim("writer/sqlite", true));
    let applied = apply(&mut state, Operation::Retain(retain(40)));
    match applied {
        Applied::Refused(refusal) => assert!(refusal.message.contains("writer/sqlite")),
        other => panic!("{other:?}"),
    }
    assert_eq!(state.retention.first_offset, 0);
}

/// Whoever holds a cursor can let go of it; what it has not read is then lost, and that is recorded.
#[test]
fn a_cursor_that_was_let_go_of_is_passed() {
    let mut state = state();
    apply(&mut state, claim("forwarder/normal", true));
    apply(&mut state, claim("forwarder/normal", false));
    let applied = apply(&mut state, Operation::Retain(retain(40)));
    assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
    assert_eq!(state.retention.first_offset, 40);
    let lost: Vec<_> = state.retention.lost().collect();
    assert_eq!((lost[0].from_offset, lost[0].to_offset), (0, 40));
    assert!(lost[0].name.contains("forwarder/normal"), "{lost:?}");
}

#[test]
fn what_sessions_and_other_cursors_lose_is_recorded() {
    let mut state = state();
    apply(&mut state, claim("group/a", false));
    state.next_offset = 20;
    let open = OpenSession {
        client_id: "press-1".into(),
        expiry_seconds: u32::MAX,
        ..OpenSession::default()
    };
    apply(&mut state, Operation::OpenSession(open));
    state.next_offset = 100;
    apply(&mut state, Operation::Retain(retain(10)));
    assert_eq!(lost(&state), [("cursor/group/a".to_owned(), 0, 10)]);
    apply(&mut state, Operation::Retain(retain(50)));
    let expected = [
        ("cursor/group/a".to_owned(), 0, 50),
        ("session/press-1".to_owned(), 20, 50),
    ];
    assert_eq!(lost(&state), expected);
    assert_eq!(state.retention.lost_ranges, 2);
    let session = state.sessions.get("press-1", 100).unwrap();
    assert_eq!(session.acknowledged_offset, 50);
    assert_eq!(state.sessions.lowest(Nanos(5)), Some(("press-1", 50)));
    assert_eq!(state.cursors.lowest_limited(), Some(("group/a", 50)));
}

#[test]
fn few_of_many_lost_ranges_are_kept_and_all_counted() {
    let mut retention = Retention::default();
    for number in 0..1000 {
        retention.record(Lost {
            name: format!("session/{number}"),
            from: 0,
            to: 10,
            time: Nanos(1),
        });
    }
    assert_eq!(retention.lost().count(), LOST_KEPT);
    assert_eq!(retention.lost().last().unwrap().name, "session/999");
    assert_eq!(retention.lost_ranges, 1000);
}
