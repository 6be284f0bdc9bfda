//! The one trait that all backends stand behind.

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use futures::future::BoxFuture;
use proto::wave::WaveBlock;
use proto::{Nanos, Offset, Origin, Sequence};

use crate::{Kind, Last, NewRow, Reading, Result, Row, Trend, TrendQuery, WaveHead};

/// What somebody looks at a screen for is given up after this time.
pub(crate) const SCREEN_LIMIT: Duration = Duration::from_secs(30);

/// Rows of one page of [`Historian::values`].
pub(crate) const MAX_PAGE: u32 = 10_000;

/// A writer's hold on a stream: the hub path and incarnation of the log that it writes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub stream: String,
    /// One more with each take-over; an older one writes nothing any more.
    pub epoch: i64,
    /// Everything below is in the database.
    pub next_offset: Offset,
}

/// What a transaction stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The claim for the next one.
    pub claim: Claim,
    pub rows: u64,
    /// How many of them are dead letters.
    pub dead_letters: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub tag_id: i64,
    pub topic: String,
    pub key: String,
    pub kind: Kind,
}

/// A database of rows. After any error nothing in memory is trusted: a writer goes on from
/// [`Historian::refresh`].
pub trait Historian: Send + Sync + Debug {
    /// Fences whoever wrote the stream before; a new stream begins at offset 0.
    fn take_over<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Claim>>;

    /// Reads the cursor again, after an error; [`crate::Error::Fenced`] when the claim was lost.
    fn refresh<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Claim>>;

    /// Stores the rows and moves the cursor from `claim.next_offset` to `next`, in one
    /// transaction. A row that the database refuses becomes a dead letter beside its neighbours.
    fn write<'a>(
        &'a self,
        claim: &'a Claim,
        rows: Vec<NewRow>,
        next: Offset,
    ) -> BoxFuture<'a, Result<Written>>;

    fn origins(&self) -> BoxFuture<'_, Result<Vec<Origin>>>;

    /// How many records of an origin are stored, in whatever table.
    fn records<'a>(&'a self, origin: &'a Origin) -> BoxFuture<'a, Result<u64>>;

    /// The rows of a range of an origin, by sequence and sample. All of them are held in memory:
    /// ask for some ten thousand at a time.
    fn rows<'a>(
        &'a self,
        origin: &'a Origin,
        range: Range<Sequence>,
    ) -> BoxFuture<'a, Result<Vec<Row>>>;

    /// All tags, by topic and key.
    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>>;

    /// The row with the latest time of a topic's tag, of whatever kind; of several at one time the
    /// one of the highest sequence.
    fn last<'a>(&'a self, topic: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Row>>>;

    /// Below which offset everything of the stream is stored; `None` when nobody ever wrote it.
    fn cursor<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<Offset>>>;

    /// Numbers, bools and the changes of texts over a stretch of time, and the stream's cursor in
    /// the very same snapshot.
    fn trend<'a>(&'a self, query: &'a TrendQuery) -> BoxFuture<'a, Result<Trend>>;

    /// Numbers, bools and texts one by one, by time, a page at a time.
    fn values<'a>(&'a self, query: &'a ValuesQuery) -> BoxFuture<'a, Result<Page>>;

    /// The latest readings of a topic's tag, of whatever kind, the newest first.
    fn newest<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Reading>>>;

    /// The newest reading of each tag, by `tag_id`, those above `after`.
    fn lasts(&self, after: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Last>>>;

    /// Heads of the blocks that have samples in the stretch, by time, the first `limit` of them.
    fn waves<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        range: Range<Nanos>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WaveHead>>>;

    /// The blocks themselves, until the next one would make it more than `max_samples`.
    fn wave_blocks<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        range: Range<Nanos>,
        max_samples: u64,
    ) -> BoxFuture<'a, Result<Vec<WaveBlock>>>;
}

/// Which values to read, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuesQuery {
    pub topic: String,
    pub key: String,
    pub range: Range<Nanos>,
    /// [`Page::next`] of the page before.
    pub after: Option<Place>,
    pub limit: u32,
}

/// A row's place among the rows of its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(crate) time: Nanos,
    pub(crate) sequence: Sequence,
    pub(crate) src: i32,
    pub(crate) sub: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// `None` when there are no more.
    pub next: Option<Place>,
}

impl Page {
    /// The first `limit` of what the tag ids of one tag gave, each of which gave as many at most.
    pub(crate) fn of(mut found: Vec<(Place, Row)>, limit: usize) -> Page {
        found.sort_by_key(|(place, _)| *place);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().map(|(place, _)| *place).filter(|_| more);
        let rows = found.into_iter().map(|(_, row)| row).collect();
        Page { rows, next }
    }
}

/// The first heads whose samples are not more than `max_samples` together, but always one.
pub(crate) fn fitting<T>(heads: Vec<(T, WaveHead)>, max_samples: u64) -> Vec<(T, WaveHead)> {
    let mut samples = 0_u64;
    let fits = |(index, (_, head)): &(usize, (T, WaveHead))| {
        samples = samples.saturating_add(head.count);
        *index == 0 || samples <= max_samples
    };
    let heads = heads.into_iter().enumerate().take_while(fits);
    heads.map(|(_, head)| head).collect()
}
