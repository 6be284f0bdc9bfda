//! PostgreSQL: plain with a partition per month, or TimescaleDB where the extension is there.
//!
//! Nothing here depends on a session of the server: no SET, no temporary table, no statement
//! that outlives its transaction. So a PgBouncer in transaction mode may stand in between.

mod config;
mod fault;
mod migrate;

mod look_up;
mod write;

mod encode;
mod month;
mod partition;
mod time;

mod readers;

mod brief;
mod read;
mod trend;
mod wave;

use std::ops::Range;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use proto::wave::WaveBlock;
use proto::{Nanos, Offset, Origin, Sequence};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};
use tracing::debug;

use crate::dictionary::Dictionary;
use crate::historian::SCREEN_LIMIT;
use crate::{
    Claim, Error, Historian, Last, NewRow, Page, Reading, Result, Row, Tag, Trend, TrendQuery,
    ValuesQuery, WaveHead, Written,
};

use self::config::Schema;
use self::fault::Fault;
use self::partition::Partitions;
use self::readers::Readers;
use self::write::Care;

/// A server that says nothing for so long is given up; COPY has no time limit of its own.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A query of the console or the audit may read a lot.
const QUERY_LIMIT: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub struct Postgres {
    config: tokio_postgres::Config,
    schema: Schema,
    writer: Mutex<Option<Session>>,
    readers: Readers,
}

/// A connection and what was learned through it; after an error both are thrown away.
struct Session {
    client: Client,
    dictionary: Dictionary,
    /// `None` under TimescaleDB, which makes its chunks itself.
    partitions: Option<Partitions>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Reads `url` (a URL or `key=value` pairs, as libpq has them) without connecting.
    pub fn new(url: &str, schema: &str) -> Result<Postgres> {
        Ok(Postgres {
            config: config::parse(url)?,
            schema: Schema::parse(schema)?,
            writer: Mutex::new(None),
            readers: Readers::default(),
        })
    }

    async fn session(&self, open: Option<Session>) -> Result<Session, Fault> {
        match open {
            Some(session) if !session.client.is_closed() => Ok(session),
            _ => within(ANSWER_LIMIT, self.open_session()).await,
        }
    }

    async fn open_session(&self) -> Result<Session, Fault> {
        let mut client = connect(&self.config).await?;
        let layout = migrate::migrate(&mut client, &self.schema).await?;
        let partitions = match layout {
            migrate::Layout::Partitioned => Some(Partitions::load(&client, &self.schema).await?),
            migrate::Layout::Hypertable => None,
        };
        Ok(Session {
            client,
            dictionary: Dictionary::default(),
            partitions,
        })
    }

    async fn claim(&self, stream: &str) -> Result<Claim, Fault> {
        let mut slot = self.writer.lock().await;
        let mut session = self.session(slot.take()).await?;
        let claim = write::take_over(&mut session.client, &self.schema, stream);
        let claim = within(ANSWER_LIMIT, claim).await?;
        *slot = Some(session);
        Ok(claim)
    }

    async fn read_cursor(&self, claim: &Claim) -> Result<Claim, Fault> {
        let mut slot = self.writer.lock().await;
        let session = self.session(slot.take()).await?;
        let found = write::cursor(&session.client, &self.schema, &claim.stream);
        let found = within(ANSWER_LIMIT, found).await?;
        *slot = Some(session);
        match found {
            Some((epoch, next_offset)) if epoch == claim.epoch => Ok(Claim {
                next_offset,
                ..claim.clone()
            }),
            found => Err(Error::not_updated(claim, found).into()),
        }
    }

    async fn store(
        &self,
        claim: &Claim,
        rows: Vec<NewRow>,
        next: Offset,
    ) -> Result<Written, Fault> {
        let rows = write::admit(rows);
        match self.attempt(claim, &rows, next, Care::Fast).await {
            Err(Fault::Data { sqlstate, reason }) => {
                debug!(sqlstate, reason, "a row was refused, looking for it");
                self.attempt(claim, &rows, next, Care::RowByRow).await
            }
            done => done,
        }
    }

    async fn attempt(
        &self,
        claim: &Claim,
        rows: &[NewRow],
        next: Offset,
        care: Care,
    ) -> Result<Written, Fault> {
        let mut slot = self.writer.lock().await;
        let mut session = self.session(slot.take()).await?;
        let written = write::write(&mut session, &self.schema, claim, rows, next, care);
        let written = within(ANSWER_LIMIT, written).await?;
        *slot = Some(session);
        Ok(written)
    }

