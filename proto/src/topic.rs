//! Topic names, topic filters (MQTT-4.7) and the Unified Namespace on top of them.

mod filter;
mod uns;

pub use filter::{FilterError, TopicFilter};
pub(crate) use uns::contract as uns_contract;
pub use uns::{UnsError, UnsTopic};

/// A topic name or filter is at most this long (MQTT-1.5.3).
pub const MAX_TOPIC_BYTES: usize = 65_535;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("topic is empty (MQTT-4.7.3-1)")]
    Empty,
    #[error("topic is longer than 65535 bytes (MQTT-4.7.3-3)")]
    TooLong,
    #[error("topic {0:?} holds a wildcard; `+` and `#` belong into filters (MQTT-3.3.2-2)")]
    Wildcard(String),
    #[error("topic holds the null character (MQTT-4.7.3-2)")]
    Null,
}

/// Whether a client may publish on it.
pub fn check_topic_name(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        Err(TopicError::Empty)
    } else if topic.len() > MAX_TOPIC_BYTES {
        Err(TopicError::TooLong)
    } else if topic.contains(['+', '#']) {
        Err(TopicError::Wildcard(topic.into()))
    } else if topic.contains('\0') {
        Err(TopicError::Null)
    } else {
        Ok(())
    }
}
