//! Who leads next. With an election timeout of an hour nobody waits for it.

use proto::Offset;
use proto::rpc::raft_client::RaftClient;
use proto::rpc::{LogId, RaftVote, Target, VoteRequest};

use crate::rig::{Hub, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over() {
    let mut hub = Hub::start_with("acme.site", 3, "  election_timeout: 1h\n").await;
    let producer = hub.producer();
    let mut next = 0;
    for _ in 0..4 {
        let leader = hub.leader().await;
        let mut pending = Vec::new();
        for _ in 0..50 {
            pending.push(producer.append(record("a/b", next), None).await.unwrap());
            next += 1;
        }
        hub.stop_node(leader).await;
        for (number, pending) in (next - 50..).zip(pending) {
            assert_eq!(pending.await.unwrap(), Offset(number));
        }
        hub.start_node(leader).await;
        hub.readiness(leader).wait().await;
    }
}

/// The one who asks may see a leader as gone that the others still hear.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_heard_is_not_gone() {
    let hub = Hub::start("acme.site", 3).await;
    let leader = hub.leader().await;
    let client = hub.client();
    let before = hub.client_of_node(leader).status().await.unwrap();
    for member in client.members().await.unwrap().members {
        let request = VoteRequest {
            target: Some(Target {
                group: 0,
                node_id: member.node_id,
                identity: member.identity,
            }),
            vote: Some(RaftVote {
                term: before.term + 1,
                node_id: leader % 3 + 1,
                committed: false,
            }),
            last_log_id: Some(LogId {
                term: before.term,
                node_id: leader,
                index: before.last_index + 1000,
            }),
            leadership_transfer: false,
            leader_gone: true,
        };
        let address = format!("http://{}", member.address);
        let mut raft = RaftClient::connect(address).await.unwrap();
        let answer = raft.pre_vote(request).await.unwrap().into_inner();
        assert!(!answer.granted, "node {}", member.node_id);
    }
    let after = hub.client_of_node(leader).status().await.unwrap();
    assert_eq!((after.term, after.leader_id), (before.term, Some(leader)));
}
