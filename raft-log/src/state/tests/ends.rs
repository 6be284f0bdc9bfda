//! What is forgotten, when, and what never happens because of it: producers, sessions.

use super::*;

fn at(state: &mut State, time: i64, operation: Operation) -> Applied {
    let command = Command {
        leader_time: time,
        operation: Some(operation),
    };
    state.apply(command).0
}

/// The oldest append that is remembered can be retried, the one before it is no new one.
#[test]
fn as_many_appends_are_remembered_as_promised() {
    let mut state = hub();
    let stamp = producer(&mut state);
    let batch = |number: u64| [envelope(&number.to_string(), Lane::Normal)];
    let count = RECENT_APPENDS as u64 + 1;
    for number in 0..count {
        apply(&mut state, append(&stamp, number, &batch(number)));
    }
    let end = state.next_offset;
    let oldest = apply(&mut state, append(&stamp, 1, &batch(1))).0;
    let repeat = rpc::Appended {
        first_offset: 2,
        repeat: true,
    };
    assert_eq!(oldest, Applied::Appended(repeat));
    let older = apply(&mut state, append(&stamp, 0, &batch(0))).0;
    assert_eq!(kind(older), RefusalKind::UnknownProducer);
    assert_eq!(state.next_offset, end);
}

/// Forgotten is unknown for ever: the id is not issued again, its appends are not taken.
#[test]
fn an_idle_producer_is_forgotten_and_stays_unknown() {
    let mut state = hub();
    let idle = producer(&mut state);
    let active = producer(&mut state);
    let batch = [envelope("x", Lane::Normal)];
    let half = producers::IDLE_NANOS / 2 + 1;
    for stamp in [&idle, &active] {
        at(&mut state, 1, append(stamp, 0, &batch));
    }
    at(&mut state, half, append(&active, 1, &batch));
    let late = at(&mut state, 2 * half, append(&idle, 0, &batch));
    assert_eq!(kind(late), RefusalKind::UnknownProducer);
    let goes_on = at(&mut state, 2 * half, append(&active, 2, &batch));
    assert!(matches!(goes_on, Applied::Appended(_)), "{goes_on:?}");
    let end = state.next_offset;
    let fresh = producer(&mut state);
    assert_ne!(fresh.producer_id, idle.producer_id);
    for sequence in [0, 1] {
        let late = at(&mut state, 2 * half, append(&idle, sequence, &batch));
        assert_eq!(kind(late), RefusalKind::UnknownProducer);
    }
    assert_eq!(state.next_offset, end);
}

#[test]
fn of_too_many_producers_those_idle_for_longest_are_forgotten() {
    let mut state = hub();
    let batch = [envelope("x", Lane::Normal)];
    let (used, idle) = (producer(&mut state), producer(&mut state));
    at(&mut state, 2, append(&used, 0, &batch));
    for time in 0..producers::MOST as i64 - 1 {
        at(
            &mut state,
            3 + time,
            Operation::OpenProducer(Default::default()),
        );
    }
    let applied = at(&mut state, 3, append(&idle, 0, &batch));
    assert_eq!(kind(applied), RefusalKind::UnknownProducer);
    let applied = at(&mut state, 3, append(&used, 1, &batch));
    assert!(matches!(applied, Applied::Appended(_)), "{applied:?}");
}

const SECOND: i64 = 1_000_000_000;

fn connect(epoch: Option<u64>, attempt: u64) -> OpenSession {
    OpenSession {
        client_id: "m".into(),
        holder: "node 1/a".into(),
        clean: false,
        expiry_seconds: 60,
        lease_nanos: 20 * SECOND,
        expected_epoch: epoch,
        attempt,
    }
}

fn opened(applied: Applied) -> rpc::SessionState {
    match applied {
        Applied::Session(session) => *session,
        other => panic!("{other:?}"),
    }
}

