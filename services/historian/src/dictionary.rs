//! What is known of the tables `origin` and `tag` while a connection lasts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proto::Origin;

use crate::{Kind, NewRow, Row};

/// With more entries than this, as a flood of ever new topics makes them, all are forgotten and
/// looked up again.
const MAX_TAGS: usize = 1 << 20;

/// First half of the BLAKE3 of kind, topic and key.
pub(crate) type Digest = [u8; 16];

#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    tags: HashMap<Digest, i32>,
    origins: HashMap<Arc<Origin>, i32>,
}

#[derive(Clone, Debug)]
pub(crate) struct NewTag {
    pub(crate) digest: Digest,
    pub(crate) topic: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) kind: Kind,
}

impl NewTag {
    fn of(row: &Row, kind: Kind) -> NewTag {
        let digest = digest(&row.topic, &row.key, kind);
        NewTag {
            digest,
            topic: Arc::clone(&row.topic),
            key: Arc::clone(&row.key),
            kind,
        }
    }
}

impl Dictionary {
    pub(crate) fn add_tag(&mut self, digest: Digest, tag_id: i32) {
        self.tags.insert(digest, tag_id);
    }

    pub(crate) fn add_origin(&mut self, origin: Arc<Origin>, src: i32) {
        self.origins.insert(origin, src);
    }

    pub(crate) fn src(&self, origin: &Origin) -> Option<i32> {
        self.origins.get(origin).copied()
    }

    /// `None` for a dead letter and for a tag that is not known yet.
    pub(crate) fn tag_id(&self, row: &Row) -> Option<i32> {
        let mut kinds = row.body.kinds().iter();
        kinds.find_map(|kind| self.tags.get(&digest(&row.topic, &row.key, *kind)).copied())
    }

    /// Origins to look up or create.
    pub(crate) fn unknown_origins(&self, rows: &[NewRow]) -> Vec<Arc<Origin>> {
        let mut seen = HashSet::new();
        rows.iter()
            .filter(|new| !self.origins.contains_key(&new.origin) && seen.insert(&*new.origin))
            .map(|new| Arc::clone(&new.origin))
            .collect()
    }

    /// Tags to look up.
    pub(crate) fn unknown_tags(&mut self, rows: &[NewRow]) -> Vec<Digest> {
        if self.tags.len() > MAX_TAGS {
            self.tags.clear();
        }
        let all = rows.iter().flat_map(|new| {
            let row = &new.row;
            row.body
                .kinds()
                .iter()
                .map(|kind| digest(&row.topic, &row.key, *kind))
        });
        let unknown: HashSet<Digest> = all.filter(|d| !self.tags.contains_key(d)).collect();
        unknown.into_iter().collect()
    }

    /// Tags to create, after all that exist were looked up.
    pub(crate) fn new_tags(&self, rows: &[NewRow]) -> Vec<NewTag> {
        // A sample without a value takes the kind that another row of the same tag brings.
        let (null, typed): (Vec<_>, Vec<_>) = rows
            .iter()
            .map(|new| &new.row)
            .partition(|row| row.body.kinds().len() > 1);
        let mut created = HashSet::new();
        let mut tags = Vec::new();
        for row in typed.into_iter().chain(null) {
            let kinds = row.body.kinds();
            let exists = kinds.iter().any(|kind| {
                let digest = digest(&row.topic, &row.key, *kind);
                self.tags.contains_key(&digest) || created.contains(&digest)
            });
            if let (false, Some(kind)) = (exists, kinds.first()) {
                let tag = NewTag::of(row, *kind);
                created.insert(tag.digest);
                tags.push(tag);
            }
        }
        tags
    }
}

fn digest(topic: &str, key: &str, kind: Kind) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind as u8]);
    hasher.update(&(topic.len() as u64).to_le_bytes());
    hasher.update(topic.as_bytes());
    hasher.update(key.as_bytes());
    let mut digest = Digest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}

#[cfg(test)]
mod tests {
    use proto::{HubPath, Incarnation, Lane, Nanos, Offset, Quality, Sequence};

    use super::*;
    use crate::Body;

    fn row(topic: &str, body: Body) -> NewRow {
        let hub: HubPath = "acme".parse().unwrap();
        let origin = Origin {
            hub,
            incarnation: Incarnation(1),
            lane: Lane::Normal,
        };
        NewRow {
            origin: origin.into(),
            offset: Offset(0),
            original: None,
            row: Row {
                sequence: Sequence(0),
                sub: 0,
                time: Nanos(0),
                topic: topic.into(),
                key: "".into(),
                body,
            },
        }
    }

    #[test]
    fn a_null_takes_the_kind_its_tag_has() {
        let quality = Quality::GOOD;
        let null = || row("t", Body::Null { quality });
        let text = row(
            "t",
            Body::Text {
                quality,
                value: "x".into(),
            },
        );
        let mut dictionary = Dictionary::default();
        let kinds = |tags: Vec<NewTag>| tags.iter().map(|tag| tag.kind).collect::<Vec<_>>();
        assert_eq!(kinds(dictionary.new_tags(&[null()])), [Kind::Number]);
        let rows = [null(), text];
        let tags = dictionary.new_tags(&rows);
        assert_eq!(kinds(tags.clone()), [Kind::Text]);
        dictionary.add_tag(tags[0].digest, 7);
        assert_eq!(
            rows.map(|new| dictionary.tag_id(&new.row)),
            [Some(7), Some(7)]
        );
    }
}
