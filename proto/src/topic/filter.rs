//! Topic filters with the wildcards `+` and `#`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::MAX_TOPIC_BYTES;

/// A valid topic filter (MQTT-4.7.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicFilter(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("topic filter is empty (MQTT-4.7.3-1)")]
    Empty,
    #[error("topic filter is longer than 65535 bytes (MQTT-4.7.3-3)")]
    TooLong,
    #[error("topic filter {0:?}: `#` stands for whole levels and only at the end (MQTT-4.7.1-1)")]
    Hash(String),
    #[error("topic filter {0:?}: `+` stands for a whole level (MQTT-4.7.1-2)")]
    Plus(String),
    #[error("topic filter holds the null character (MQTT-4.7.3-2)")]
    Null,
}

impl TopicFilter {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, topic: &str) -> bool {
        // MQTT-4.7.2-1: a leading wildcard does not match topics of the server's own.
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for part in self.0.split('/') {
            match (part, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (part, Some(level)) if part == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl FromStr for TopicFilter {
    type Err = FilterError;

    fn from_str(filter: &str) -> Result<TopicFilter, FilterError> {
        if filter.is_empty() {
            return Err(FilterError::Empty);
        }
        if filter.len() > MAX_TOPIC_BYTES {
            return Err(FilterError::TooLong);
        }
        if filter.contains('\0') {
            return Err(FilterError::Null);
        }
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level.len() > 1 || levels.peek().is_some()) {
                return Err(FilterError::Hash(filter.into()));
            }
            if level.contains('+') && level.len() > 1 {
                return Err(FilterError::Plus(filter.into()));
            }
        }
        Ok(TopicFilter(filter.into()))
    }
}

impl TryFrom<String> for TopicFilter {
    type Error = FilterError;

    fn try_from(filter: String) -> Result<TopicFilter, FilterError> {
        filter.parse()
    }
}

impl From<TopicFilter> for String {
    fn from(filter: TopicFilter) -> String {
        filter.0
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        for (filter, topic, matched) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/+", "/x", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d", false),
            ("Ä/+", "Ä/ö", true),
        ] {
            assert_eq!(
                filter.parse::<TopicFilter>().unwrap().matches(topic),
                matched,
                "{filter}"
            );
        }
    }

    #[test]
    fn bad_filters() {
        for bad in ["", "a#", "a/#/b", "#/a", "a+", "+a/b", "a\0"] {
            assert!(bad.parse::<TopicFilter>().is_err(), "{bad:?}");
        }
    }
}
