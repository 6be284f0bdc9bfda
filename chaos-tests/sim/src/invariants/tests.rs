//! Each invariant is shown what it must not let pass.

use std::rc::Rc;
use std::time::Duration;

use proto::rpc::CursorState;
use raft_log::segment::LogPosition;

use super::{End, Invariant, named};
use crate::history::{Event, RecordId};
use crate::look::{Durable, Entry, Look, NodeLook, Running, Voters, Wiped};

fn invariant(name: &str) -> Box<dyn Invariant> {
    named(&[name.to_owned()]).remove(0)
}

fn id(producer: u32, number: u64) -> RecordId {
    RecordId { producer, number }
}

fn entry(index: u64, term: u64, content: u64) -> Rc<Entry> {
    let position = LogPosition {
        index,
        term,
        leader: 1,
    };
    Rc::new(Entry {
        position,
        digest: content,
        records: vec![id(1, content)],
        voters: None,
    })
}

/// Running nodes with these disks.
fn nodes(disks: Vec<Durable>) -> Vec<NodeLook> {
    let node = |(id, durable): (u64, Durable)| NodeLook {
        id,
        running: Some(Running {
            leads: id == 1,
            term: 2,
            applied_index: durable.entries.len() as u64,
            cursors: Vec::new(),
            first_offset: 0,
            refuses: false,
        }),
        durable: Rc::new(durable),
    };
    (1..).zip(disks).map(node).collect()
}

fn disk(entries: &[Rc<Entry>]) -> Durable {
    Durable {
        vote: Some((2, 1)),
        entries: entries.to_vec(),
        ..Durable::default()
    }
}

fn look(nodes: Vec<NodeLook>, events: &[Event]) -> Look<'_> {
    Look {
        at: Duration::ZERO,
        nodes,
        places: Box::leak(Box::default()),
        wiped: Box::leak(Box::default()),
        events,
    }
}

/// The first `good` events pass, the one after them does not.
fn refuses(name: &str, events: &[Event]) {
    let (last, good) = events.split_last().unwrap();
    let mut judge = invariant(name);
    judge.check(&look(Vec::new(), good)).unwrap();
    let last = [last.clone()];
    let refused = judge.check(&look(Vec::new(), &last));
    assert!(refused.is_err(), "{name} lets {last:?} pass");
}

fn read(reader: u32, offset: u64, id: RecordId) -> Event {
    Event::Read { reader, offset, id }
}

fn claimed(holder: &str, epoch: u64, next_offset: u64, floor: u64) -> Event {
    Event::Claimed {
        cursor: "c".into(),
        holder: holder.into(),
        epoch,
        next_offset,
        floor,
    }
}

#[test]
fn what_clients_must_not_see() {
    let submitted = |number| Event::Submitted { id: id(1, number) };
    let acknowledged = |number, offset| Event::Acknowledged {
        id: id(1, number),
        offset,
    };
    let name = "acknowledged-is-read";
    refuses(name, &[acknowledged(0, 5), acknowledged(1, 5)]);
    refuses(name, &[acknowledged(0, 0), read(1, 0, id(1, 1))]);
    refuses(name, &[read(1, 0, id(1, 0)), read(2, 0, id(1, 1))]);
    refuses(name, &[read(1, 0, id(1, 0)), read(1, 2, id(1, 2))]);
    refuses(
        "order-per-producer",
        &[read(1, 0, id(1, 1)), read(1, 1, id(1, 0))],
    );
    let name = "exactly-once";
    refuses(
        name,
        &[submitted(0), read(1, 0, id(1, 0)), read(1, 1, id(1, 0))],
    );
    refuses(name, &[submitted(0), read(1, 0, id(1, 1))]);
    let name = "cursors-monotone";
    refuses(name, &[claimed("a", 1, 7, 7), claimed("b", 2, 6, 7)]);
    refuses(name, &[claimed("a", 1, 0, 0), claimed("b", 1, 0, 0)]);
}

#[test]
fn what_was_acknowledged_and_is_not_read_at_the_end() {
    let events = [
        Event::Acknowledged {
            id: id(1, 1),
            offset: 1,
        },
        read(1, 0, id(1, 0)),
        read(2, 0, id(1, 0)),
        read(2, 1, id(1, 1)),
    ];
    let mut judge = invariant("acknowledged-is-read");
    judge.check(&look(Vec::new(), &events)).unwrap();
    let end = |reader| End {
        audits: vec![reader],
        ..End::default()
    };
    judge.check_at_end(&end(2)).unwrap();
    assert!(judge.check_at_end(&end(1)).is_err());
}

