//! The one connection that writes.

use proto::{Nanos, Offset, Origin};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};

use crate::dictionary::Dictionary;
use crate::row::{DeadLetter, Table};
use crate::{Body, Claim, Error, NewRow, Result, Row, Written};

#[derive(Debug)]
pub(super) struct Writer {
    connection: Connection,
    dictionary: Dictionary,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Writer {
        Writer {
            connection,
            dictionary: Dictionary::default(),
        }
    }

    pub(super) fn take_over(&mut self, stream: String) -> Result<Claim> {
        const SQL: &str = "INSERT INTO writer_offset (stream, part, epoch, next_offset)
            VALUES (?1, 0, 1, 0)
            ON CONFLICT (stream, part) DO UPDATE SET epoch = epoch + 1
            RETURNING epoch, next_offset";
        let (epoch, next_offset) = self
            .connection
            .query_row(SQL, [&stream], |row| Ok((row.get(0)?, offset(row, 1)?)))?;
        Ok(Claim {
            stream,
            epoch,
            next_offset,
        })
    }

    pub(super) fn refresh(&mut self, claim: Claim) -> Result<Claim> {
        match cursor(&self.connection, &claim)? {
            Some((epoch, next_offset)) if epoch == claim.epoch => Ok(Claim {
                next_offset,
                ..claim
            }),
            found => Err(Error::not_updated(&claim, found)),
        }
    }

    pub(super) fn write(
        &mut self,
        claim: Claim,
        rows: Vec<NewRow>,
        next: Offset,
    ) -> Result<Written> {
        let written = self.transact(claim, rows, next);
        if written.is_err() {
            // It may know ids that were rolled back.
            self.dictionary = Dictionary::default();
        }
        written
    }

    fn transact(&mut self, claim: Claim, rows: Vec<NewRow>, next: Offset) -> Result<Written> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        look_up(&transaction, &mut self.dictionary, &rows)?;
        let count = rows.len() as u64;
        let mut dead_letters = 0;
        for row in rows {
            dead_letters += u64::from(insert(&transaction, &self.dictionary, row)?);
        }
        #[cfg(feature = "sabotage")]
        let transaction = if crate::sabotage::cursor_outside_transaction() {
            transaction.commit()?;
            self.connection.transaction()?
        } else {
            transaction
        };
        move_cursor(&transaction, &claim, next)?;
        transaction.commit()?;
        Ok(Written {
            claim: Claim {
                next_offset: next,
                ..claim
            },
            rows: count,
            dead_letters,
        })
    }
}

fn offset(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Offset> {
    Ok(Offset(row.get::<_, i64>(column)?.cast_unsigned()))
}

fn cursor(connection: &Connection, claim: &Claim) -> rusqlite::Result<Option<(i64, Offset)>> {
    const SQL: &str = "SELECT epoch, next_offset FROM writer_offset WHERE stream = ?1 AND part = 0";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, offset(row, 1)?));
    connection.query_row(SQL, [&claim.stream], row).optional()
}

fn move_cursor(transaction: &Transaction<'_>, claim: &Claim, next: Offset) -> Result<()> {
    const SQL: &str = "UPDATE writer_offset SET next_offset = ?1
        WHERE stream = ?2 AND part = 0 AND epoch = ?3 AND next_offset = ?4";
    let (next, old) = (next.0.cast_signed(), claim.next_offset.0.cast_signed());
    let mut statement = transaction.prepare_cached(SQL)?;
    match statement.execute(params![next, claim.stream, claim.epoch, old])? {
        0 => Err(Error::not_updated(claim, cursor(transaction, claim)?)),
        _ => Ok(()),
    }
}

fn look_up(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    rows: &[NewRow],
) -> rusqlite::Result<()> {
    for origin in dictionary.unknown_origins(rows) {
        let src = src(transaction, &origin)?;
        dictionary.add_origin(origin, src);
    }
    let mut select = transaction.prepare_cached("SELECT tag_id FROM tag WHERE digest = ?1")?;
    for digest in dictionary.unknown_tags(rows) {
        if let Some(tag_id) = select.query_row([digest], |row| row.get(0)).optional()? {
            dictionary.add_tag(digest, tag_id);
        }
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO tag (digest, topic, key, kind) VALUES (?1, ?2, ?3, ?4) RETURNING tag_id",
    )?;
    for tag in dictionary.new_tags(rows) {
        let values = params![tag.digest, tag.topic, tag.key, tag.kind.name()];
        dictionary.add_tag(tag.digest, insert.query_row(values, |row| row.get(0))?);
    }
    Ok(())
}

