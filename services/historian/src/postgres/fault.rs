//! What an error of PostgreSQL means for a writer.

use std::error::Error as _;
use std::io;

use crate::Error;
use crate::historian::SCREEN_LIMIT;

/// Why a statement or transaction failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Some row of it can't be stored as it is.
    Data {
        sqlstate: String,
        reason: String,
    },
    Other(Error),
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    MayPass,
    Data,
    Configuration(&'static str),
}

/// Classes of PostgreSQL's appendix A; a code that is not listed is a person's business, because
/// neither retrying for ever in silence nor throwing rows out would be right.
fn class(sqlstate: &str) -> Class {
    use Class::{Configuration, Data, MayPass};
    match (sqlstate, sqlstate.get(..2).unwrap_or_default()) {
        // A lock not had in time; a fail-over that left us on a standby.
        ("55P03" | "55006" | "25006" | "25P02" | "25P03", _) => MayPass,
        ("57P04" | "3D000", _) => Configuration("create the database that the url names"),
        ("42501", _) => Configuration("grant the user CREATE on the database, or on its schema"),
        ("42P01" | "42703" | "3F000", _) => Configuration(
            "a table or column of the historian is missing: start the writer once, or undo what \
             was changed by hand",
        ),
        (_, "08" | "40" | "53" | "57" | "58" | "XX") => MayPass,
        (_, "22" | "23") => Data,
        (_, "28") => Configuration("check user and password in the url and pg_hba.conf"),
        _ => Configuration("see the log of the database server"),
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Fault {
        let Some(db) = error.as_db_error() else {
            return Fault::Other(without_code(&error));
        };
        let sqlstate = db.code().code().to_owned();
        let mut reason = db.message().to_owned();
        if let Some(context) = db.where_() {
            reason = format!("{reason} ({context})");
        }
        match class(&sqlstate) {
            Class::Data => Fault::Data { sqlstate, reason },
            Class::MayPass => Fault::Other(Error::Unavailable(format!("{reason} [{sqlstate}]"))),
            Class::Configuration(advice) => Fault::Other(Error::configuration(
                format!("{reason} [{sqlstate}]"),
                advice,
            )),
        }
    }
}

/// The server said nothing: a lost connection, or something the driver did not like.
fn without_code(error: &tokio_postgres::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    let mut lost = error.is_closed() || text.contains("timeout");
    while let Some(inner) = cause {
        lost |= inner.is::<io::Error>();
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    // The driver has no type for a standby that was refused because of target_session_attrs.
    if lost || text.contains("database does not allow writes") {
        Error::Unavailable(text)
    } else {
        Error::configuration(text, "check `historian.postgres.url`")
    }
}

/// `SET LOCAL statement_timeout` ended the query.
pub(super) fn of_screen(fault: Fault) -> Fault {
    match fault {
        Fault::Other(Error::Unavailable(reason)) if reason.contains("[57014]") => {
            Error::too_long(SCREEN_LIMIT).into()
        }
        other => other,
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Other(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Other(error) => error,
            Fault::Data { sqlstate, reason } => Error::configuration(
                format!("{reason} [{sqlstate}]"),
                "something in the database refuses what the historian itself needs",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (codes, expected) in [
            (
                "08006 40001 40P01 53100 53200 53300 55P03 57014 57P01 57P03 25006 58030",
                "may pass",
            ),
            ("22021 22008 22P05 23502 23514", "data"),
            (
                "28000 28P01 3D000 42501 42P01 42703 42601 P0001 54000 0A000",
                "configuration",
            ),
        ] {
            for code in codes.split(' ') {
                let found = match class(code) {
                    Class::MayPass => "may pass",
                    Class::Data => "data",
                    Class::Configuration(_) => "configuration",
                };
                assert_eq!(found, expected, "{code}");
            }
        }
    }
}
