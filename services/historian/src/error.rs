//! What goes wrong with a database, by what a writer does about it.

use proto::Offset;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Connection lost, server starting, disk full, deadlock: it may pass by itself. Whether the
    /// last transaction was committed is unknown; the cursor in the database says it.
    #[error("historian is not available: {0}")]
    Unavailable(String),
    /// A person has to do something. Nothing is written and nothing becomes a dead letter.
    #[error("historian can't be used: {problem}; {advice}")]
    Configuration { problem: String, advice: String },
    #[error(
        "another writer has taken over {stream:?} (its epoch is {found}, this one's {epoch}); stop \
         one of the two"
    )]
    Fenced {
        stream: String,
        epoch: i64,
        found: i64,
    },
    /// What was offered does not continue what is stored; nothing of it was written.
    #[error("cursor of {stream:?} is at offset {found}, not {expected}; go on from there")]
    Moved {
        stream: String,
        expected: Offset,
        found: Offset,
    },
}

/// When to try again, after the cursor was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    WithBackoff,
    /// Until a person has mended it.
    Slowly,
    Never,
}

impl Error {
    pub fn retry(&self) -> Retry {
        match self {
            Error::Unavailable(_) | Error::Moved { .. } => Retry::WithBackoff,
            Error::Configuration { .. } => Retry::Slowly,
            Error::Fenced { .. } => Retry::Never,
        }
    }

    pub(crate) fn too_long(limit: std::time::Duration) -> Error {
        Error::Unavailable(format!(
            "the query took longer than {} s; ask for a shorter stretch of time",
            limit.as_secs()
        ))
    }

    pub(crate) fn configuration(problem: impl ToString, advice: impl ToString) -> Error {
        Error::Configuration {
            problem: problem.to_string(),
            advice: advice.to_string(),
        }
    }

    /// Why the cursor's UPDATE touched no row; `found` is the cursor's epoch and offset.
    pub(crate) fn not_updated(claim: &crate::Claim, found: Option<(i64, Offset)>) -> Error {
        let stream = claim.stream.clone();
        match found {
            Some((found, offset)) if found == claim.epoch => Error::Moved {
                stream,
                expected: claim.next_offset,
                found: offset,
            },
            Some((found, _)) => Error::Fenced {
                stream,
                epoch: claim.epoch,
                found,
            },
            None => Error::configuration(
                format!("the cursor of {stream:?} is gone"),
                "was the database put back? restart the writer to begin again at its log's start",
            ),
        }
    }
}