    /// Runs a query on a connection for queries, so that the writer never waits for it.
    async fn query<T>(
        &self,
        query: impl AsyncFnOnce(&Client, &Schema) -> Result<T, Fault>,
    ) -> Result<T> {
        let schema = &self.schema;
        let query = async move |client: &Client| query(client, schema).await;
        self.readers.run(&self.config, QUERY_LIMIT, query).await
    }

    /// The same for what somebody looks at a screen for, of one moment. The server itself ends what
    /// takes too long.
    async fn show<T>(
        &self,
        query: impl AsyncFnOnce(&Client, &Schema) -> Result<T, Fault>,
    ) -> Result<T> {
        let schema = &self.schema;
        let query = async move |client: &Client| {
            let limit = SCREEN_LIMIT.as_millis();
            let begin = format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                 SET LOCAL statement_timeout = {limit}"
            );
            client.batch_execute(&begin).await?;
            let answer = query(client, schema).await.map_err(fault::of_screen)?;
            client.batch_execute("COMMIT").await?;
            Ok(answer)
        };
        self.readers
            .run(&self.config, 2 * SCREEN_LIMIT, query)
            .await
    }
}

async fn connect(config: &tokio_postgres::Config) -> Result<Client, Fault> {
    let (client, connection) = config.connect(NoTls).await?;
    // Its error reaches whoever uses the client next.
    tokio::spawn(connection.map(drop));
    Ok(client)
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let silence = format!("PostgreSQL did not answer within {} s", limit.as_secs());
        Err(Error::Unavailable(silence).into())
    })
}

impl Historian for Postgres {
    fn take_over<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Claim>> {
        async move { Ok(self.claim(stream).await?) }.boxed()
    }

    fn refresh<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Claim>> {
        async move { Ok(self.read_cursor(claim).await?) }.boxed()
    }

    fn write<'a>(
        &'a self,
        claim: &'a Claim,
        rows: Vec<NewRow>,
        next: Offset,
    ) -> BoxFuture<'a, Result<Written>> {
        async move { Ok(self.store(claim, rows, next).await?) }.boxed()
    }

    fn origins(&self) -> BoxFuture<'_, Result<Vec<Origin>>> {
        self.query(read::origins).boxed()
    }

    fn records<'a>(&'a self, origin: &'a Origin) -> BoxFuture<'a, Result<u64>> {
        self.query(async move |client: &Client, schema: &Schema| {
            read::records(client, schema, origin).await
        })
        .boxed()
    }

    fn rows<'a>(
        &'a self,
        origin: &'a Origin,
        range: Range<Sequence>,
    ) -> BoxFuture<'a, Result<Vec<Row>>> {
        self.query(async move |client: &Client, schema: &Schema| {
            read::rows(client, schema, origin, range).await
        })
        .boxed()
    }

    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>> {
        self.query(read::tags).boxed()
    }

    fn last<'a>(&'a self, topic: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Row>>> {
        self.query(async move |client: &Client, schema: &Schema| {
            read::last(client, schema, topic, key).await
        })
        .boxed()
    }

    fn cursor<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<Offset>>> {
        self.query(async move |client: &Client, schema: &Schema| {
            trend::cursor(client, schema, stream).await
        })
        .boxed()
    }

    fn trend<'a>(&'a self, query: &'a TrendQuery) -> BoxFuture<'a, Result<Trend>> {
        self.show(async move |client: &Client, schema: &Schema| {
            trend::trend(client, schema, query).await
        })
        .boxed()
    }

    fn values<'a>(&'a self, query: &'a ValuesQuery) -> BoxFuture<'a, Result<Page>> {
        self.show(async move |client: &Client, schema: &Schema| {
            read::values(client, schema, query).await
        })
        .boxed()
    }

    fn newest<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Reading>>> {
        self.show(async move |client: &Client, schema: &Schema| {
            brief::newest(client, schema, topic, key, limit).await
        })
        .boxed()
    }

    fn lasts(&self, after: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Last>>> {
        self.show(async move |client: &Client, schema: &Schema| {
            brief::lasts(client, schema, after, limit).await
        })
        .boxed()
    }

    fn waves<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        range: Range<Nanos>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WaveHead>>> {
        self.show(async move |client: &Client, schema: &Schema| {
            wave::heads(client, schema, topic, key, range, limit).await
        })
        .boxed()
    }

    fn wave_blocks<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        range: Range<Nanos>,
        max_samples: u64,
    ) -> BoxFuture<'a, Result<Vec<WaveBlock>>> {
        self.show(async move |client: &Client, schema: &Schema| {
            wave::blocks(client, schema, topic, key, range, max_samples).await
        })
        .boxed()
    }
}
