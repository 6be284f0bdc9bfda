//! The transaction that stores rows and moves the cursor.

use std::borrow::Cow;
use std::pin::pin;

use bytes::Bytes;
use futures::SinkExt;
use proto::{Nanos, Offset};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use crate::dictionary::Dictionary;
use crate::row::Table;
use crate::{Body, Claim, Error, NewRow, Row, Written};

use super::Session;
use super::config::Schema;
use super::encode::{self, Ready};
use super::fault::Fault;
use super::look_up::look_up;

/// Neither a reader that locks a table nor a writer that froze in its transaction stops us.
const LIMITS: &str = "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '50s'; \
     SET LOCAL idle_in_transaction_session_timeout = '60s'";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// One COPY per table; the first row that is refused ends it.
    Fast,
    /// Halves what is refused until the rows at fault stand alone; they become dead letters.
    RowByRow,
}

/// Rows that PostgreSQL is known to refuse become dead letters before it sees them.
pub(super) fn admit(rows: Vec<NewRow>) -> Vec<NewRow> {
    let admit = |new: NewRow| {
        if holds_nul(&new.row) {
            new.into_dead(Some("22021"), "text holds the character NUL")
        } else {
            new
        }
    };
    rows.into_iter().map(admit).collect()
}

fn holds_nul(row: &Row) -> bool {
    let text = match &row.body {
        Body::Text { value, .. } => value,
        Body::Wave { block, .. } => &block.unit,
        Body::Message {
            problem: Some(problem),
            ..
        } => problem,
        // Its texts are this program's own; the topic was made printable with the first of them.
        Body::Dead(_) => return false,
        _ => "",
    };
    [text, &row.topic, &row.key]
        .iter()
        .any(|text| text.contains('\0'))
}

pub(super) async fn take_over(
    client: &mut Client,
    schema: &Schema,
    stream: &str,
) -> Result<Claim, Fault> {
    let sql = format!(
        "INSERT INTO {schema}.writer_offset AS w (stream, part, epoch, next_offset)
         VALUES ($1, 0, 1, 0)
         ON CONFLICT (stream, part) DO UPDATE SET epoch = w.epoch + 1
         RETURNING epoch, next_offset"
    );
    let transaction = client.transaction().await?;
    transaction.batch_execute(LIMITS).await?;
    let row = transaction
        .query_typed_one(&sql, &[(&stream, Type::TEXT)])
        .await?;
    transaction.commit().await?;
    let next_offset = Offset(row.try_get::<_, i64>(1)?.cast_unsigned());
    Ok(Claim {
        stream: stream.to_owned(),
        epoch: row.try_get(0)?,
        next_offset,
    })
}

/// Epoch and next offset.
pub(super) async fn cursor(
    client: &Client,
    schema: &Schema,
    stream: &str,
) -> Result<Option<(i64, Offset)>, Fault> {
    let sql = format!(
        "SELECT epoch, next_offset FROM {schema}.writer_offset WHERE stream = $1 AND part = 0"
    );
    let Some(row) = client
        .query_typed_opt(&sql, &[(&stream, Type::TEXT)])
        .await?
    else {
        return Ok(None);
    };
    Ok(Some((
        row.try_get(0)?,
        Offset(row.try_get::<_, i64>(1)?.cast_unsigned()),
    )))
}

pub(super) async fn write(
    session: &mut Session,
    schema: &Schema,
    claim: &Claim,
    rows: &[NewRow],
    next: Offset,
    care: Care,
) -> Result<Written, Fault> {
    let Session {
        client,
        dictionary,
        partitions,
    } = session;
    let tx = client.transaction().await?;
    tx.batch_execute(LIMITS).await?;
    look_up(&tx, schema, dictionary, rows).await?;
    if let Some(partitions) = partitions {
        partitions.prepare(&tx, schema, rows, Nanos::now()).await?;
    }
    let mut dead = Vec::new();
    for table in Table::ALL {
        let ready = ready(rows, table, dictionary)?;
        if table == Table::DeadLetter {
            dead.extend(ready.iter().map(|ready| Cow::Borrowed(ready.new)));
        } else if care == Care::Fast {
            copy(&tx, schema, table, &ready).await?;
        } else {
            let refused = copy_what_fits(&tx, schema, table, &ready).await?;
            dead.extend(refused.into_iter().map(Cow::Owned));
        }
    }
    let dead = dead_letters(&dead, dictionary)?;
    copy(&tx, schema, Table::DeadLetter, &dead).await?;
    #[cfg(feature = "sabotage")]
    let tx = if crate::sabotage::cursor_outside_transaction() {
        tx.commit().await?;
        client.transaction().await?
    } else {
        tx
    };
    // Last, so that a writer that froze above holds no lock on it.
    move_cursor(&tx, schema, claim, next).await?;
    tx.commit().await?;
    let claim = Claim {
        next_offset: next,
        ..claim.clone()
    };
    Ok(Written {
        claim,
        rows: rows.len() as u64,
        dead_letters: dead.len() as u64,
    })
}

