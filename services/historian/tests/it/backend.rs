//! A fresh database of each kind.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use chaos_tests::postgres::Postgres as Server;
use historian::{Historian, Postgres, Sqlite};
use tempfile::TempDir;

/// One server for all tests of this process, a schema for each of them.
static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start().unwrap());
static NEXT_SCHEMA: AtomicU32 = AtomicU32::new(0);

pub(crate) enum Database {
    Sqlite(TempDir),
    Postgres(String),
}

impl Database {
    pub(crate) fn sqlite() -> Database {
        Database::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Database {
        let number = NEXT_SCHEMA.fetch_add(1, Ordering::Relaxed);
        Database::Postgres(format!("updraft_{number}"))
    }

    /// One more process that opens it.
    pub(crate) fn open(&self) -> Arc<dyn Historian> {
        match self {
            Database::Sqlite(dir) => Arc::new(Sqlite::open(dir.path().join("h.sqlite")).unwrap()),
            Database::Postgres(schema) => Arc::new(Postgres::new(&SERVER.url(), schema).unwrap()),
        }
    }

    /// Runs statements as somebody else; `{s}` stands before each table's name.
    pub(crate) fn execute(&self, sql: &str) -> String {
        match self {
            Database::Sqlite(dir) => {
                let connection = rusqlite::Connection::open(dir.path().join("h.sqlite")).unwrap();
                connection.execute_batch(&sql.replace("{s}", "")).unwrap();
                String::new()
            }
            Database::Postgres(schema) => SERVER
                .psql(&sql.replace("{s}", &format!("{schema}.")))
                .unwrap(),
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Database::Postgres(_))
    }
}