fn src(transaction: &Transaction<'_>, origin: &Origin) -> rusqlite::Result<i32> {
    const SQL: &str = "INSERT INTO origin (hub, incarnation, lane) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET hub = hub RETURNING src";
    let incarnation = origin.incarnation.to_string();
    let values = [origin.hub.as_str(), &incarnation, origin.lane.name()];
    transaction.query_row(SQL, values, |row| row.get(0))
}

/// Whether it became a dead letter.
fn insert(
    transaction: &Transaction<'_>,
    dictionary: &Dictionary,
    new: NewRow,
) -> rusqlite::Result<bool> {
    let src = dictionary.src(&new.origin);
    let tag_id = dictionary.tag_id(&new.row);
    match insert_row(transaction, src, tag_id, &new.row) {
        Ok(()) => Ok(matches!(new.row.body, Body::Dead(_))),
        Err(error) if is_data_fault(&error) => {
            let code = error
                .sqlite_error()
                .map(|failure| failure.extended_code.to_string());
            let dead = new.into_dead(code.as_deref(), &error.to_string());
            insert_row(transaction, src, None, &dead.row)?;
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// The row is at fault, not the database: a constraint or trigger that somebody added, or a value
/// larger than SQLite takes.
fn is_data_fault(error: &rusqlite::Error) -> bool {
    use ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    let code = error.sqlite_error_code();
    matches!(code, Some(ConstraintViolation | TooBig | TypeMismatch))
}

fn insert_row(
    transaction: &Transaction<'_>,
    src: Option<i32>,
    tag_id: Option<i32>,
    row: &Row,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(insert_sql(row.body.table()))?;
    let (Nanos(time), seq) = (row.time, row.sequence.0.cast_signed());
    let quality = row.body.quality_column().map(|quality| quality.0);
    let sub = (row.sub != 0).then_some(row.sub);
    match &row.body {
        Body::Number { .. } | Body::Bool { .. } | Body::Null { .. } => {
            let number = row.body.number();
            let (value, exact, original) = (number.value, number.exact, number.original);
            insert.execute(params![
                time, tag_id, quality, value, exact, original, src, seq, sub
            ])?
        }
        Body::Text { value, .. } => {
            insert.execute(params![time, tag_id, quality, value, src, seq, sub])?
        }
        Body::Wave { block, .. } => insert.execute(params![
            time,
            tag_id,
            quality,
            block.first_sample.cast_signed(),
            block.rate.0,
            block.rate.1,
            block.scale,
            block.offset,
            block.unit,
            block.sample_type as u8,
            block.count() as i64,
            &block.samples[..],
            src,
            seq,
            sub
        ])?,
        Body::Message { payload, problem } => {
            insert.execute(params![time, tag_id, &payload[..], problem, src, seq, sub])?
        }
        Body::Dead(dead) => {
            let DeadLetter {
                offset,
                count,
                sqlstate,
                reason,
                payload,
            } = dead;
            let (offset, payload) = (offset.0.cast_signed(), &payload[..]);
            let (topic, key) = (&row.topic, &row.key);
            insert.execute(params![
                time, topic, key, offset, count, sqlstate, reason, payload, src, seq, sub
            ])?
        }
    };
    Ok(())
}

fn insert_sql(table: Table) -> &'static str {
    match table {
        Table::Value => {
            "INSERT INTO value (time, tag_id, quality, value, value_int, original, src, seq, sub)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        }
        Table::Text => {
            "INSERT INTO value_text (time, tag_id, quality, value, src, seq, sub)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        }
        Table::Wave => {
            "INSERT INTO wave (time, tag_id, quality, first_sample, rate_num, rate_den, scale,
                value_offset, unit, sample_type, count, samples, src, seq, sub)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        }
        Table::Message => {
            "INSERT INTO message (time, tag_id, payload, problem, src, seq, sub)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        }
        Table::DeadLetter => {
            "INSERT INTO dead_letter (time, topic, key, log_offset, count, sqlstate, reason,
                payload, src, seq, sub)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        }
    }
}
