//! The one trait that all backends stand behind.

use std::fmt::Debug;
use std::ops::Range;

use futures::future::BoxFuture;
use proto::{Offset, Origin, Sequence};

use crate::{Kind, NewRow, Result, Row};

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
}
