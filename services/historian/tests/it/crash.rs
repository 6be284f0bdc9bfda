//! PostgreSQL dies in mid-transaction: whatever the writer saw, each row is there once.

use std::time::Duration;

use chaos_tests::postgres::Postgres as Server;
use historian::{Claim, Error, Historian, Postgres, Retry};
use proto::Offset;
use tokio::task::JoinHandle;

use crate::fixture::{STREAM, all, numbers, origin, rows, sequences};

const ROUNDS: u32 = 8;
const BATCH: u64 = 400;

/// Long enough for some transactions, different each time.
fn pause(round: u32) -> Duration {
    Duration::from_millis(60 + u64::from(round * 37 % 100))
}

/// As a writer does it: after an error only the cursor in the database says where to go on.
/// Returns the cursor and the number of errors.
async fn write_while_tortured(historian: &Postgres, torturer: JoinHandle<Server>) -> (Claim, u32) {
    let mut errors = 0;
    let mut claim = settled(async || historian.take_over(STREAM).await).await;
    while !torturer.is_finished() {
        let (first, next) = (claim.next_offset.0, claim.next_offset.0 + BATCH);
        match historian
            .write(&claim, rows(first, &numbers(BATCH)), Offset(next))
            .await
        {
            Ok(written) => claim = written.claim,
            Err(error) => {
                assert_eq!(error.retry(), Retry::WithBackoff, "{error}");
                errors += 1;
                claim = settled(async || historian.refresh(&claim).await).await;
            }
        }
    }
    let server = torturer.await.unwrap();
    let fresh = Postgres::new(&server.url(), "updraft").unwrap();
    assert_each_row_is_there_once(&fresh, &claim).await;
    (claim, errors)
}

async fn settled(ask: impl AsyncFn() -> Result<Claim, Error>) -> Claim {
    let start = std::time::Instant::now();
    loop {
        match ask().await {
            Ok(claim) => return claim,
            Err(error) => assert_eq!(error.retry(), Retry::WithBackoff, "{error}"),
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the server did not come back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn assert_each_row_is_there_once(historian: &Postgres, claim: &Claim) {
    let read = historian.rows(&origin(7), all()).await.unwrap();
    assert_eq!(
        sequences(&read),
        (0..claim.next_offset.0).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed_again_and_again() {
    let mut server = Server::start().unwrap();
    let historian = Postgres::new(&server.url(), "updraft").unwrap();
    let killer = tokio::task::spawn_blocking(move || {
        for round in 0..ROUNDS {
            std::thread::sleep(pause(round));
            server.kill().unwrap();
            server.restart().unwrap();
        }
        server
    });
    let (claim, errors) = write_while_tortured(&historian, killer).await;
    assert!(errors >= ROUNDS / 2, "the server was missed {errors} times");
    assert!(claim.next_offset.0 > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_cut_again_and_again() {
    let server = Server::start().unwrap();
    let historian = Postgres::new(&server.url(), "updraft").unwrap();
    let cutter = tokio::task::spawn_blocking(move || {
        for round in 0..ROUNDS {
            std::thread::sleep(pause(round));
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'updraft-historian'";
            server.psql(cut).unwrap();
        }
        server
    });
    let (claim, errors) = write_while_tortured(&historian, cutter).await;
    assert!(
        errors >= ROUNDS / 2,
        "the connection was missed {errors} times"
    );
    assert!(claim.next_offset.0 > 0);
}
