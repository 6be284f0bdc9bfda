//! The link is cut, swallows what is on it, the server starts anew, or the log is away: every
//! number of a counter arrives once and in order, where the server had kept it.

use crate::machine::Machine;
use crate::rig::{COUNTER, Hub, assert_complete, eventually, opcua};
use crate::wire::Wire;

const FAST: [&str; 2] = ["--period", "0.02"];

#[tokio::test]
async fn a_link_that_is_cut_loses_nothing() {
    let hub = Hub::start().await;
    let mut machine = Machine::opcua(&FAST);
    let wire = Wire::to(machine.address).await;
    let collecting = hub.collect(&opcua(wire.address, "", COUNTER)).await;
    let mut reached = 0;
    for _ in 0..3 {
        hub.counted_to("counter", reached + 20).await;
        wire.cut();
        counts_on(&mut machine, 50).await;
        wire.mend();
        reached = counter(&mut machine);
    }
    assert_complete(&hub.counted_to("counter", reached + 20).await);
    collecting.stop().await;
}

#[tokio::test]
async fn answers_that_a_link_has_swallowed_come_again() {
    let hub = Hub::start().await;
    let mut machine = Machine::opcua(&FAST);
    let wire = Wire::to(machine.address).await;
    let collecting = hub.collect(&opcua(wire.address, "", COUNTER)).await;
    let before = hub.counted_to("counter", 20).await.len();
    // The server sends into it until it has no request left, and then queues.
    wire.swallow();
    counts_on(&mut machine, 100).await;
    assert!(
        !machine.command("unacknowledged").is_empty(),
        "nothing was swallowed"
    );
    wire.cut();
    counts_on(&mut machine, 10).await;
    wire.mend();
    let reached = counter(&mut machine);
    let counts = hub.counted_to("counter", reached + 20).await;
    assert!(counts.len() > before + 100);
    assert_complete(&counts);
    collecting.stop().await;
}

#[tokio::test]
async fn a_dead_link_is_noticed_and_loses_nothing() {
    let hub = Hub::start().await;
    let mut machine = Machine::opcua(&FAST);
    let wire = Wire::to(machine.address).await;
    let collecting = hub.collect(&opcua(wire.address, "", COUNTER)).await;
    hub.counted_to("counter", 20).await;
    // Neither side hears that the connection is dead; only another one helps.
    wire.swallow();
    let reached = counter(&mut machine);
    assert_complete(&hub.counted_to("counter", reached + 20).await);
    collecting.stop().await;
}

#[tokio::test]
async fn a_server_that_starts_anew_is_subscribed_anew() {
    let hub = Hub::start().await;
    let machine = Machine::opcua(&FAST);
    let port = machine.port();
    let collecting = hub.collect(&opcua(machine.address, "", COUNTER)).await;
    let first = hub.counted_to("counter", 30).await;
    drop(machine);
    // The same ids, and the counter begins again.
    let _machine = Machine::opcua_at(port, &FAST);
    eventually("the counter begins again", async || {
        let counts = hub.counts("counter").await;
        let again = counts.windows(2).position(|pair| pair[1] < pair[0]);
        again.is_some_and(|at| counts.len() > at + 20)
    })
    .await;
    let counts = hub.counts("counter").await;
    let again = counts
        .windows(2)
        .position(|pair| pair[1] < pair[0])
        .unwrap()
        + 1;
    assert!(again >= first.len());
    assert_complete(&counts[..again]);
    assert_complete(&counts[again..]);
    collecting.stop().await;
}

#[tokio::test]
async fn a_subscription_that_says_nothing_is_made_anew() {
    let hub = Hub::start().await;
    let mut machine = Machine::opcua(&FAST);
    let collecting = hub.collect(&opcua(machine.address, "", COUNTER)).await;
    hub.counted_to("counter", 20).await;
    assert_eq!(machine.command("forget"), "ok");
    let reached = counter(&mut machine);
    let counts = hub.counted_to("counter", reached + 20).await;
    assert!(counts.is_sorted(), "{counts:?}");
    collecting.stop().await;
}

/// I1: what is not on our disk is not acknowledged.
#[tokio::test]
async fn nothing_is_acknowledged_that_is_not_durable() {
    let mut hub = Hub::start().await;
    let mut machine = Machine::opcua(&FAST);
    let collecting = hub.collect(&opcua(machine.address, "", COUNTER)).await;
    hub.counted_to("counter", 20).await;
    hub.stop_log().await;
    let durable = counter(&mut machine);
    // Ten publish intervals and more.
    counts_on(&mut machine, 75).await;
    let kept = unacknowledged(&mut machine);
    assert!(
        kept.len() >= 10,
        "the server may forget what no disk has: {kept:?}"
    );
    assert!(
        kept.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{kept:?}"
    );
    counts_on(&mut machine, 50).await;
    let later = unacknowledged(&mut machine);
    assert!(later.starts_with(&kept), "{kept:?} {later:?}");

    hub.start_log().await;
    let reached = counter(&mut machine);
    let counts = hub.counted_to("counter", reached + 20).await;
    assert!(counts.last() > Some(&durable));
    assert_complete(&counts);
    eventually("what is durable is acknowledged", async || {
        unacknowledged(&mut machine).len() < 5
    })
    .await;
    collecting.stop().await;
}

fn counter(machine: &mut Machine) -> u64 {
    machine.command("counter").parse().unwrap()
}

fn unacknowledged(machine: &mut Machine) -> Vec<u32> {
    let numbers = machine.command("unacknowledged");
    numbers
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect()
}

/// Until the machine has counted `more`.
async fn counts_on(machine: &mut Machine, more: u64) {
    let goal = counter(machine) + more;
    eventually("the machine counts", async || counter(machine) >= goal).await;
}
