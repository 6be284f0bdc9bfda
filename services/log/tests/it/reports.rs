//! What a parent is told of the hubs below, and tells of them.

use futures::{StreamExt, stream};
use proto::report::MAX_REPORTS;
use proto::rpc::uplink_client::UplinkClient;
use proto::rpc::{HubReport, RefusalKind, ReportRequest, ReportResponse};
use proto::{Incarnation, Nanos};
use raft_log::refusal::from_status;

use crate::rig::Hub;

fn report(hub: &str) -> HubReport {
    HubReport {
        hub: hub.into(),
        incarnation: Incarnation(5).to_bytes(),
        time: Nanos::now().0,
        ..Default::default()
    }
}

fn request(hub: &str, hubs: Vec<HubReport>) -> ReportRequest {
    ReportRequest {
        group: 0,
        hub: hub.into(),
        time: Nanos::now().0,
        hubs,
    }
}

/// Sends all at once and collects the answers, up to the error that ends the stream.
async fn send(
    url: &str,
    requests: Vec<ReportRequest>,
) -> (Vec<ReportResponse>, Option<tonic::Status>) {
    let mut client = UplinkClient::connect(url.to_owned()).await.unwrap();
    let answers = client.report(stream::iter(requests)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut taken = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => taken.push(answer),
            Err(status) => return (taken, Some(status)),
        }
    }
    (taken, None)
}

fn names(hubs: &[HubReport]) -> Vec<&str> {
    hubs.iter().map(|hub| hub.hub.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topology_joins_what_each_node_was_told() {
    let mut hub = Hub::start("acme", 3).await;
    let leader = hub.leader().await;
    for (node, child) in [(1, "acme.a"), (2, "acme.b"), (3, "acme.b")] {
        let reports = vec![report(child), report(&format!("{child}.x"))];
        let (answers, end) = send(&hub.uplink(node), vec![request(child, reports)]).await;
        assert!(end.is_none(), "{end:?}");
        assert_eq!((answers[0].taken, &answers[0].refused), (2, &None));
    }
    let hubs = hub.client().topology().await.unwrap();
    let expected = ["acme", "acme.a", "acme.a.x", "acme.b", "acme.b.x"];
    assert_eq!(names(&hubs), expected);
    let own = &hubs[0];
    assert_eq!((own.leader_id, own.received), (Some(leader), 0));
    for (id, node) in (1..).zip(&own.nodes) {
        assert_eq!((node.node_id, node.reachable), (id, true));
        assert!(node.segments > 0 && node.disk_bytes > 0 && node.term > 0);
        let role = if id == leader { "leader" } else { "follower" };
        assert_eq!(node.role, role, "node {id}");
    }

    let gone = leader % 3 + 1;
    hub.stop_node(gone).await;
    let hubs = hub.client().topology().await.unwrap();
    let reachable = hubs[0]
        .nodes
        .iter()
        .map(|node| (node.node_id, node.reachable));
    let reachable: Vec<_> = reachable.collect();
    let expected: Vec<_> = (1..=3).map(|id| (id, id != gone)).collect();
    assert_eq!(reachable, expected);
    assert!(hubs[0].nodes.iter().all(|node| !node.address.is_empty()));
}

/// Raft goes on naming a leader that has gone, as long as no other one is elected.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_its_majority_has_no_leader() {
    for leader_stays in [true, false] {
        let mut hub = Hub::start("acme", 3).await;
        let leader = hub.leader().await;
        let leads = |id: &u64| (*id == leader) == leader_stays;
        let stays = (1..=3).find(leads).unwrap();
        for id in (1..=3).filter(|id| *id != stays) {
            hub.stop_node(id).await;
        }
        loop {
            let hubs = hub.client().topology().await.unwrap();
            let reachable = hubs[0].nodes.iter().filter(|node| node.reachable);
            let reachable: Vec<u64> = reachable.map(|node| node.node_id).collect();
            assert_eq!(reachable, [stays]);
            if hubs[0].leader_id.is_none() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_path_is_refused() {
    let hub = Hub::start("acme.site", 1).await;
    for stranger in ["acme", "acme.site", "other.edge", "", "acme.site..x"] {
        let (taken, end) = send(
            &hub.uplink(1),
            vec![
                request(stranger, vec![report(stranger)]),
                // Nothing is taken after the refusal.
                request("acme.site.a", vec![report("acme.site.a")]),
            ],
        )
        .await;
        let refusal = from_status(&end.unwrap()).unwrap();
        let expected = [RefusalKind::Scope, RefusalKind::Invalid];
        assert!(expected.contains(&refusal.kind()), "{stranger}");
        assert_eq!(taken, [], "{stranger}");
    }
    let mixed = vec![report("acme.site.a"), report("acme.site.b"), report("acme")];
    let (answers, end) = send(&hub.uplink(1), vec![request("acme.site.a", mixed)]).await;
    assert!(end.is_none());
    let refusal = answers[0].refused.as_ref().unwrap();
    assert_eq!((answers[0].taken, refusal.kind()), (1, RefusalKind::Scope));
    assert_eq!(
        refusal.message,
        "hub acme.site.a may not report of hub acme.site.b, which is not below it"
    );
    let hubs = hub.client().topology().await.unwrap();
    assert_eq!(names(&hubs), ["acme.site", "acme.site.a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_reports_stays_bounded() {
    let hub = Hub::start("acme", 1).await;
    let blocks = (0..20).map(|block| {
        let hubs =
            (0..MAX_REPORTS).map(|n| report(&format!("acme.x.h{}", block * MAX_REPORTS + n)));
        request("acme.x", hubs.collect())
    });
    let (answers, end) = send(&hub.uplink(1), blocks.collect()).await;
    assert!(end.is_none());
    assert_eq!(answers.len(), 20);
    let refusal = answers[19].refused.as_ref().unwrap();
    assert_eq!(refusal.kind(), RefusalKind::Full);
    let taken: u32 = answers.iter().map(|answer| answer.taken).sum();
    assert_eq!(taken, 1024);
    let hubs = hub.client().topology().await.unwrap();
    assert_eq!(hubs.len(), 1 + 1024);
}
