//! One line for each mistake in the file, with the place and the key.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use serde_saphyr::Error;

use super::scalar::Place;

/// A mistake in the file: `hub.yaml:12:3: broker.listen: expected …`, always one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", self.position())]
pub struct ConfigError {
    file: String,
    place: Place,
    message: String,
}

impl ConfigError {
    pub(super) fn new(file: &str, place: Place, message: String) -> Self {
        Self {
            file: file.to_owned(),
            place,
            message,
        }
    }

    /// A mistake of the file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self::new(file, Place::default(), message.into())
    }

    fn position(&self) -> String {
        match self.place {
            Place { line: 0, .. } => String::new(),
            Place { line, column } => format!(":{line}:{column}"),
        }
    }
}

/// Parses `text` into a `T`.
pub(super) fn deserialize<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    let mut keys = Vec::new();
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            keys = key_path(error.path());
            error.into_inner()
        })
    })
    .map_err(|error| {
        let place = error.location().map(Place::from).unwrap_or_default();
        ConfigError::new(file, place, describe(&error, &keys))
    })
}

/// The keys that lead to the mistake.
fn key_path(path: &Path) -> Vec<String> {
    let mut keys: Vec<_> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(format!("[{index}]")),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    // `Spanned` reads itself as a mapping with the key "value" that the file doesn't have.
    keys.retain(|key| key != "value");
    keys
}

fn describe(error: &Error, keys: &[String]) -> String {
    match error.without_snippet() {
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown_key(field, expected, keys),
        Error::SerdeMissingField { field, .. } => {
            format!("missing key \"{field}\"{}", within(keys))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key \"{key}\" is given twice{}", within(keys))
        }
        Error::Unexpected { expected, .. } if expected.contains("mapping") => {
            at(keys, "expected a mapping of keys to values")
        }
        Error::Unexpected { expected, .. } if expected.contains("sequence") => {
            at(keys, "expected a list")
        }
        Error::Unexpected { expected, .. } if expected.contains("scalar") => {
            at(keys, "expected a single value")
        }
        Error::NullIntoString { .. } => at(keys, "expected a value, found nothing"),
        Error::InvalidScalar { .. } => at(keys, "expected whole numbers as keys"),
        Error::MultipleDocuments { .. } => "expected one YAML document, found another".to_owned(),
        Error::Eof { .. } => at(keys, "the file is empty or ends too early"),
        other => at(keys, &plain(other)),
    }
}

/// `unknown key "lisen" in broker; did you mean "listen"?`
fn unknown_key(field: &str, expected: &[&str], keys: &[String]) -> String {
    let parents = match keys.split_last() {
        Some((last, parents)) if last == field => parents,
        _ => keys,
    };
    let nearest = expected
        .iter()
        .map(|known| (strsim::damerau_levenshtein(field, known), *known))
        .filter(|(distance, known)| *distance <= 1 + field.len().max(known.len()) / 4)
        .min();
    let hint = match nearest {
        Some((_, known)) => format!("did you mean \"{known}\"?"),
        None => format!("known keys: {}", expected.join(", ")),
    };
    format!("unknown key {field:?}{}; {hint}", within(parents))
}

fn within(keys: &[String]) -> String {
    match keys {
        [] => String::new(),
        keys => format!(" in {}", join(keys)),
    }
}

fn at(keys: &[String], message: &str) -> String {
    match keys {
        [] => message.to_owned(),
        keys => format!("{}: {message}", join(keys)),
    }
}

/// `rules.lanes[0].filter`
fn join(keys: &[String]) -> String {
    keys.join(".").replace(".[", "[")
}

/// The parser's own words, on one line and without the place.
fn plain(error: &Error) -> String {
    let formatter = serde_saphyr::DefaultMessageFormatter;
    let message = serde_saphyr::MessageFormatter::format_message(&formatter, error);
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
