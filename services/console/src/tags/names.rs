//! The names of all tags: a tree of the namespace's levels, and a text to search in. Pure.
//!
//! Names only ever come in; a tag keeps its [`TagId`] as long as the console runs.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

use memchr::memmem::Finder;

/// Levels of a topic; all that follows is the last one's name.
const MAX_LEVELS: usize = 32;
const MAX_WORDS: usize = 8;
/// What a level takes beside its name, about.
const LEVEL_BYTES: usize = 160;

/// A tag of this console's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TagId(pub(crate) u32);

impl TagId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagName {
    pub(crate) topic: Arc<str>,
    /// Tag group and name within the payload; empty for the one value of a topic.
    pub(crate) key: Arc<str>,
}

impl TagName {
    /// The last level of the topic, or the key.
    pub(crate) fn name(&self) -> &str {
        match &*self.key {
            "" => self.topic.rsplit('/').next().unwrap_or_default(),
            key => key,
        }
    }

    /// What stands before the name.
    pub(crate) fn parent(&self) -> &str {
        match &*self.key {
            "" => self.topic.rsplit_once('/').map_or("", |(parent, _)| parent),
            _ => &self.topic,
        }
    }
}

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) tags: usize,
    /// Of all names and levels together.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Names {
    limits: Limits,
    bytes: usize,
    tags: Vec<TagName>,
    hasher: RandomState,
    by_hash: HashMap<u64, TagId>,
    /// Those whose hash another tag had already.
    collided: Vec<TagId>,
    levels: Vec<Level>,
    search: Haystack,
}

/// A level of the tree; the first one is the root.
#[derive(Debug, Default)]
struct Level {
    /// By name; a key within a payload is no level of a topic.
    children: BTreeMap<(Box<str>, bool), u32>,
    tag: Option<TagId>,
    /// In it and below it.
    tags: u32,
}

/// A level below another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) name: String,
    /// In it and below it.
    pub(crate) tags: u32,
    pub(crate) has_children: bool,
}

/// Some of the tags of a list, and how many it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) tags: Vec<TagId>,
    pub(crate) total: usize,
}

impl Names {
    pub(crate) fn new(limits: Limits) -> Names {
        Names {
            limits,
            bytes: 0,
            tags: Vec::new(),
            hasher: RandomState::new(),
            by_hash: HashMap::new(),
            collided: Vec::new(),
            levels: vec![Level::default()],
            search: Haystack::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tags.len()
    }

    pub(crate) fn get(&self, id: TagId) -> Option<&TagName> {
        self.tags.get(id.index())
    }

    pub(crate) fn find(&self, topic: &str, key: &str) -> Option<TagId> {
        let is = |id: &TagId| {
            let name = &self.tags[id.index()];
            *name.topic == *topic && *name.key == *key
        };
        let found = self.by_hash.get(&self.hash(topic, key)).copied()?;
        if is(&found) {
            return Some(found);
        }
        self.collided.iter().copied().find(|id| is(id))
    }

    /// The tag's id, a new one when it is not known; `None` when there are too many.
    pub(crate) fn insert(&mut self, topic: &Arc<str>, key: &Arc<str>) -> Option<TagId> {
        if let Some(id) = self.find(topic, key) {
            return Some(id);
        }
        let levels: Vec<&str> = levels(topic).collect();
        let cost = 3 * (topic.len() + key.len()) + (levels.len() + 2) * LEVEL_BYTES;
        if self.tags.len() >= self.limits.tags || self.bytes + cost > self.limits.bytes {
            return None;
        }
        self.bytes += cost;
        let id = TagId(u32::try_from(self.tags.len()).ok()?);
        let mut at = self.descend(0, levels[0], false);
        for level in &levels[1..] {
            at = self.descend(at, level, false);
        }
        if !key.is_empty() {
            at = self.descend(at, key, true);
        }
        self.levels[at as usize].tag = Some(id);
        self.levels[0].tags += 1;
        self.search.push(topic, key);
        self.tags.push(TagName {
            topic: Arc::clone(topic),
            key: Arc::clone(key),
        });
        let hash = self.hash(topic, key);
        match self.by_hash.entry(hash) {
            Entry::Vacant(free) => _ = free.insert(id),
            Entry::Occupied(_) => self.collided.push(id),
        }
        Some(id)
    }

    fn hash(&self, topic: &str, key: &str) -> u64 {
        self.hasher.hash_one((topic, key))
    }

    /// The child of that name, which counts one more tag.
    fn descend(&mut self, parent: u32, name: &str, is_key: bool) -> u32 {
        let new = u32::try_from(self.levels.len()).unwrap_or(u32::MAX);
        let children = &mut self.levels[parent as usize].children;
        let child = *children.entry((name.into(), is_key)).or_insert(new);
        if child == new {
            self.levels.push(Level::default());
        }
        self.levels[child as usize].tags += 1;
        child
    }

    /// The level that a path leads to; the root without a path.
    fn level(&self, path: Option<&str>) -> Option<&Level> {
        let mut at = self.levels.first()?;
        for name in path.map(levels).into_iter().flatten() {
            // Nothing but a tuple of owned names can be looked up, but for a short time.
            let child = at.children.get(&(Box::from(name), false))?;
            at = self.levels.get(*child as usize)?;
        }
        Some(at)
    }

    /// How many tags lie at a path and below it; `None` when there is no such path.
    #[cfg(test)]
    pub(crate) fn count(&self, path: Option<&str>) -> Option<u32> {
        self.level(path).map(|level| level.tags)
    }

    /// Levels below a path that have levels below themselves, by name, those after `after`.
    pub(crate) fn branches(
        &self,
        path: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Child> {
        let Some(level) = self.level(path) else {
            return Vec::new();
        };
        let from = after.map(|name| (Box::from(name), true));
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let branches = level.children.range((from, Bound::Unbounded));
        let branches = branches.filter_map(|((name, is_key), child)| {
            let child = &self.levels[*child as usize];
            (!is_key && !child.children.is_empty()).then(|| Child {
                name: name.to_string(),
                tags: child.tags,
                has_children: child.children.values().any(|grandchild| {
                    let grandchild = &self.levels[*grandchild as usize];
                    !grandchild.children.is_empty()
                }),
            })
        });
        branches.take(limit).collect()
    }

    /// The tags at a path and below it, by path, without the first `skip`.
    pub(crate) fn below(&self, path: Option<&str>, skip: usize, limit: usize) -> Found {
        let Some(level) = self.level(path) else {
            return Found::default();
        };
        let mut walk = Walk {
            levels: &self.levels,
            skip,
            limit,
            tags: Vec::new(),
        };
        walk.visit(level);
        Found {
            tags: walk.tags,
            total: level.tags as usize,
        }
    }

    /// Tags whose path holds all words of the query in whatever case, the best first.
    pub(crate) fn search(&self, query: &str, limit: usize) -> Found {
        self.search.search(query, limit)
    }
}

fn levels(topic: &str) -> impl Iterator<Item = &str> {
    topic.splitn(MAX_LEVELS, '/')
}

/// Goes through the tree in the order of its names, past whole levels that are skipped.
struct Walk<'a> {
    levels: &'a [Level],
    skip: usize,
    limit: usize,
    tags: Vec<TagId>,
}

impl Walk<'_> {
    fn visit(&mut self, level: &Level) {
        if self.tags.len() >= self.limit {
            return;
        }
        if self.skip >= level.tags as usize {
            self.skip -= level.tags as usize;
            return;
        }
        match (level.tag, self.skip) {
            (Some(tag), 0) => self.tags.push(tag),
            (Some(_), _) => self.skip -= 1,
            (None, _) => {}
        }
        for child in level.children.values() {
            if self.tags.len() >= self.limit {
                return;
            }
            self.visit(&self.levels[*child as usize]);
        }
    }
}

