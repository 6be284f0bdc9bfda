//! Brings the schema of a file up to date; forward only.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::{Error, Result};

/// The file of version n stands at n - 1. A released file never changes.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_initial.sql")];

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT current_timestamp) STRICT";

pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(VERSION_TABLE, ())?;
    let applied: Option<usize> = transaction
        .query_row("SELECT max(version) FROM schema_version", (), |row| {
            row.get::<_, Option<i64>>(0)
        })
        .optional()?
        .flatten()
        .and_then(|version| usize::try_from(version).ok());
    let applied = applied.unwrap_or(0);
    if applied > MIGRATIONS.len() {
        let problem = format!("its schema is of version {applied}, newer than this program");
        return Err(Error::configuration(problem, "update the program"));
    }
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(applied) {
        transaction.execute_batch(migration)?;
        transaction.execute(
            "INSERT INTO schema_version (version) VALUES (?1)",
            [version],
        )?;
    }
    Ok(transaction.commit()?)
}
