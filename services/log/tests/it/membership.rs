//! Nodes that join, leave and come back while a producer appends: every acknowledged append is read
//! once, in order, on every node (I1, I3, I4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::Offset;
use proto::rpc::change_request::Change;
use proto::rpc::{AddNode, ChangeProgress, ChangeStep, RemoveNode, ReplaceNode};
use raft_log::client::{ClientError, LogClient};
use tokio::task::JoinHandle;

use crate::rig::{Hub, payloads, record};

/// Appends numbers until it is told to end.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Load {
    fn start(hub: &Hub) -> Load {
        let producer = hub.producer();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let task = tokio::spawn(async move {
            let mut next = 0;
            while !told.load(Ordering::Relaxed) {
                let mut pending = Vec::new();
                for _ in 0..8 {
                    pending.push(producer.append(record("a/b", next), None).await.unwrap());
                    next += 1;
                }
                for (number, pending) in (next - 8..).zip(pending) {
                    assert_eq!(pending.await.unwrap(), Offset(number));
                }
            }
            next
        });
        Load { stop, task }
    }

    /// How many were acknowledged.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Every node has every acknowledged append once, in order.
async fn verify(hub: &Hub, acknowledged: u64) {
    hub.converged().await;
    let expected: Vec<(u64, String)> = (0..acknowledged).map(|n| (n, n.to_string())).collect();
    for id in hub.running() {
        let read = payloads(&hub.client_of_node(id), 0).await;
        assert!(
            read == expected,
            "node {id} has {} of {acknowledged}",
            read.len()
        );
    }
}

fn add(hub: &Hub, node_id: u64) -> Change {
    Change::Add(AddNode {
        node_id,
        address: hub.address(node_id),
        learner: false,
    })
}

fn remove(node_id: u64) -> Change {
    Change::Remove(RemoveNode {
        node_id,
        force: false,
    })
}

fn replace(node_id: u64) -> Change {
    Change::Replace(ReplaceNode {
        node_id,
        address: String::new(),
    })
}

async fn change(client: &LogClient, change: Change) -> Result<Vec<ChangeProgress>, ClientError> {
    let mut steps = Vec::new();
    client
        .change_members(change, |progress| steps.push(progress.clone()))
        .await?;
    Ok(steps)
}

async fn voters(client: &LogClient) -> Vec<u64> {
    let members = client.members().await.unwrap().members;
    let voters = members.into_iter().filter(|member| member.voter);
    voters.map(|member| member.node_id).collect()
}

