//! SQLite, the embedded default: one file, WAL, an fsync per transaction.
//!
//! SQLite blocks, so everything runs on Tokio's blocking threads: one connection writes, a few others
//! read, and neither waits for the other (WAL).

mod migrate;
mod brief;
mod read;
mod readers;
mod trend;
mod wave;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use proto::wave::WaveBlock;
use proto::{Nanos, Offset, Origin, Sequence};
use rusqlite::{Connection, ErrorCode};

use crate::historian::SCREEN_LIMIT;
use crate::{
    Claim, Error, Historian, Last, NewRow, Page, Reading, Result, Row, Tag, Trend, TrendQuery,
    ValuesQuery, WaveHead, Written,
};

use self::readers::Readers;
use self::write::Writer;

/// How long to wait for another process that has the file locked, such as a backup.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// A query of the audit may read a lot.
const QUERY_LIMIT: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Sqlite {
    path: PathBuf,
    writer: Arc<Mutex<Writer>>,
    readers: Arc<Readers>,
}

impl Sqlite {
    /// Opens the file, creates it when missing and brings its schema up to date. Blocks.
    pub fn open(path: impl Into<PathBuf>) -> Result<Sqlite> {
        let path = path.into();
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| cannot_open(&path, error))?;
        }
        let mut writer = connect(&path)?;
        migrate::migrate(&mut writer)?;
        let reader = readers::open(&path)?;
        Ok(Sqlite {
            writer: Arc::new(Mutex::new(Writer::new(writer))),
            readers: Arc::new(Readers::new(path.clone(), reader)),
            path,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let readers = Arc::clone(&self.readers);
        readers.run(QUERY_LIMIT, query).boxed()
    }

    /// The same for what somebody looks at a screen for, of one moment.
    fn show<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let of_one_moment = move |connection: &Connection| {
            let snapshot = connection.unchecked_transaction()?;
            let answer = query(&snapshot)?;
            snapshot.commit()?;
            Ok(answer)
        };
        let readers = Arc::clone(&self.readers);
        readers.run(SCREEN_LIMIT, of_one_moment).boxed()
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).map_err(|error| cannot_open(path, error))?;
    connection.busy_timeout(BUSY_LIMIT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

fn cannot_open(path: &Path, error: impl std::fmt::Display) -> Error {
    let problem = format!("{} can't be opened: {error}", path.display());
    Error::configuration(problem, "check `historian.sqlite` and the folder's rights")
}

fn blocking<S: Send + 'static, T: Send + 'static>(
    state: &Arc<Mutex<S>>,
    work: impl FnOnce(&mut S) -> Result<T> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    let state = Arc::clone(state);
    let task = move || work(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
    async move {
        let ended = tokio::task::spawn_blocking(task).await;
        ended.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
    }
    .boxed()
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        use ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, PermissionDenied, ReadOnly};
        let advice = match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => {
                "the file is damaged or no SQLite database; move it away or put a backup back"
            }
            Some(CannotOpen | PermissionDenied | ReadOnly) => {
                "let this process read and write the file and its folder"
            }
            _ if is_schema_fault(&error) => {
                "somebody changed the schema; put the tables back as `schema_version` says"
            }
            _ => return Error::Unavailable(error.to_string()),
        };
        Error::configuration(error, advice)
    }
}

/// A missing table or column, or a column of another type.
fn is_schema_fault(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            failure.extended_code == rusqlite::ffi::SQLITE_ERROR
        }
        rusqlite::Error::SqlInputError { .. } | rusqlite::Error::InvalidColumnType(..) => true,
        _ => false,
    }
}

impl Historian for Sqlite {
    fn take_over<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Claim>> {
        let stream = stream.to_owned();
        blocking(&self.writer, move |writer| writer.take_over(stream))
    }

    fn refresh<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Claim>> {
        let claim = claim.clone();
        blocking(&self.writer, move |writer| writer.refresh(claim))
    }

    fn write<'a>(
        &'a self,
        claim: &'a Claim,
        rows: Vec<NewRow>,
        next: Offset,
    ) -> BoxFuture<'a, Result<Written>> {
        let claim = claim.clone();
        blocking(&self.writer, move |writer| writer.write(claim, rows, next))
    }

    fn origins(&self) -> BoxFuture<'_, Result<Vec<Origin>>> {
        self.read(read::origins)
    }

    fn records<'a>(&'a self, origin: &'a Origin) -> BoxFuture<'a, Result<u64>> {
        let origin = origin.clone();
        self.read(move |connection| read::records(connection, &origin))
    }

    fn rows<'a>(
        &'a self,
        origin: &'a Origin,
        range: Range<Sequence>,
    ) -> BoxFuture<'a, Result<Vec<Row>>> {
        let origin = origin.clone();
        self.read(move |connection| read::rows(connection, &origin, range))
    }

    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>> {
        self.read(read::tags)
    }

    fn last<'a>(&'a self, topic: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Row>>> {
        let (topic, key) = (topic.to_owned(), key.to_owned());
        self.read(move |connection| read::last(connection, &topic, &key))
    }

    fn cursor<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<Offset>>> {
        let stream = stream.to_owned();
        self.read(move |connection| read::cursor(connection, &stream))
    }

    fn trend<'a>(&'a self, query: &'a TrendQuery) -> BoxFuture<'a, Result<Trend>> {
        let query = query.clone();
        self.show(move |connection| trend::trend(connection, &query))
    }

    fn values<'a>(&'a self, query: &'a ValuesQuery) -> BoxFuture<'a, Result<Page>> {
        let query = query.clone();
        self.show(move |connection| read::values(connection, &query))
    }

    fn newest<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Reading>>> {
        let (topic, key) = (topic.to_owned(), key.to_owned());
        self.show(move |connection| brief::newest(connection, &topic, &key, limit))
    }

    fn lasts(&self, after: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Last>>> {
        self.show(move |connection| brief::lasts(connection, after, limit))
    }

    fn waves<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        range: Range<Nanos>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WaveHead>>> {
        let (topic, key) = (topic.to_owned(), key.to_owned());
        self.show(move |connection| wave::heads(connection, &topic, &key, range, limit))
    }

    fn wave_blocks<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        range: Range<Nanos>,
        max_samples: u64,
    ) -> BoxFuture<'a, Result<Vec<WaveBlock>>> {
        let (topic, key) = (topic.to_owned(), key.to_owned());
        self.show(move |connection| wave::blocks(connection, &topic, &key, range, max_samples))
    }
}
