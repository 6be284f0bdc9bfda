//! Who writes, and who must not.

use chaos_tests::postgres::Postgres as Server;
use historian::{Historian, Postgres, Sqlite};
use proto::Offset;

use crate::rig::{Hub, eventually, is_complete, record};

async fn append(hub: &Hub, numbers: std::ops::Range<u64>) {
    let producer = hub.producer();
    for number in numbers {
        producer
            .append(record(number), None)
            .await
            .unwrap()
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_one_writes_and_the_other_takes_over() {
    let hub = Hub::start().await;
    let server = Server::start().unwrap();
    let section = format!("postgres: {{ url: \"{}\" }}", server.url());
    let historian = Postgres::new(&server.url(), "updraft").unwrap();
    let epoch = || {
        server
            .psql("SELECT epoch FROM updraft.writer_offset")
            .unwrap()
    };

    let first = hub.writer(1, &section).await;
    append(&hub, 0..10).await;
    eventually("the first writes", async || {
        is_complete(&historian, 10).await
    })
    .await;
    let second = hub.writer(2, &section).await;
    append(&hub, 10..20).await;
    eventually("the first still writes", async || {
        is_complete(&historian, 20).await
    })
    .await;
    assert_eq!(epoch(), "1");

    first.stop().await;
    append(&hub, 20..30).await;
    eventually("the second writes", async || {
        is_complete(&historian, 30).await
    })
    .await;
    assert_eq!(epoch(), "2");
    let first = hub.writer(1, &section).await;
    append(&hub, 30..40).await;
    eventually("the second still writes", async || {
        is_complete(&historian, 40).await
    })
    .await;
    assert_eq!(epoch(), "2");
    first.stop().await;
    second.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_historian_that_is_ahead_of_the_log_is_refused() {
    let hub = Hub::start().await;
    append(&hub, 0..5).await;
    let path = hub.path("h.sqlite");
    let status = hub.client().status().await.unwrap();
    let incarnation = proto::Incarnation::from_bytes(&status.incarnation).unwrap();
    let stream = format!("acme.press/{incarnation}");
    let historian = Sqlite::open(&path).unwrap();
    let claim = historian.take_over(&stream).await.unwrap();
    let ahead = historian
        .write(&claim, Vec::new(), Offset(6))
        .await
        .unwrap()
        .claim;

    let writer = hub.writer(1, &format!("sqlite: {}", path.display())).await;
    let fenced = async || historian.refresh(&ahead).await.is_err();
    eventually("the writer has looked at it", fenced).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(historian.origins().await.unwrap().is_empty());
    writer.stop().await;
    hub.stop().await;
}