#[test]
fn a_leader_without_the_votes_of_a_quorum() {
    let mut judge = invariant("election-safety");
    let with_votes = |votes: [Option<(u64, u64)>; 3]| {
        nodes(
            votes
                .into_iter()
                .map(|vote| Durable {
                    vote,
                    ..Durable::default()
                })
                .collect(),
        )
    };
    let (this, later) = (Some((2, 1)), Some((2, 3)));
    judge
        .check(&look(with_votes([this, None, later]), &[]))
        .unwrap();
    let forgotten = with_votes([this, None, Some((1, 3))]);
    assert!(judge.check(&look(forgotten, &[])).is_err());
}

/// An entry that says who votes.
fn membership(index: u64, voters: &[&[u64]]) -> (Option<LogPosition>, Voters) {
    let sets = voters.iter().map(|set| set.iter().copied().collect());
    (Some(entry(index, 1, 0).position), sets.collect())
}

#[test]
fn a_quorum_is_one_of_those_who_voted_then() {
    let acknowledged = [Event::Acknowledged {
        id: id(1, 10),
        offset: 0,
    }];
    // The record is the second entry, and on the first three of five disks.
    let passes = |memberships: &[(Option<LogPosition>, Voters)]| {
        let mut disks = vec![disk(&[entry(1, 1, 1), entry(2, 1, 10)]); 3];
        disks.extend([disk(&[]), disk(&[])]);
        disks[0].memberships = memberships.to_vec();
        let places = [(id(1, 10), 2)].into();
        let looked = Look {
            places: &places,
            ..look(nodes(disks), &acknowledged)
        };
        invariant("committed-on-quorum").check(&looked).is_ok()
    };
    assert!(passes(&[membership(1, &[&[1, 2, 3, 4, 5]])]));
    assert!(!passes(&[membership(1, &[&[1, 2, 4, 5]])]));
    assert!(!passes(&[membership(1, &[&[1, 2, 3], &[1, 4, 5]])]));
    // Who came before counts no more, who came later may.
    assert!(!passes(&[
        membership(1, &[&[1, 2, 3]]),
        membership(2, &[&[3, 4, 5]])
    ]));
    assert!(passes(&[
        membership(2, &[&[3, 4, 5]]),
        membership(3, &[&[1, 2, 3]])
    ]));
}

#[test]
fn a_leader_elected_by_those_who_did_not_vote_then() {
    let passes = |voters: &[&[u64]], wiped: u64| {
        let vote = |vote| Durable {
            vote,
            ..Durable::default()
        };
        let mut disks = vec![vote(Some((2, 1))); 2];
        disks.extend([vote(None), vote(None)]);
        disks[0].memberships = vec![membership(1, voters)];
        let mut judge = invariant("election-safety");
        let mut before = disks.clone();
        before[2].vote = Some((2, 1));
        before[3].vote = Some((2, 1));
        judge.check(&look(nodes(before), &[])).unwrap();
        let wiped = Wiped {
            times: wiped,
            ..Wiped::default()
        };
        let after = Look {
            wiped: &wiped,
            ..look(nodes(disks), &[])
        };
        judge.check(&after).is_ok()
    };
    assert!(passes(&[&[1, 2, 3]], 0));
    assert!(!passes(&[&[1, 2, 3, 4]], 0));
    assert!(!passes(&[&[1, 2], &[1, 3, 4]], 0));
    assert!(passes(&[&[1, 2, 3, 4]], 1));
}

#[test]
fn logs_that_do_not_match() {
    let (a, b) = (entry(1, 1, 10), entry(2, 1, 20));
    let passes = |first: Durable, second: Durable| {
        let looked = look(nodes(vec![first, second]), &[]);
        invariant("log-matching").check(&looked).is_ok()
    };
    assert!(passes(
        disk(&[a.clone(), b.clone()]),
        disk(&[a.clone(), b.clone()])
    ));
    // Another content, another predecessor, another entry that was applied.
    assert!(!passes(
        disk(&[a.clone(), b.clone()]),
        disk(&[a.clone(), entry(2, 1, 21)])
    ));
    assert!(!passes(
        disk(&[a.clone(), b.clone()]),
        disk(&[entry(1, 2, 10), b])
    ));
    assert!(!passes(
        disk(std::slice::from_ref(&a)),
        disk(&[entry(1, 2, 10)])
    ));
}

#[test]
fn what_is_acknowledged_by_a_minority() {
    let acknowledged = [Event::Acknowledged {
        id: id(1, 10),
        offset: 0,
    }];
    let (with, without) = (|| disk(&[entry(1, 1, 10)]), || disk(&[]));
    let mut judge = invariant("committed-on-quorum");
    let quorum = nodes(vec![with(), without(), with()]);
    judge.check(&look(quorum, &acknowledged)).unwrap();
    let minority = nodes(vec![with(), without(), without()]);
    assert!(judge.check(&look(minority, &acknowledged)).is_err());
}

