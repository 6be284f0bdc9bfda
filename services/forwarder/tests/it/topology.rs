//! A hub knows how all hubs below it are, and since when one of them is silent (I6).

use proto::Nanos;
use proto::rpc::HubReport;

use crate::rig::{Hub, until};

/// A hub that reports once a second was silent for several times as long.
const SILENT: i64 = 4_000_000_000;

async fn topology(hub: &Hub) -> Vec<HubReport> {
    hub.client().topology().await.unwrap_or_default()
}

/// The report that a hub has of another, and its age in nanoseconds.
async fn report_of(hub: &Hub, path: &str) -> Option<(HubReport, i64)> {
    let hubs = topology(hub).await;
    let report = hubs.into_iter().find(|report| report.hub == path)?;
    let age = Nanos::now().0 - report.received;
    Some((report, age))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_top_sees_all_layers_and_a_silent_one_grow_old() {
    let mut top = Hub::new("acme", None);
    let mut site = Hub::new("acme.site", Some(&top));
    let mut edge = Hub::new("acme.site.edge", Some(&site));
    for hub in [&mut top, &mut site, &mut edge] {
        hub.start().await;
    }
    until(async || topology(&top).await.len() == 3).await;
    let hubs = topology(&top).await;
    let names: Vec<&str> = hubs.iter().map(|hub| hub.hub.as_str()).collect();
    assert_eq!(names, ["acme", "acme.site", "acme.site.edge"]);
    for report in &hubs {
        assert_eq!(report.incarnation.len(), 16, "{}", report.hub);
        assert_eq!(report.leader_id, Some(1), "{}", report.hub);
        assert!(report.nodes[0].reachable, "{}", report.hub);
    }
    // Nobody is told of what stands above or beside.
    assert_eq!(topology(&edge).await.len(), 1);
    assert_eq!(topology(&site).await.len(), 2);
    // The cursors of the uplink travel along.
    until(async || {
        let edge = report_of(&top, "acme.site.edge").await;
        edge.is_some_and(|(report, _)| report.cursors.len() == 3)
    })
    .await;

    edge.stop().await;
    let (last, _) = report_of(&site, "acme.site.edge").await.unwrap();
    until(async || {
        let edge = report_of(&top, "acme.site.edge").await;
        edge.is_some_and(|(_, age)| age > SILENT)
    })
    .await;
    let (silent, _) = report_of(&top, "acme.site.edge").await.unwrap();
    assert_eq!(silent.time, last.time, "it says no more since");
    // The site goes on reporting.
    let (site_then, _) = report_of(&top, "acme.site").await.unwrap();
    until(async || {
        let site = report_of(&top, "acme.site").await;
        site.is_some_and(|(report, _)| report.time > site_then.time)
    })
    .await;

    edge.start().await;
    until(async || {
        let edge = report_of(&top, "acme.site.edge").await;
        edge.is_some_and(|(report, age)| report.time > last.time && age < SILENT)
    })
    .await;
    for hub in [&mut edge, &mut site, &mut top] {
        hub.stop().await;
    }
}
