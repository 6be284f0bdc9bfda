//! Brings the schema of a database up to date; forward only, by one process at a time.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};
use tracing::info;

use crate::Error;

use super::config::Schema;
use super::fault::Fault;

/// The file of version n stands at n - 1. A released file never changes.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/postgres/0001_initial.sql")];

/// What follows the first of them, by what the database can do.
const PARTITIONED: &str = include_str!("../../migrations/postgres/partitioned.sql");
const HYPERTABLE: &str = include_str!("../../migrations/postgres/hypertable.sql");
const COMPRESSED: &str = include_str!("../../migrations/postgres/compressed.sql");

/// How the tables are cut by time; decided when they are made and kept from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Partitioned,
    Hypertable,
}

/// What the database offers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tier {
    Plain,
    Timescale {
        extension_schema: String,
        community: bool,
    },
}

pub(super) async fn migrate(client: &mut Client, schema: &Schema) -> Result<Layout, Fault> {
    match applied(client, schema).await? {
        Some((version, layout)) if version == MIGRATIONS.len() => Ok(layout),
        _ => {
            let transaction = client.transaction().await?;
            let layout = migrate_alone(&transaction, schema).await?;
            transaction.commit().await?;
            Ok(layout)
        }
    }
}

async fn migrate_alone(tx: &Transaction<'_>, schema: &Schema) -> Result<Layout, Fault> {
    check_encoding(tx).await?;
    let lock = format!("updraft historian {schema}");
    tx.query_typed(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        &[(&lock, Type::TEXT)],
    )
    .await?;
    let tier = tier(tx).await?;
    let (version, layout) = match applied(tx.client(), schema).await? {
        Some(found) => found,
        None => (0, create_version_table(tx, schema, &tier).await?),
    };
    if version > MIGRATIONS.len() {
        let problem = format!("schema {schema} is of version {version}, newer than this program");
        return Err(Error::configuration(problem, "update the program").into());
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        tx.batch_execute(&filled(migration, schema, layout, &tier))
            .await?;
        if index == 0 {
            cut_by_time(tx, schema, layout, &tier).await?;
        }
        let done = format!(
            "INSERT INTO {schema}.schema_version (version, layout) VALUES ({}, '{}')",
            index + 1,
            layout.name()
        );
        tx.batch_execute(&done).await?;
    }
    info!(%schema, version = MIGRATIONS.len(), ?tier, "historian schema is up to date");
    Ok(layout)
}

/// Text is compared byte for byte with the log; only UTF-8 holds all of it.
async fn check_encoding(tx: &Transaction<'_>) -> Result<(), Fault> {
    let row = tx
        .query_typed_one("SELECT current_setting('server_encoding')", &[])
        .await?;
    match row.try_get::<_, &str>(0)? {
        "UTF8" => Ok(()),
        other => Err(Error::configuration(
            format!("the database's encoding is {other}, not UTF8"),
            "create one with `ENCODING 'UTF8' TEMPLATE template0`",
        )
        .into()),
    }
}

/// Version and layout, when there is a schema at all.
async fn applied(client: &Client, schema: &Schema) -> Result<Option<(usize, Layout)>, Fault> {
    let table = format!("{schema}.schema_version");
    let exists = client
        .query_typed_one(
            "SELECT to_regclass($1) IS NOT NULL",
            &[(&table, Type::TEXT)],
        )
        .await?;
    if !exists.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let sql = format!("SELECT version, layout FROM {table} ORDER BY version DESC LIMIT 1");
    let Some(row) = client.query_typed_opt(&sql, &[]).await? else {
        return Ok(None);
    };
    let version = usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or(usize::MAX);
    let layout = match row.try_get::<_, &str>(1)? {
        "hypertable" => Layout::Hypertable,
        _ => Layout::Partitioned,
    };
    Ok(Some((version, layout)))
}

async fn create_version_table(
    tx: &Transaction<'_>,
    schema: &Schema,
    tier: &Tier,
) -> Result<Layout, Fault> {
    // With the schema there, CREATE SCHEMA would still ask for a right on the whole database.
    let exists = tx
        .query_typed_one(
            "SELECT to_regnamespace($1) IS NOT NULL",
            &[(&schema.to_string(), Type::TEXT)],
        )
        .await?;
    if !exists.try_get::<_, bool>(0)? {
        tx.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;
    }
    tx.batch_execute(&format!(
        "CREATE TABLE IF NOT EXISTS {schema}.schema_version (version int4 PRIMARY KEY,
            layout text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    ))
    .await?;
    Ok(match tier {
        Tier::Plain => Layout::Partitioned,
        Tier::Timescale { .. } => Layout::Hypertable,
    })
}

async fn tier(tx: &Transaction<'_>) -> Result<Tier, Fault> {
    const SQL: &str = "SELECT quote_ident(nspname), current_setting('timescaledb.license', true)
        FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'timescaledb'";
    Ok(match tx.query_typed_opt(SQL, &[]).await? {
        None => Tier::Plain,
        Some(row) => Tier::Timescale {
            extension_schema: row.try_get(0)?,
            community: row.try_get::<_, Option<&str>>(1)? == Some("timescale"),
        },
    })
}

async fn cut_by_time(
    tx: &Transaction<'_>,
    schema: &Schema,
    layout: Layout,
    tier: &Tier,
) -> Result<(), Fault> {
    let files: &[&str] = match tier {
        Tier::Plain => &[PARTITIONED],
        Tier::Timescale {
            community: false, ..
        } => &[HYPERTABLE],
        Tier::Timescale {
            community: true, ..
        } => &[HYPERTABLE, COMPRESSED],
    };
    for file in files {
        tx.batch_execute(&filled(file, schema, layout, tier))
            .await?;
    }
    Ok(())
}

fn filled(sql: &str, schema: &Schema, layout: Layout, tier: &Tier) -> String {
    let by_time = match layout {
        Layout::Partitioned => "PARTITION BY RANGE (time)",
        Layout::Hypertable => "",
    };
    let timescale = match tier {
        Tier::Plain => "",
        Tier::Timescale {
            extension_schema, ..
        } => extension_schema,
    };
    // A comment may speak of a placeholder, too.
    let code: String = sql
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n");
    code.replace("{schema}", &schema.to_string())
        .replace("{by_time}", by_time)
        .replace("{timescale}", timescale)
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Layout::Partitioned => "partitioned",
            Layout::Hypertable => "hypertable",
        }
    }
}
