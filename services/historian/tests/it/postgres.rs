//! What only PostgreSQL can go through.

use chaos_tests::postgres::Postgres as Server;
use historian::{Error, Historian, Postgres};
use proto::{Record, Value};

use crate::backend::Database;
use crate::fixture::{STREAM, all, at, now, numbers, origin, plain, rows, typed};

const MONTH: i64 = 31 * 86_400_000_000_000;

fn problem<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(error @ Error::Configuration { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn months_get_partitions_and_wrong_clocks_none() {
    let database = Database::postgres();
    let historian = database.open();
    let times = [now(), now() + MONTH, 0, i64::MAX, now() + 1];
    let record = |time: &i64| typed("t", *time, Value::F64(1.0));
    let written = rows(0, &times.iter().map(record).collect::<Vec<_>>());
    let claim = historian.take_over(STREAM).await.unwrap();
    let claim = historian
        .write(&claim, written.clone(), at(5))
        .await
        .unwrap()
        .claim;
    let partitions =
        "SELECT tableoid::regclass::text, count(*) FROM {s}value GROUP BY 1 ORDER BY 1";
    let found = database.execute(partitions).replace(['"'], "");
    let found: Vec<_> = found
        .lines()
        .map(|line| line.split_once('.').unwrap().1)
        .collect();
    assert_eq!(
        found,
        ["value_2024_03|2", "value_2024_04|1", "value_default|2"]
    );

    // Far more months than one transaction may create; later ones find their month taken.
    let old = |n: i64| typed("t", now() - n * MONTH, Value::F64(1.0));
    let many = rows(5, &(1..200).map(old).collect::<Vec<_>>());
    let claim = historian
        .write(&claim, many.clone(), at(204))
        .await
        .unwrap()
        .claim;
    let again = rows(204, &(1..200).map(old).collect::<Vec<_>>());
    let again_on = database.open();
    let claim = again_on.take_over(&claim.stream).await.unwrap();
    again_on
        .write(&claim, again.clone(), at(403))
        .await
        .unwrap();
    let expected: Vec<_> = [written, many, again]
        .iter()
        .flat_map(|rows| plain(rows))
        .collect();
    assert_eq!(historian.rows(&origin(7), all()).await.unwrap(), expected);
}

#[tokio::test]
async fn faults_of_configuration_say_what_to_do() {
    let server = Server::start().unwrap();
    let open = |url: &str| Postgres::new(url, "updraft").unwrap();
    let missing = open(&server.url_of("nowhere"));
    let found = problem(missing.take_over(STREAM).await);
    assert!(found.contains("create the database"), "{found}");

    server.psql("CREATE ROLE poor LOGIN").unwrap();
    let poor = open(&server.url().replace("user=postgres", "user=poor"));
    let found = problem(poor.take_over(STREAM).await);
    assert!(found.contains("grant the user CREATE"), "{found}");

    let stranger = open(&server.url().replace("user=postgres", "user=stranger"));
    let found = problem(stranger.take_over(STREAM).await);
    assert!(found.contains("check user and password"), "{found}");

    server
        .psql("CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0")
        .unwrap();
    let found = problem(open(&server.url_of("old")).take_over(STREAM).await);
    assert!(found.contains("encoding is LATIN1"), "{found}");

    let found = problem(open(&server.url()).tags().await);
    assert!(found.contains("start the writer once"), "{found}");
}

#[tokio::test]
async fn the_schema_may_have_been_made_by_somebody_with_more_rights() {
    let server = Server::start().unwrap();
    server.psql("CREATE ROLE poor LOGIN").unwrap();
    server
        .psql("CREATE SCHEMA plant AUTHORIZATION poor")
        .unwrap();
    let url = server.url().replace("user=postgres", "user=poor");
    let historian = Postgres::new(&url, "plant").unwrap();
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, rows(0, &numbers(3)), at(3))
        .await
        .unwrap();
}

#[tokio::test]
async fn two_writers_start_on_an_empty_database_at_once() {
    let database = Database::postgres();
    let (a, b) = (database.open(), database.open());
    let (a, b) = tokio::join!(a.take_over("a"), b.take_over("b"));
    assert_eq!((a.unwrap().epoch, b.unwrap().epoch), (1, 1));
}

#[tokio::test]
async fn topics_longer_than_an_index_takes() {
    let database = Database::postgres();
    let historian = database.open();
    let topic: String = (0..60_000_u32)
        .map(|n| char::from(b'a' + (n * n % 26) as u8))
        .collect();
    let written = rows(0, &[Record::message(topic, "x", proto::Nanos(now()))]);
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, written.clone(), at(1))
        .await
        .unwrap();
    assert_eq!(
        historian.rows(&origin(7), all()).await.unwrap(),
        plain(&written)
    );
}
