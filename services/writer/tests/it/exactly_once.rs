//! Whatever is interrupted, each record becomes one row (I4).

use std::time::Duration;

use chaos_tests::postgres::Postgres as Server;
use futures::future::try_join_all;
use historian::{Body, Historian, Postgres, Sqlite};

use crate::rig::{Hub, eventually, is_complete, record};

const RECORDS: u64 = 20_000;
const CHUNK: u64 = 250;

/// Appends all records, in small appends, over some seconds.
async fn produce(hub: &Hub) {
    let producer = hub.producer();
    for chunk in 0..RECORDS / CHUNK {
        let records = chunk * CHUNK..(chunk + 1) * CHUNK;
        let mut pending = Vec::new();
        for number in records {
            pending.push(producer.append(record(number), None).await.unwrap());
        }
        try_join_all(pending).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn cursor(hub: &Hub, name: &str) -> u64 {
    let cursors = hub.client().cursors().await.unwrap();
    let cursor = cursors.iter().find(|cursor| cursor.name == name);
    cursor
        .filter(|cursor| cursor.pinning)
        .map_or(0, |cursor| cursor.next_offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_stopped_and_killed_goes_on_where_it_was() {
    let hub = Hub::start().await;
    let path = hub.path("h.sqlite");
    let section = format!("sqlite: {}", path.display());
    let torture = async {
        for round in 0..12_u64 {
            let writer = hub.writer(1, &section).await;
            tokio::time::sleep(Duration::from_millis(70 + round * 31 % 100)).await;
            if round % 2 == 0 {
                writer.kill().await
            } else {
                writer.stop().await
            }
        }
    };
    tokio::join!(produce(&hub), torture);
    let writer = hub.writer(1, &section).await;
    let historian = Sqlite::open(path).unwrap();
    eventually("all rows", async || is_complete(&historian, RECORDS).await).await;
    let all = async || cursor(&hub, "writer/sqlite-1").await == RECORDS;
    eventually("the log's cursor follows", all).await;
    writer.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_again_and_again() {
    let hub = Hub::start().await;
    let mut server = Server::start().unwrap();
    let url = server.url();
    let writer = hub
        .writer(1, &format!("postgres: {{ url: \"{url}\" }}"))
        .await;
    let torture = tokio::task::spawn_blocking(move || {
        for round in 0..6 {
            std::thread::sleep(Duration::from_millis(150 + round * 37 % 100));
            server.kill().unwrap();
            std::thread::sleep(Duration::from_millis(round * 50));
            server.restart().unwrap();
        }
        server
    });
    produce(&hub).await;
    let _server = torture.await.unwrap();
    let historian = Postgres::new(&url, "updraft").unwrap();
    eventually("all rows", async || is_complete(&historian, RECORDS).await).await;
    writer.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_a_value_is_a_message() {
    let hub = Hub::start().await;
    let producer = hub.producer();
    for number in 0..3 {
        producer
            .append(record(number), None)
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let odd = proto::Record::message("umh/v1/acme/_raw/t", "21.5 °C", proto::Nanos(1));
    producer.append(odd, None).await.unwrap().await.unwrap();
    let path = hub.path("h.sqlite");
    let writer = hub.writer(1, &format!("sqlite: {}", path.display())).await;
    let historian = Sqlite::open(path).unwrap();
    let found = async || {
        let last = historian.last("umh/v1/acme/_raw/t", "").await.unwrap();
        last.is_some_and(|row| {
            matches!(
                row.body,
                Body::Message {
                    problem: Some(_),
                    ..
                }
            )
        })
    };
    eventually("the message", found).await;
    let origin = historian.origins().await.unwrap().remove(0);
    assert_eq!(historian.records(&origin).await.unwrap(), 4);
    writer.stop().await;
    hub.stop().await;
}
