//! What `historian.postgres` says.

use std::fmt;
use std::time::Duration;

use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use crate::{Error, Result};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A peer that vanished without a word is noticed after about this time.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn parse(url: &str) -> Result<tokio_postgres::Config> {
    // `require` is the strictest word that tokio-postgres knows; libpq has two more.
    let wants_tls = ["verify-ca", "verify-full"]
        .iter()
        .any(|mode| url.contains(mode));
    let parsed = url
        .replace("verify-ca", "require")
        .replace("verify-full", "require");
    let mut config: tokio_postgres::Config = if wants_tls { &parsed } else { url }
        .parse()
        .map_err(|error| {
            Error::configuration(
                format!("`historian.postgres.url` can't be read: {error}"),
                "write postgres://user:password@host:5432/database",
            )
        })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(Error::configuration(
            "`historian.postgres.url` asks for TLS, which the historian does not speak yet",
            "use sslmode=disable on a network you trust, or a local proxy that speaks TLS",
        ));
    }
    config
        .application_name("updraft-historian")
        .connect_timeout(CONNECT_LIMIT)
        .keepalives_idle(SILENCE_LIMIT / 3)
        .keepalives_interval(SILENCE_LIMIT / 6)
        .tcp_user_timeout(SILENCE_LIMIT)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok(config)
}

/// Name of the schema, quoted for use in SQL.
#[derive(Clone, Debug)]
pub(super) struct Schema(String);

impl Schema {
    pub(super) fn parse(name: &str) -> Result<Schema> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let valid = !name.is_empty() && name.len() <= 63 && name.chars().all(allowed);
        if valid && !name.starts_with("pg_") {
            return Ok(Schema(name.to_owned()));
        }
        Err(Error::configuration(
            format!("`historian.postgres.schema` is {name:?}"),
            "use a-z, 0-9 and `_`, at most 63 of them, not beginning with `pg_`",
        ))
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, problem) in [
            ("postgres://u:p@db.plant:5433/factory", None),
            ("host=/run/postgresql user=updraft dbname=factory", None),
            ("postgres://db/x?sslmode=require", Some("asks for TLS")),
            ("postgres://db/x?sslmode=verify-full", Some("asks for TLS")),
            ("mysql://db/x", Some("can't be read")),
        ] {
            match (parse(url), problem) {
                (Ok(_), None) => {}
                (Err(error), Some(problem)) => assert!(error.to_string().contains(problem)),
                other => panic!("{url}: {other:?}"),
            }
        }
    }

    #[test]
    fn schemas() {
        assert_eq!(
            Schema::parse("updraft_2").unwrap().to_string(),
            r#""updraft_2""#
        );
        for bad in ["", "a\"b", "A", "pg_x", "a.b", &"x".repeat(64)] {
            assert!(Schema::parse(bad).is_err(), "{bad:?}");
        }
    }
}