/// All paths in lower case, one per line, so that one pass over the memory finds all that match.
#[derive(Debug, Default)]
struct Haystack {
    text: String,
    /// Where each tag's line begins, and where its name does.
    lines: Vec<(u32, u32)>,
}

/// The better a match, the smaller.
type Rank<'a> = (u8, usize, &'a str, TagId);

impl Haystack {
    fn push(&mut self, topic: &str, key: &str) {
        let at = |text: &String| u32::try_from(text.len()).unwrap_or(u32::MAX);
        let start = at(&self.text);
        let (path, name) = match key {
            "" => topic
                .rsplit_once('/')
                .map_or(("", topic), |(path, name)| (path, name)),
            key => (topic, key),
        };
        self.fold(path);
        self.text.push('/');
        let name_start = at(&self.text);
        self.fold(name);
        self.text.push('\n');
        self.lines.push((start, name_start));
    }

    fn fold(&mut self, text: &str) {
        let lower = text.chars().flat_map(char::to_lowercase);
        self.text
            .extend(lower.map(|c| if c == '\n' { ' ' } else { c }));
    }

    fn search(&self, query: &str, limit: usize) -> Found {
        let query = query.to_lowercase();
        let words: Vec<&str> = query.split_whitespace().take(MAX_WORDS).collect();
        // The longest one is the rarest, most of the time.
        let Some(longest) = words.iter().max_by_key(|word| word.len()) else {
            return Found::default();
        };
        let finder = Finder::new(longest.as_bytes());
        let mut best: BinaryHeap<Rank<'_>> = BinaryHeap::with_capacity(limit + 1);
        let mut total = 0;
        let (mut from, mut line) = (0, 0);
        while let Some(hit) = finder.find(&self.text.as_bytes()[from..]) {
            line +=
                self.lines[line..].partition_point(|(start, _)| *start as usize <= from + hit) - 1;
            let (start, end) = (self.lines[line].0 as usize, self.end(line));
            let path = &self.text[start..end];
            if words.iter().all(|word| path.contains(word)) {
                total += 1;
                let name = &self.text[self.lines[line].1 as usize..end];
                let id = TagId(u32::try_from(line).unwrap_or(u32::MAX));
                best.push((class(name, &words), path.len(), path, id));
                if best.len() > limit {
                    best.pop();
                }
            }
            from = end + 1;
        }
        let ranked = best.into_sorted_vec();
        let tags = ranked.into_iter().map(|(_, _, _, id)| id).collect();
        Found { tags, total }
    }

    fn end(&self, line: usize) -> usize {
        let next = self.lines.get(line + 1).map(|(start, _)| *start as usize);
        next.unwrap_or(self.text.len()) - 1
    }
}

/// What matches in the name itself comes before what matches further up.
fn class(name: &str, words: &[&str]) -> u8 {
    if words == [name] {
        0
    } else if words.iter().any(|word| name.starts_with(word)) {
        1
    } else if words.iter().any(|word| name.contains(word)) {
        2
    } else {
        3
    }
}

#[cfg(test)]
mod tests;