fn refusal(error: ClientError) -> String {
    match error {
        ClientError::Refused(refusal) => refusal.message,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_grows_to_three_and_five_nodes_and_shrinks_again() {
    let mut hub = Hub::start("acme.site", 1).await;
    let load = Load::start(&hub);
    // The producer knows of node 1 alone.
    let client = hub.client();
    for id in 2..=5 {
        hub.start_new_node(id).await;
        let steps = change(&client, add(&hub, id)).await.unwrap();
        assert_eq!(steps.last().unwrap().step(), ChangeStep::Done);
        assert_eq!(voters(&client).await, (1..=id).collect::<Vec<_>>());
        hub.readiness(id).wait().await;
    }
    for id in [1, 4, 2, 5] {
        change(&client, remove(id)).await.unwrap();
        assert!(!voters(&client).await.contains(&id));
        hub.stop_node(id).await;
    }
    assert_eq!(voters(&client).await, [3]);
    let acknowledged = load.end().await;
    assert!(acknowledged > 0);
    verify(&hub, acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_data_comes_back_with_one_command() {
    let mut hub = Hub::start("acme.site", 3).await;
    let load = Load::start(&hub);
    for id in 1..=3 {
        hub.stop_node(id).await;
        std::fs::remove_dir_all(hub.data_dir(id)).unwrap();
        hub.start_node(id).await;
        let reason = hub.reason_of(id, "replace").await;
        assert!(
            reason.contains(&format!("updraft cluster replace {id}")),
            "{reason}"
        );

        let steps = change(&hub.client(), replace(id)).await.unwrap();
        let steps: Vec<ChangeStep> = steps.iter().map(ChangeProgress::step).collect();
        let place = |step| steps.iter().position(|taken| *taken == step).unwrap();
        assert!(
            place(ChangeStep::Removed) < place(ChangeStep::Promoting),
            "{steps:?}"
        );
        assert_eq!(voters(&hub.client()).await, [1, 2, 3]);
        hub.readiness(id).wait().await;
    }
    let acknowledged = load.end().await;
    verify(&hub, acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_moves_to_another_address() {
    let mut hub = Hub::start("acme.site", 3).await;
    let load = Load::start(&hub);
    for id in 1..=3 {
        hub.move_node(id).await;
        let reason = hub.reason_of(id, "another address").await;
        let command = format!("updraft cluster replace {id}={}", hub.address(id));
        assert!(reason.contains(&command), "{reason}");
        let moved = Change::Replace(ReplaceNode {
            node_id: id,
            address: hub.address(id),
        });
        change(&hub.client(), moved).await.unwrap();
        let members = hub.client().members().await.unwrap().members;
        let member = members.iter().find(|member| member.node_id == id).unwrap();
        assert!(
            member.voter && member.address == hub.address(id),
            "{members:?}"
        );
        hub.readiness(id).wait().await;
    }
    // None of the addresses that the producer was started with is left.
    let acknowledged = load.end().await;
    verify(&hub, acknowledged).await;
}

/// Who it was is out of the hub: its old data, found again, counts for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_data_of_a_replaced_node_is_not_taken_back() {
    let mut hub = Hub::start("acme.site", 3).await;
    let leader = hub.leader().await;
    let lost = leader % 3 + 1;
    let other = lost % 3 + 1;
    hub.stop_node(lost).await;
    let aside = hub.data_dir(lost).with_extension("old");
    std::fs::rename(hub.data_dir(lost), &aside).unwrap();
    hub.start_node(lost).await;
    change(&hub.client(), replace(lost)).await.unwrap();

    hub.stop_node(lost).await;
    std::fs::remove_dir_all(hub.data_dir(lost)).unwrap();
    std::fs::rename(&aside, hub.data_dir(lost)).unwrap();
    hub.start_node(lost).await;
    hub.reason_of(lost, "not the one that joined").await;
    // With it the other two would be three, without it the leader is alone.
    let members = hub.client_of_node(leader).members().await.unwrap();
    assert_eq!(
        members.members.iter().filter(|member| member.voter).count(),
        3
    );
    hub.stop_node(other).await;
    let producer = hub.client_of_node(leader).producer(Default::default());
    let pending = producer.append(record("a/b", "x"), None).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(2), pending).await;
    assert!(waited.is_err(), "acknowledged with data that was replaced");
    hub.start_node(other).await;
    let status = hub.leader().await;
    assert_ne!(status, lost);
}

/// A node that answers, and takes no entry, never gets a vote.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_catch_up_gets_no_vote() {
    let mut hub = Hub::start("acme.site", 1).await;
    let deaf = crate::rig::DeafNode::start(2, "acme.site").await;
    let client = hub.client();
    let added = Change::Add(AddNode {
        node_id: 2,
        address: deaf.address(),
        learner: false,
    });
    let (told, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let changing = {
        let client = client.clone();
        tokio::spawn(async move {
            let tell = |progress: &ChangeProgress| {
                let _ = told.send(progress.step());
            };
            client.change_members(added, tell).await
        })
    };
    let mut waits = 0;
    while waits < 3 {
        let step = steps.recv().await.unwrap();
        assert!(
            matches!(step, ChangeStep::Begun | ChangeStep::CatchingUp),
            "{step:?}"
        );
        waits += u32::from(step == ChangeStep::CatchingUp);
        assert_eq!(voters(&client).await, [1]);
    }
    // Whoever asked goes away: the hub works, and the learner can be taken out.
    changing.abort();
    let producer = hub.producer();
    let pending = producer.append(record("a/b", "x"), None).await.unwrap();
    pending.await.unwrap();
    until_free(&client, remove(2)).await;
    let members = client.members().await.unwrap().members;
    assert_eq!(members.len(), 1);
    hub.stop_node(1).await;
}

/// The node notices a moment later that nobody listens any more.
async fn until_free(client: &LogClient, wanted: Change) {
    loop {
        match change(client, wanted.clone()).await {
            Ok(_) => return,
            Err(error) => {
                let reason = refusal(error);
                assert!(reason.contains("under way"), "{reason}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_cost_the_hub_its_majority_is_refused() {
    let mut hub = Hub::start("acme.site", 3).await;
    let client = hub.client();
    let refused = async |wanted| refusal(change(&client, wanted).await.unwrap_err());
    assert!(refused(remove(7)).await.contains("its nodes are 1, 2, 3"));

    let leader = hub.leader().await;
    let (silent, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    hub.stop_node(silent).await;
    // Until the leader has noticed.
    loop {
        let members = client.members().await.unwrap().members;
        let node = members
            .iter()
            .find(|member| member.node_id == silent)
            .unwrap();
        if node.silent_ms.is_none_or(|ms| ms > 1000) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reason = refused(remove(other)).await;
    assert!(
        reason.contains(&format!("do not answer: {silent}")),
        "{reason}"
    );
    change(&client, remove(silent)).await.unwrap();
    assert_eq!(voters(&client).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_a_member_says_what_to_do() {
    let mut hub = Hub::start("acme.site", 1).await;
    hub.start_new_node(2).await;
    let reason = hub.reason_of(2, "not a member").await;
    let command = format!("updraft cluster add 2={}", hub.address(2));
    assert!(reason.contains(&command), "{reason}");
    change(&hub.client(), add(&hub, 2)).await.unwrap();
    hub.readiness(2).wait().await;
    change(&hub.client(), remove(2)).await.unwrap();
    hub.reason_of(2, "was removed").await;
}
