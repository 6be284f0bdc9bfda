//! Orders to a running plant, as the console's lab page gives them.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::time::Duration;

use console::lab::{Action, Lab, LabState, NodeState, Order};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

const SITE: &str = "acme.cologne";
const LINE_1: &str = "acme.cologne.line-1";
const LIMIT: Duration = Duration::from_secs(120);
/// Machines measure ten times a second, from the end of a pause on.
const POLL: Duration = Duration::from_millis(500);

async fn give(lab: &Lab, action: Action) -> Result<String, String> {
    let (done, outcome) = oneshot::channel();
    lab.orders.send(Order { action, done }).await.unwrap();
    timeout(LIMIT, outcome).await.unwrap().unwrap()
}

fn kill(hub: &str, node: u64) -> Action {
    let hub = hub.to_owned();
    Action::Kill { hub, node }
}

fn start(hub: &str, node: u64) -> Action {
    let hub = hub.to_owned();
    Action::Start { hub, node }
}

fn cut(child: &str) -> Action {
    let child = child.to_owned();
    Action::Cut { child }
}

fn heal(child: &str) -> Action {
    let child = child.to_owned();
    Action::Heal { child }
}

/// Waits until the state, which follows an outcome at once, says so.
async fn shows(lab: &Lab, what: &str, wanted: impl FnMut(&LabState) -> bool) {
    let mut state = lab.state.clone();
    let shown = timeout(LIMIT, state.wait_for(wanted)).await;
    shown
        .unwrap_or_else(|_| panic!("{what}: {:?}", lab.state.borrow()))
        .unwrap();
}

fn node(state: &LabState, hub: &str, id: u64) -> NodeState {
    let mut nodes = state.nodes.iter();
    nodes
        .find(|node| node.hub == hub && node.node == id)
        .unwrap()
        .state
}

fn has_event(state: &LabState, text: &str) -> bool {
    state.events.iter().any(|event| event.text.contains(text))
}

#[track_caller]
fn refused(outcome: Result<String, String>, why: &str) {
    let told = outcome.unwrap_err();
    assert!(told.contains(why), "{told}");
}

/// How many acknowledgements an audit has found in order.
#[track_caller]
fn acknowledged(outcome: Result<String, String>) -> u64 {
    let told = outcome.unwrap();
    let rest = told
        .strip_prefix("OK: ")
        .unwrap_or_else(|| panic!("{told}"));
    rest.split_once(' ').unwrap().0.parse().unwrap()
}

async fn with_lab<F: Future<Output = ()>>(test: impl FnOnce(Lab) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let executable = Path::new(env!("CARGO_BIN_EXE_updraft"));
    let (lab, run) = updraft::demo::laboratory(executable, directory.path())
        .await
        .unwrap();
    tokio::select! {
        error = run => panic!("{error:#}"),
        () = test(lab) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_break_the_plant_and_mend_it_and_nothing_is_lost() {
    with_lab(|lab| async move {
        senseless_orders_are_refused(&lab).await;
        let first = audit_with_a_node_killed(&lab).await;
        cut_and_heal(&lab).await;
        machines_go_on(&lab, first).await;
        kill_what_starts(&lab).await;
    })
    .await;
}

async fn senseless_orders_are_refused(lab: &Lab) {
    for (action, why) in [
        (kill("acme.paris", 1), "there is no hub acme.paris"),
        (kill(SITE, 4), "hub acme.cologne has no node 4: it has 3"),
        (kill(SITE, 0), "hub acme.cologne has no node 0: it has 3"),
        (start(SITE, 1), "acme.cologne node 1 runs already"),
        (heal(LINE_1), "is not cut"),
        (cut("acme"), "acme is the hub at the top"),
        (cut("acme.paris"), "there is no hub acme.paris"),
    ] {
        refused(give(lab, action).await, why);
    }
}

async fn audit_with_a_node_killed(lab: &Lab) -> u64 {
    let told = give(lab, kill(SITE, 2)).await.unwrap();
    assert_eq!(told, "killed acme.cologne node 2");
    shows(lab, "a killed node", |state| {
        node(state, SITE, 2) == NodeState::Killed && has_event(state, &told)
    })
    .await;
    refused(give(lab, kill(SITE, 2)).await, "is killed already");

    let acknowledged = acknowledged(give(lab, Action::Audit).await);
    shows(lab, "the audit", |state| has_event(state, "OK: ")).await;

    let told = give(lab, start(SITE, 2)).await.unwrap();
    assert!(told.contains("acme.cologne node 2 serves"), "{told}");
    shows(lab, "a node that serves", |state| {
        node(state, SITE, 2) == NodeState::Running && has_event(state, &told)
    })
    .await;
    acknowledged
}

async fn cut_and_heal(lab: &Lab) {
    let is_cut = |state: &LabState| {
        let mut links = state.links.iter();
        links.find(|link| link.child == LINE_1).unwrap().cut
    };
    give(lab, cut(LINE_1)).await.unwrap();
    shows(lab, "a cut link", is_cut).await;
    refused(give(lab, cut(LINE_1)).await, "is cut already");
    refused(give(lab, Action::Audit).await, "is cut: heal it first");
    give(lab, heal(LINE_1)).await.unwrap();
    shows(lab, "a healed link", |state| !is_cut(state)).await;

    let audit = give(lab, Action::Audit);
    let meanwhile = async {
        shows(lab, "the machines pause", |state| {
            let of = |event: &&console::lab::LabEvent| event.text.starts_with("auditing");
            state.events.iter().filter(of).count() == 2
        })
        .await;
        refused(give(lab, kill(SITE, 1)).await, "an audit is running");
    };
    let (audit, ()) = tokio::join!(audit, meanwhile);
    acknowledged(audit);
}

/// An audit soon after the last one may find the machines still at their first message.
async fn machines_go_on(lab: &Lab, before: u64) {
    let going_on = async {
        while acknowledged(give(lab, Action::Audit).await) <= before {
            sleep(POLL).await;
        }
    };
    timeout(LIMIT, going_on)
        .await
        .expect("the machines go on after an audit");
}

async fn kill_what_starts(lab: &Lab) {
    give(lab, kill("acme", 1)).await.unwrap();
    let starting = give(lab, start("acme", 1));
    let killing = async {
        shows(lab, "a node that starts", |state| {
            node(state, "acme", 1) == NodeState::Starting
        })
        .await;
        give(lab, kill("acme", 1)).await.unwrap();
    };
    let (started, ()) = tokio::join!(starting, killing);
    refused(started, "it was killed while it started");
    refused(
        give(lab, Action::Audit).await,
        "acme has no majority of its nodes",
    );
    give(lab, start("acme", 1)).await.unwrap();
}
