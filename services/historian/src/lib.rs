//! The historian: what a hub keeps of its records in a database, in rows that people can query.
//!
//! A delivered envelope becomes rows ([`convert`]), and the rows and the cursor of their stream
//! are written in one transaction ([`Historian::write`]), so each row is there exactly once however
//! often a writer is interrupted (I4). Behind the one trait stand [`Sqlite`], the embedded default,
//! and [`Postgres`], plain or with TimescaleDB.
//!
//! # Rows
//! ```text
//! value        numbers and bools   value float8; value_int where a float is not exact;
//!                                  original where neither is (NaN, infinities, u64 above i64)
//! value_text   texts
//! wave         blocks of samples, byte for byte
//! message      payloads with no values of their own, and why they have none
//! dead_letter  what the database or the codec refused, with the original bytes
//! ```
//! Every row carries `src` (which origin, see table `origin`), `seq` and `sub` (which sample of the
//! record), so two historians can be compared row for row ([`Historian::rows`]). Two values of one
//! tag at one time are both kept.
//!
//! NaN and the infinities have the value NULL, which no average trips over; the quality stays what
//! the source said (I7) and `original` has the number.

pub mod convert;
mod number;
mod row;

mod brief;
mod trend;

mod error;
mod historian;

mod dictionary;

mod postgres;
mod sqlite;

mod open;
#[cfg(feature = "sabotage")]
mod sabotage;

pub use brief::{Brief, Last, MAX_TEXT, Reading, WaveHead};
pub use error::{Error, Retry};
pub use historian::{Claim, Historian, Page, Place, Tag, ValuesQuery, Written};
pub use number::Number;
pub use open::{OpenError, open};
pub use postgres::Postgres;
pub use row::{Body, DeadLetter, Kind, NewRow, Row};
pub use sqlite::Sqlite;
pub use trend::{Bucket, Grid, MAX_POINTS, Point, Series, State, Trend, TrendQuery};

pub type Result<T, E = Error> = std::result::Result<T, E>;