/// The rows of one table with their ids, by tag and time, as the index wants them.
fn ready<'a>(
    rows: &'a [NewRow],
    table: Table,
    dictionary: &Dictionary,
) -> Result<Vec<Ready<'a>>, Error> {
    let of_table = rows.iter().filter(|new| new.row.body.table() == table);
    let with_ids = of_table.map(|new| {
        let tag_id = match table {
            Table::DeadLetter => Some(0),
            _ => dictionary.tag_id(&new.row),
        };
        Some(Ready {
            new,
            src: dictionary.src(&new.origin)?,
            tag_id: tag_id?,
        })
    });
    let ready: Option<Vec<_>> = with_ids.collect();
    let mut ready = ready.ok_or_else(|| Error::Unavailable("an id was not found".into()))?;
    ready.sort_by_key(|ready| (ready.tag_id, ready.new.row.time));
    Ok(ready)
}

fn dead_letters<'a>(
    dead: &'a [Cow<'_, NewRow>],
    dictionary: &Dictionary,
) -> Result<Vec<Ready<'a>>, Error> {
    let mut ready = Vec::with_capacity(dead.len());
    for new in dead {
        ready.extend(self::ready(
            std::slice::from_ref(new.as_ref()),
            Table::DeadLetter,
            dictionary,
        )?);
    }
    Ok(ready)
}

/// Returns the rows that were refused, as dead letters.
async fn copy_what_fits(
    tx: &Transaction<'_>,
    schema: &Schema,
    table: Table,
    rows: &[Ready<'_>],
) -> Result<Vec<NewRow>, Fault> {
    let mut refused = Vec::new();
    let mut todo = vec![rows];
    while let Some(rows) = todo.pop() {
        tx.batch_execute("SAVEPOINT part").await?;
        match (copy(tx, schema, table, rows).await, rows) {
            (Ok(()), _) => tx.batch_execute("RELEASE SAVEPOINT part").await?,
            (Err(Fault::Data { sqlstate, reason }), rows) => {
                tx.batch_execute("ROLLBACK TO SAVEPOINT part").await?;
                match rows {
                    [one] => refused.push(one.new.clone().into_dead(Some(&sqlstate), &reason)),
                    rows => {
                        let (first, second) = rows.split_at(rows.len() / 2);
                        todo.extend([second, first]);
                    }
                }
            }
            (Err(other), _) => return Err(other),
        }
    }
    Ok(refused)
}

async fn copy(
    tx: &Transaction<'_>,
    schema: &Schema,
    table: Table,
    rows: &[Ready<'_>],
) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "COPY {schema}.{} ({}) FROM STDIN (FORMAT binary)",
        table.name(),
        encode::columns(table)
    );
    let mut sink = pin!(tx.copy_in::<_, Bytes>(&sql).await?);
    sink.send(encode::encode(rows)).await?;
    sink.finish().await?;
    Ok(())
}

async fn move_cursor(
    tx: &Transaction<'_>,
    schema: &Schema,
    claim: &Claim,
    next: Offset,
) -> Result<(), Fault> {
    let sql = format!(
        "UPDATE {schema}.writer_offset SET next_offset = $1
         WHERE stream = $2 AND part = 0 AND epoch = $3 AND next_offset = $4"
    );
    let (next, old) = (next.0.cast_signed(), claim.next_offset.0.cast_signed());
    let values: [(&(dyn ToSql + Sync), Type); 4] = [
        (&next, Type::INT8),
        (&claim.stream, Type::TEXT),
        (&claim.epoch, Type::INT8),
        (&old, Type::INT8),
    ];
    match tx.execute_typed(&sql, &values).await? {
        0 => {
            Err(Error::not_updated(claim, cursor(tx.client(), schema, &claim.stream).await?).into())
        }
        _ => Ok(()),
    }
}
