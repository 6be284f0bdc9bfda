//! How a tag stands in a link: `topic`, or `topic#key`. No topic has a `#` in it (MQTT-3.3.2-2).

use crate::error::Problem;

/// Longer ones are in no link.
const MAX_BYTES: usize = 8192;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) topic: String,
    pub(crate) key: String,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, Problem> {
        let (topic, key) = text.split_once('#').unwrap_or((text, ""));
        Address::new(topic, key)
    }

    pub(crate) fn new(topic: &str, key: &str) -> Result<Address, Problem> {
        if topic.is_empty() || topic.len() + key.len() > MAX_BYTES {
            let problem = format!("a tag is a topic of 1 to {MAX_BYTES} bytes, or topic#key");
            return Err(Problem::BadRequest(problem));
        }
        Ok(Address {
            topic: topic.to_owned(),
            key: key.to_owned(),
        })
    }
}

/// As it stands in `tag=`, before it is encoded.
pub(crate) fn text(topic: &str, key: &str) -> String {
    match key {
        "" => topic.to_owned(),
        key => format!("{topic}#{key}"),
    }
}

/// A link within the console, its parameters encoded.
pub(crate) fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    format!("{path}?{query}")
}

pub(crate) fn one(topic: &str, key: &str) -> String {
    match key {
        "" => link("/tags/one", &[("topic", topic)]),
        key => link("/tags/one", &[("topic", topic), ("key", key)]),
    }
}

pub(crate) fn trend(topic: &str, key: &str) -> String {
    link("/trend", &[("tag", &text(topic, key))])
}

pub(crate) fn wave(topic: &str, key: &str) -> String {
    match key {
        "" => link("/wave", &[("topic", topic)]),
        key => link("/wave", &[("topic", topic), ("key", key)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (written, topic, key) in [
            ("a/b", "a/b", ""),
            ("a/b#c$d", "a/b", "c$d"),
            ("a#b#c", "a", "b#c"),
        ] {
            let address = Address::parse(written).unwrap();
            assert_eq!((&*address.topic, &*address.key), (topic, key));
            assert_eq!(text(topic, key), written);
        }
        for bad in ["", "#key", &"a".repeat(9000)] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(trend("a/ö", "k"), "/trend?tag=a%2F%C3%B6%23k");
    }
}