#[test]
fn a_cursor_that_goes_back() {
    let at = |next_offset| {
        let mut nodes = nodes(vec![Durable::default()]);
        let cursor = CursorState {
            name: "c".into(),
            next_offset,
            ..Default::default()
        };
        if let Some(running) = &mut nodes[0].running {
            running.cursors.push(cursor);
        }
        nodes
    };
    let mut judge = invariant("cursors-monotone");
    judge.check(&look(at(3), &[])).unwrap();
    assert!(judge.check(&look(at(2), &[])).is_err());
    let taken = [Event::Committed {
        cursor: "c".into(),
        next_offset: 4,
    }];
    let mut judge = invariant("cursors-monotone");
    judge.check(&look(at(3), &taken)).unwrap();
    let end = |node| End {
        states: vec![(node, 9, Vec::new())],
        ..End::default()
    };
    judge.check_at_end(&end(2)).unwrap();
    assert!(judge.check_at_end(&end(1)).is_err());
}

#[test]
fn states_that_differ() {
    let with = |digest| Durable {
        checkpoints: [(7, digest)].into(),
        ..Durable::default()
    };
    let mut judge = invariant("equal-state");
    judge
        .check(&look(nodes(vec![with(1), with(1)]), &[]))
        .unwrap();
    assert!(
        judge
            .check(&look(nodes(vec![with(1), with(2)]), &[]))
            .is_err()
    );
    let end = |hash: u8| End {
        states: vec![(1, 9, vec![0]), (2, 9, vec![hash])],
        ..End::default()
    };
    judge.check_at_end(&end(0)).unwrap();
    assert!(judge.check_at_end(&end(1)).is_err());
}

#[test]
fn a_disk_that_does_not_open() {
    let unreadable = Durable {
        unreadable: Some("corrupt".into()),
        ..Durable::default()
    };
    let mut judge = invariant("recovers");
    assert!(judge.check(&look(nodes(vec![unreadable]), &[])).is_err());
}

#[test]
fn what_a_cursor_pins_is_deleted() {
    let at = |first_offset, next_offset, pinning| {
        let mut nodes = nodes(vec![Durable::default()]);
        let cursor = CursorState {
            name: "c".into(),
            next_offset,
            pinning,
            ..Default::default()
        };
        if let Some(running) = &mut nodes[0].running {
            running.first_offset = first_offset;
            running.cursors.push(cursor);
        }
        nodes
    };
    let passes = |before: (u64, u64, bool), after: (u64, u64, bool)| {
        let look_at = |(first, next, pinning)| look(at(first, next, pinning), &[]);
        let mut judge = invariant("pinned-is-kept");
        judge.check(&look_at(before)).unwrap();
        judge.check(&look_at(after)).is_ok()
    };
    assert!(passes((0, 3, true), (5, 5, true)));
    assert!(!passes((0, 3, true), (5, 4, true)));
    assert!(passes((0, 3, false), (5, 4, false)));
    // It was claimed after that was deleted.
    assert!(passes((0, 0, false), (5, 0, false)));
    assert!(passes((5, 0, true), (5, 0, true)));
    assert!(!passes((5, 5, true), (4, 5, true)));
}

#[test]
fn what_is_left_out_was_deleted() {
    let events = [
        Event::Deleted {
            reader: 1,
            before: 4,
        },
        read(1, 4, id(1, 4)),
    ];
    let mut judge = invariant("acknowledged-is-read");
    judge.check(&look(Vec::new(), &events)).unwrap();
    let end = |first_offset| End {
        first_offset,
        ..End::default()
    };
    judge.check_at_end(&end(4)).unwrap();
    assert!(judge.check_at_end(&end(3)).is_err());
    let deleted = [events[0].clone(), read(1, 5, id(1, 5))];
    let mut judge = invariant("acknowledged-is-read");
    assert!(judge.check(&look(Vec::new(), &deleted)).is_err());
}

#[test]
fn a_log_that_begins_after_every_checkpoint() {
    let with = |checkpoint| Durable {
        purged: 7,
        checkpoints: [(checkpoint, 1)].into(),
        ..Durable::default()
    };
    let passes = |durable| {
        let nodes = nodes(vec![durable]);
        invariant("recovers").check(&look(nodes, &[])).is_ok()
    };
    assert!(passes(with(7)));
    assert!(!passes(with(6)));
}
