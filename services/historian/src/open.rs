//! The historian that `hub.yaml` names.

use std::sync::Arc;

use kit::config::{ConfigError, HistorianBackend, HubConfig, Place};

use crate::{Error, Historian, Postgres, Sqlite};

/// Why it can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("historian: configuration")]
    Config(#[from] ConfigError),
    #[error("historian")]
    Historian(#[from] Error),
}

/// Opens the SQLite file, or gets ready to connect to PostgreSQL when it is first needed: a
/// database that is down for now keeps nobody from starting. `service` is who asks, for the error.
/// Blocks.
pub fn open(config: &HubConfig, service: &str) -> Result<Arc<dyn Historian>, OpenError> {
    let section = config.historian.as_ref();
    let section = section.ok_or_else(|| config.missing(service, "historian"))?;
    Ok(match &section.backend {
        HistorianBackend::Sqlite(path) => {
            let sqlite = Sqlite::open(path.value.clone());
            Arc::new(sqlite.map_err(|error| pointed(config, path.place, error))?)
        }
        HistorianBackend::Postgres(postgres) => {
            let opened = Postgres::new(postgres.url.value.expose(), &postgres.schema.value);
            Arc::new(opened.map_err(|error| pointed(config, postgres.url.place, error))?)
        }
    })
}

/// Whatever a person has to mend is told with its line in the file.
fn pointed(config: &HubConfig, place: Place, error: Error) -> OpenError {
    match error {
        Error::Configuration { .. } => config.error(place, error.to_string()).into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(section: &str) -> String {
        let text = format!("hub: {{ path: acme }}\ndata_dir: .\n{section}");
        let config = kit::config::from_str("hub.yaml", &text).unwrap();
        match open(&config, "the writer").unwrap_err() {
            OpenError::Config(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let missing = error("");
        assert!(
            missing.contains("the writer needs the section \"historian\""),
            "{missing}"
        );
        let tls = error("historian:\n  postgres: { url: 'postgres://db/x?sslmode=require' }\n");
        assert!(
            tls.starts_with("hub.yaml:4:") && tls.contains("asks for TLS"),
            "{tls}"
        );
        let sqlite = error("historian:\n  sqlite: /proc/none/h.sqlite\n");
        assert!(
            sqlite.starts_with("hub.yaml:4:") && sqlite.contains("can't be opened"),
            "{sqlite}"
        );
    }
}
