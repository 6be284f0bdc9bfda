//! What fills the index: one task that tails the log, one that loads what the database knows.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use proto::rpc::{Delivery, TailResponse};
use proto::{Incarnation, Nanos, Offset};
use raft_log::client::{ClientError, TailFrom};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::app::App;

use super::index::Incoming;
use super::{Loaded, Tags};

/// Records that are read again at the start, so that something is on the screen at once.
const BACK: u64 = 10_000;
/// Tags per query.
const PAGE: u32 = 2000;
const PAUSE: Duration = Duration::from_secs(1);
/// Before a database that did not answer is asked again.
const LOAD_PAUSE: Duration = Duration::from_secs(10);
/// The log says something more often; after this time it may have become another one.
const SILENCE: Duration = Duration::from_secs(20);
/// The database is asked where it stands, but not waited for.
const CURSOR_LIMIT: Duration = Duration::from_secs(5);

/// Follows the log for as long as the console runs.
pub(crate) async fn run(app: App) {
    tokio::join!(follow(&app), load(&app));
}

async fn follow(app: &App) {
    loop {
        match begin(app).await {
            Ok(from) => tail(app, from).await,
            Err(error) => debug!(%error, "the tags wait for the log"),
        }
        sleep(PAUSE).await;
    }
}

/// Where to go on: where it was before, unless the log is another one now.
async fn begin(app: &App) -> Result<Offset, ClientError> {
    let tags = &app.tags;
    let stream = stream(app).await?;
    if tags.stream().as_deref() == Some(&*stream) {
        return Ok(tags.index().next_offset());
    }
    let end = app.log.status().await?.next_offset;
    // What the database has need not be in memory.
    let written = match &app.historian {
        Some(historian) => timeout(CURSOR_LIMIT, historian.cursor(&stream)).await.ok(),
        None => None,
    };
    let written = written.and_then(Result::ok).flatten();
    let from = written
        .map_or(0, |offset| offset.0)
        .max(end.saturating_sub(BACK));
    let from = Offset(from.min(end));
    tags.index().begin(from);
    tags.set_stream(stream);
    info!(%from, "tags follow the log");
    Ok(from)
}

/// As a writer names the log.
async fn stream(app: &App) -> Result<String, ClientError> {
    let status = app.log.status().await?;
    if status.hub.is_empty() {
        let reason = "the hub is not formed yet".to_owned();
        return Err(ClientError::Unavailable { reason });
    }
    let incarnation = Incarnation::from_bytes(&status.incarnation).unwrap_or_default();
    Ok(format!("{}/{incarnation}", status.hub))
}

async fn tail(app: &App, offset: Offset) {
    let mut tail = pin!(app.log.tail(TailFrom {
        offset,
        ..Default::default()
    }));
    let mut next = offset;
    loop {
        match timeout(SILENCE, tail.next()).await {
            Ok(Some(Ok(response))) => {
                let until = Offset(response.next_offset);
                take(&app.tags, response, next).await;
                next = until;
            }
            Ok(_) => return,
            // The log may have been made anew: its offsets mean something else then.
            Err(_) => match stream(app).await {
                Ok(stream) if app.tags.stream().as_deref() != Some(&*stream) => return,
                _ => app.tags.heard(None),
            },
        }
    }
}

async fn take(tags: &Tags, response: TailResponse, next: Offset) {
    tags.heard(Some(
        response.end_offset.saturating_sub(response.next_offset),
    ));
    for delivery in response.deliveries {
        let until = Offset(end(&delivery));
        tags.index().update(incoming(&delivery, next), until);
        // A long answer is not taken in one go, so that requests are answered in between.
        tokio::task::yield_now().await;
    }
    tags.index()
        .update(Vec::new(), Offset(response.next_offset));
}

/// The rows of an envelope, without those that were taken before.
fn incoming(delivery: &Delivery, next: Offset) -> Vec<Incoming> {
    let taken = Nanos(delivery.leader_time);
    let rows = historian::convert::rows(delivery).unwrap_or_default();
    let new = rows.into_iter().filter(|row| row.offset >= next);
    new.map(|row| Incoming { row, taken }).collect()
}

fn end(delivery: &Delivery) -> u64 {
    let count = delivery
        .envelope
        .as_ref()
        .map_or(0, |envelope| envelope.count);
    delivery.offset + u64::from(count)
}

async fn load(app: &App) {
    while let Some(historian) = &app.historian {
        match pages(&app.tags, &**historian).await {
            Ok(()) => {
                app.tags.set_loaded(Loaded::Done);
                info!(tags = app.tags.index().names().len(), "tags were loaded");
                break;
            }
            Err(error) => {
                debug!(%error, "the tags wait for the historian");
                app.tags.set_loaded(Loaded::Failed(error.to_string()));
            }
        }
        sleep(LOAD_PAUSE).await;
    }
}

async fn pages(tags: &Tags, historian: &dyn historian::Historian) -> historian::Result<()> {
    let mut after = 0;
    loop {
        let page = historian.lasts(after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.tag.tag_id;
        tags.index().load(page);
    }
}
