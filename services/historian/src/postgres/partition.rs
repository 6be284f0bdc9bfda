//! Partitions, made when rows of their month come.

use std::collections::{BTreeSet, HashSet};

use proto::Nanos;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use crate::row::Table;
use crate::{Error, NewRow};

use super::config::Schema;
use super::fault::Fault;
use super::month::{Month, plan};

/// What is known of the months while a connection lasts.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    /// They have a partition, or rows in the default partition and therefore can't get one.
    settled: HashSet<(Table, Month)>,
}

impl Partitions {
    pub(super) async fn load(client: &Client, schema: &Schema) -> Result<Partitions, Fault> {
        const SQL: &str = "SELECT relname FROM pg_class
            WHERE relispartition AND relnamespace = to_regnamespace($1)::oid AND relkind = 'r'";
        let schema = schema.to_string();
        let names = client.query_typed(SQL, &[(&schema, Type::TEXT)]).await?;
        let mut settled = HashSet::new();
        for row in names {
            let name: String = row.try_get(0)?;
            let months = Table::ALL.map(|table| (table, Month::of_partition(table, &name)));
            settled.extend(
                months
                    .into_iter()
                    .filter_map(|(t, month)| Some((t, month?))),
            );
        }
        Ok(Partitions { settled })
    }

    /// Makes those that the rows need. What gets none is stored in the default partition.
    pub(super) async fn prepare(
        &mut self,
        transaction: &Transaction<'_>,
        schema: &Schema,
        rows: &[NewRow],
        now: Nanos,
    ) -> Result<(), Fault> {
        let month = |new: &NewRow| (new.row.body.table(), Month::of(new.row.time));
        let needed: BTreeSet<_> = rows
            .iter()
            .map(month)
            .filter(|(table, _)| *table != Table::DeadLetter)
            .collect();
        for (table, month) in plan(&needed, &self.settled, now) {
            create(transaction, schema, table, month)
                .await
                .map_err(not_data)?;
            self.settled.insert((table, month));
        }
        Ok(())
    }
}

/// A default partition that got rows of the month at this very moment is no fault of ours.
fn not_data(fault: Fault) -> Fault {
    match fault {
        Fault::Data { reason, .. } => Error::Unavailable(reason).into(),
        other => other,
    }
}

async fn create(
    transaction: &Transaction<'_>,
    schema: &Schema,
    table: Table,
    month: Month,
) -> Result<(), Fault> {
    let (from, to, parent) = (month, month.next(), table.name());
    let occupied = format!(
        "SELECT EXISTS (SELECT 1 FROM {schema}.{parent}_default WHERE time >= {from} AND time < {to})"
    );
    let occupied: bool = transaction
        .query_typed_one(&occupied, &[])
        .await?
        .try_get(0)?;
    if occupied {
        return Ok(());
    }
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {schema}.{} PARTITION OF {schema}.{parent} \
         FOR VALUES FROM ({from}) TO ({to})",
        month.partition(table)
    );
    Ok(transaction.batch_execute(&create).await?)
}