/// Nobody said goodbye for the sessions of a broker that was killed.
#[test]
fn sessions_of_a_holder_without_a_lease_count_as_closed() {
    let hold = |holder: &str| {
        Operation::HoldSessions(rpc::HoldSessions {
            holder: holder.into(),
            lease_nanos: 20 * SECOND,
        })
    };
    let mut state = hub();
    opened(at(
        &mut state,
        SECOND,
        Operation::OpenSession(connect(None, 1)),
    ));
    // Renewed until 100 s: held until 120 s.
    for time in (5..=100).step_by(5) {
        at(&mut state, time * SECOND, hold("node 1/a"));
    }
    // Another start of the same node renews nothing for it.
    for time in (105..180).step_by(5) {
        at(&mut state, time * SECOND, hold("node 1/b"));
        assert!(state.sessions.get("m", 0).is_some(), "at {time} s");
    }
    let mut copy = State::from_bytes(&state.to_bytes().unwrap()).unwrap();
    for state in [&mut state, &mut copy] {
        at(state, 181 * SECOND, hold("node 1/b"));
        assert!(state.sessions.get("m", 0).is_none());
    }
    assert_eq!(copy.hash(), state.hash());
}

/// A lease that was over before the log stood still is not given back by it.
#[test]
fn a_quiet_log_brings_no_dead_holder_back() {
    let mut state = hub();
    let open = Operation::OpenSession(connect(None, 1));
    opened(at(&mut state, SECOND, open));
    let other = || {
        Operation::OpenSession(OpenSession {
            client_id: "other".into(),
            holder: "node 2".into(),
            ..Default::default()
        })
    };
    for time in (5..=25).step_by(5) {
        at(&mut state, time * SECOND, other());
    }
    // The lease ended at 21 s, and the session expires 60 s after that.
    for time in [60, 100] {
        at(&mut state, time * SECOND, other());
    }
    assert!(state.sessions.get("m", 0).is_none());
}

/// While the log takes nothing nobody can renew: that time does not count.
#[test]
fn a_log_that_stood_still_ends_no_session() {
    let mut state = hub();
    opened(at(
        &mut state,
        SECOND,
        Operation::OpenSession(connect(None, 1)),
    ));
    let other = |client_id: &str| OpenSession {
        client_id: client_id.into(),
        holder: "node 2".into(),
        ..Default::default()
    };
    for (time, client_id) in [(1000, "x"), (1005, "y"), (1011, "z")] {
        at(
            &mut state,
            time * SECOND,
            Operation::OpenSession(other(client_id)),
        );
        assert!(state.sessions.get("m", 0).is_some());
    }
    for time in (1015..=1100).step_by(5) {
        at(
            &mut state,
            time * SECOND,
            Operation::OpenSession(other("x")),
        );
    }
    assert!(state.sessions.get("m", 0).is_none());
}

/// A clean CONNECT that was decided before a newer one and is committed after it.
#[test]
fn a_late_connect_can_not_wipe_a_newer_session() {
    let mut state = hub();
    let first = opened(at(
        &mut state,
        1,
        Operation::OpenSession(connect(Some(0), 1)),
    ));
    let late = OpenSession {
        clean: true,
        ..connect(Some(first.session_epoch), 2)
    };
    let newer = connect(Some(first.session_epoch), 3);
    let newer = opened(at(&mut state, 2, Operation::OpenSession(newer)));
    assert!(newer.present);
    let before = state.hash();
    let refused = refused(at(&mut state, 2, Operation::OpenSession(late)));
    assert_eq!(
        (refused.kind(), refused.expected),
        (RefusalKind::StaleSession, newer.session_epoch)
    );
    assert_eq!(state.hash(), before);
}

/// Proposed again because the first answer was lost.
#[test]
fn the_same_connect_again_is_answered_as_before() {
    let mut state = hub();
    let connect = Operation::OpenSession(connect(Some(0), 7));
    let first = opened(at(&mut state, 1, connect.clone()));
    assert!(!first.present);
    let again = opened(at(&mut state, 1, connect));
    assert_eq!(again, first);
}
