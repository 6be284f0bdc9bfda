//! Ids of origins and tags: looked up, or given when they are new.

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use proto::Origin;

use crate::dictionary::{Dictionary, Digest};
use crate::{Error, NewRow};

use super::config::Schema;
use super::fault::Fault;

/// Afterwards the dictionary knows every id that the rows need.
pub(super) async fn look_up(
    tx: &Transaction<'_>,
    schema: &Schema,
    dictionary: &mut Dictionary,
    rows: &[NewRow],
) -> Result<(), Fault> {
    for origin in dictionary.unknown_origins(rows) {
        let src = src(tx, schema, &origin).await?;
        dictionary.add_origin(origin, src);
    }
    let unknown = dictionary.unknown_tags(rows);
    if unknown.is_empty() {
        return Ok(());
    }
    select(tx, schema, dictionary, &unknown).await?;
    insert(tx, schema, dictionary, rows).await
}

async fn src(tx: &Transaction<'_>, schema: &Schema, origin: &Origin) -> Result<i32, Fault> {
    let (hub, lane) = (origin.hub.as_str(), origin.lane.name());
    let incarnation = origin.incarnation.to_string();
    let sql = format!(
        "INSERT INTO {schema}.origin AS o (hub, incarnation, lane) VALUES ($1, $2, $3)
         ON CONFLICT (hub, incarnation, lane) DO UPDATE SET hub = o.hub RETURNING src"
    );
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
        (&hub, Type::TEXT),
        (&incarnation, Type::TEXT),
        (&lane, Type::TEXT),
    ];
    Ok(tx.query_typed_one(&sql, &values).await?.try_get(0)?)
}

async fn select(
    tx: &Transaction<'_>,
    schema: &Schema,
    dictionary: &mut Dictionary,
    digests: &[Digest],
) -> Result<(), Fault> {
    let digests: Vec<&[u8]> = digests.iter().map(|digest| &digest[..]).collect();
    let sql = format!("SELECT digest, tag_id FROM {schema}.tag WHERE digest = ANY($1)");
    for row in tx
        .query_typed(&sql, &[(&digests, Type::BYTEA_ARRAY)])
        .await?
    {
        let digest: &[u8] = row.try_get(0)?;
        if let Ok(digest) = digest.try_into() {
            dictionary.add_tag(digest, row.try_get(1)?);
        }
    }
    Ok(())
}

/// Another stream's writer may create the same tag at the same time: its row wins, and is read
/// when the transaction is tried again.
async fn insert(
    tx: &Transaction<'_>,
    schema: &Schema,
    dictionary: &mut Dictionary,
    rows: &[NewRow],
) -> Result<(), Fault> {
    let tags = dictionary.new_tags(rows);
    if tags.is_empty() {
        return Ok(());
    }
    let digests: Vec<&[u8]> = tags.iter().map(|tag| &tag.digest[..]).collect();
    let topics: Vec<&str> = tags.iter().map(|tag| &*tag.topic).collect();
    let keys: Vec<&str> = tags.iter().map(|tag| &*tag.key).collect();
    let kinds: Vec<&str> = tags.iter().map(|tag| tag.kind.name()).collect();
    let sql = format!(
        "INSERT INTO {schema}.tag (digest, topic, key, kind)
         SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING
         RETURNING digest, tag_id"
    );
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
        (&digests, Type::BYTEA_ARRAY),
        (&topics, Type::TEXT_ARRAY),
        (&keys, Type::TEXT_ARRAY),
        (&kinds, Type::TEXT_ARRAY),
    ];
    let created = tx.query_typed(&sql, &values).await?;
    if created.len() < tags.len() {
        let raced = "another writer created some of the same tags at the same time";
        return Err(Error::Unavailable(raced.into()).into());
    }
    for row in created {
        let digest: &[u8] = row.try_get(0)?;
        if let Ok(digest) = digest.try_into() {
            dictionary.add_tag(digest, row.try_get(1)?);
        }
    }
    Ok(())
}
