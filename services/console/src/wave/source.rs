//! Where blocks come from: the database, and the log itself for what is not written yet.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use historian::{Brief, WaveHead};
use proto::payload::{self, Content};
use proto::wave::WaveBlock;
use proto::{Batch, Nanos, Offset};
use raft_log::client::TailFrom;
use tokio::time::timeout;

use crate::app::App;
use crate::error::Problem;
use crate::tags::address::Address;
use crate::tags::{RecentValue, show};

/// Samples that are read for one answer.
pub(crate) const MAX_SAMPLES: u64 = 2_000_000;
/// Heads of blocks that are read for one answer.
pub(crate) const MAX_HEADS: u32 = 1000;
/// Blocks that are fetched from the log for one answer: each of them is a request.
const MAX_FROM_LOG: usize = 20;
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// Heads in the stretch, those that the log alone has with their offset.
pub(crate) struct Heads {
    pub(crate) heads: Vec<WaveHead>,
    recent: Vec<(Offset, Arc<WaveHead>)>,
}

/// When the newest block began and how long it is; `None` when there never was one.
pub(crate) fn newest(app: &App, tag: &Address) -> Result<Option<WaveHead>, Problem> {
    let index = app.tags.index();
    let id = index.find(&tag.topic, &tag.key).ok_or_else(|| {
        let tag = show::cut(&tag.topic, 200);
        Problem::BadRequest(format!(
            "there is no tag {tag:?}; search for it on the page Tags"
        ))
    })?;
    let found = index.look_up(&[id]).pop();
    match found
        .and_then(|(_, _, live)| live.newest)
        .map(|newest| newest.value)
    {
        Some(Brief::Wave(head)) => Ok(Some(head)),
        None => Ok(None),
        Some(_) => Err(Problem::BadRequest(format!(
            "{:?} holds no waveforms",
            tag.topic
        ))),
    }
}

pub(crate) async fn heads(
    app: &App,
    tag: &Address,
    range: &Range<Nanos>,
) -> Result<Heads, Problem> {
    let stored = match &app.historian {
        Some(historian) => {
            let heads = historian.waves(&tag.topic, &tag.key, range.clone(), MAX_HEADS);
            heads
                .await
                .map_err(|error| Problem::Unavailable(error.to_string()))?
        }
        None => Vec::new(),
    };
    let recent = recent(app, tag, range, &stored);
    let mut heads = stored;
    heads.extend(recent.iter().map(|(_, head)| (**head).clone()));
    heads.sort_by_key(|head| (head.start, head.first_sample));
    Ok(Heads { heads, recent })
}

/// Blocks that the database does not have yet.
fn recent(
    app: &App,
    tag: &Address,
    range: &Range<Nanos>,
    stored: &[WaveHead],
) -> Vec<(Offset, Arc<WaveHead>)> {
    let index = app.tags.index();
    let Some(id) = index.find(&tag.topic, &tag.key) else {
        return Vec::new();
    };
    let since = index.recent(id, Offset(0), MAX_HEADS as usize);
    let entries = since
        .entries
        .into_iter()
        .filter_map(|entry| match entry.value {
            RecentValue::Wave(head) => Some((entry.offset, head)),
            _ => None,
        });
    entries
        .filter(|(_, head)| head.end() > range.start && head.start < range.end)
        .filter(|(_, head)| !stored.iter().any(|known| known == &**head))
        .collect()
}

/// The blocks of the stretch, as many as are allowed, and whether some are missing.
pub(crate) async fn blocks(
    app: &App,
    tag: &Address,
    range: &Range<Nanos>,
    heads: &Heads,
) -> Result<(Vec<WaveBlock>, bool), Problem> {
    let mut blocks = match &app.historian {
        Some(historian) => {
            let read = historian.wave_blocks(&tag.topic, &tag.key, range.clone(), MAX_SAMPLES);
            read.await
                .map_err(|error| Problem::Unavailable(error.to_string()))?
        }
        None => Vec::new(),
    };
    let mut samples: u64 = blocks.iter().map(|block| block.count() as u64).sum();
    let newest = heads.recent.len().saturating_sub(MAX_FROM_LOG);
    for (offset, head) in &heads.recent[newest..] {
        samples += head.count;
        if samples > MAX_SAMPLES && !blocks.is_empty() {
            break;
        }
        // It may have been written in the meantime.
        if blocks.iter().any(|block| WaveHead::of(block) == **head) {
            continue;
        }
        if let Some(block) = from_log(app, tag, *offset).await? {
            blocks.push(block);
        }
    }
    blocks.sort_by_key(|block| (block.start, block.first_sample));
    let complete = blocks.len() >= heads.heads.len();
    Ok((blocks, !complete))
}

/// The block that stands at an offset of the log.
async fn from_log(app: &App, tag: &Address, offset: Offset) -> Result<Option<WaveBlock>, Problem> {
    let mut tail = pin!(app.log.tail(TailFrom {
        offset,
        stop_at_end: true,
        ..Default::default()
    }));
    let response = timeout(LOG_LIMIT, tail.next()).await.map_err(|_| {
        Problem::Unavailable("the log did not give the waveform in time".to_owned())
    })?;
    let Some(response) = response else {
        return Ok(None);
    };
    let deliveries = response?.deliveries.into_iter();
    let records = deliveries.filter_map(|delivery| {
        let records = Batch::decode(&delivery.envelope?.batch).ok()?;
        let at = usize::try_from(offset.0.checked_sub(delivery.offset)?).ok()?;
        records.into_iter().nth(at)
    });
    let mut of_tag = records.filter(|record| record.topic == tag.topic);
    Ok(of_tag
        .next()
        .and_then(|record| match payload::read(&record) {
            Content::Wave(block) => Some(block),
            _ => None,
        }))
}
