use std::sync::Arc;

use futures::FutureExt;
use proto::Nanos;
use proto::rpc::command::Operation;
use proto::rpc::{Command, InitHub};
use tokio::sync::Semaphore;

use super::super::{Pending, WINDOW};
use super::*;
use crate::refusal::refusal;
use crate::state::{Applied, State};

fn item(text: &str) -> (Item, Pending) {
    let (done, pending) = oneshot::channel();
    let item = Item {
        record: Record::message("a", text.to_owned(), Nanos(1)),
        publish: None,
        done,
        permit: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
    };
    (item, Pending(pending))
}

/// Puts one record into an append of its own.
fn push(window: &mut Window, text: &str) -> (rpc::Append, Pending) {
    let (item, pending) = item(text);
    (window.push(vec![item], Instant::now()).unwrap(), pending)
}

fn apply(state: &mut State, operation: Operation) -> Applied {
    let command = Command {
        leader_time: 1,
        operation: Some(operation),
    };
    state.apply(command).0
}

fn hub() -> State {
    let mut state = State::default();
    let init = InitHub {
        hub: "acme".into(),
        incarnation: vec![7; 16].into(),
    };
    apply(&mut state, Operation::InitHub(init));
    state
}

fn open(state: &mut State, window: &mut Window) {
    let Applied::Producer(stamp) = apply(state, Operation::OpenProducer(Default::default())) else {
        panic!("no producer");
    };
    window.set_producer(stamp.producer_id, stamp.epoch);
}

/// What the log answers to an append.
fn answer(state: &mut State, append: rpc::Append) -> AppendResponse {
    let sequence = append.producer.as_ref().unwrap().sequence;
    let outcome = match apply(state, Operation::Append(append)) {
        Applied::Appended(appended) => Answer::Appended(appended),
        Applied::Refused(refusal) => Answer::Refused(refusal),
        other => panic!("{other:?}"),
    };
    AppendResponse {
        producer_sequence: sequence,
        outcome: Some(outcome),
    }
}

/// A full window is committed and every answer is lost: each retry is recognised, the oldest too.
#[tokio::test]
async fn the_log_remembers_a_whole_window() {
    let (mut state, mut window) = (hub(), Window::new(Rules::default()));
    open(&mut state, &mut window);
    let mut pending = Vec::new();
    for number in 0..WINDOW {
        let (append, waits) = push(&mut window, &number.to_string());
        answer(&mut state, append);
        pending.push(waits);
    }
    let end = state.next_offset;
    for append in window.unanswered() {
        let answer = answer(&mut state, append);
        let Some(Answer::Appended(appended)) = &answer.outcome else {
            panic!("{answer:?}")
        };
        assert!(appended.repeat);
        assert!(matches!(window.answer(answer), Outcome::Done(_)));
    }
    assert_eq!(state.next_offset, end, "nothing was taken twice");
    for (offset, waits) in (0..).zip(pending) {
        assert_eq!(waits.await.unwrap(), Offset(offset));
    }
}

/// The log forgot the producer. What was sent twice may stand in the log; what was sent once was
/// refused and is appended under the new id.
#[tokio::test]
async fn what_may_have_been_taken_is_never_appended_again() {
    let (mut state, mut window) = (hub(), Window::new(Rules::default()));
    window.set_producer(vec![9; 16].into(), 0);
    let (_, sent_twice) = push(&mut window, "twice");
    assert_eq!(window.unanswered().len(), 1);
    let (_, sent_once) = push(&mut window, "once");
    let forgotten = AppendResponse {
        producer_sequence: 0,
        outcome: Some(Answer::Refused(refusal(RefusalKind::UnknownProducer, ""))),
    };
    assert!(matches!(window.answer(forgotten), Outcome::Refused(_)));
    assert!(!window.has_producer());
    let outcome = sent_twice.now_or_never();
    assert!(
        matches!(outcome, Some(Err(AppendError::Unknown))),
        "{outcome:?}"
    );

    open(&mut state, &mut window);
    let again = window.unanswered();
    assert_eq!(again.len(), 1);
    for append in again {
        let answer = answer(&mut state, append);
        assert!(matches!(window.answer(answer), Outcome::Done(_)));
    }
    assert_eq!(sent_once.await.unwrap(), Offset(0));
    assert_eq!(state.next_offset, 1);
}
