use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    tags: 1000,
    bytes: 1 << 20,
};

fn names(paths: &[(&str, &str)]) -> Names {
    let mut names = Names::new(LIMITS);
    for (topic, key) in paths {
        names.insert(&(*topic).into(), &(*key).into()).unwrap();
    }
    names
}

fn paths(names: &Names, tags: &[TagId]) -> Vec<String> {
    let path = |id: &TagId| {
        let name = names.get(*id).unwrap();
        match &*name.key {
            "" => name.topic.to_string(),
            key => format!("{}#{key}", name.topic),
        }
    };
    tags.iter().map(path).collect()
}

#[test]
fn a_tag_keeps_its_id() {
    let mut names = names(&[("a/b", ""), ("a/b", "x"), ("a", "b")]);
    assert_eq!(names.find("a/b", "x"), Some(TagId(1)));
    assert_eq!(names.insert(&"a/b".into(), &"x".into()), Some(TagId(1)));
    assert_eq!((names.len(), names.count(None)), (3, Some(3)));
    assert_eq!(names.find("a/b", "y"), None);
    assert_eq!(names.find("a", ""), None);
}

#[test]
fn levels_of_the_tree() {
    let names = names(&[
        ("u/v1/acme/_raw/t", ""),
        ("u/v1/acme/_raw/p", ""),
        ("u/v1/beta/_raw/t", "x"),
        ("u/v1/beta/_raw/t", "y"),
        ("u", ""),
        ("/odd//t", ""),
    ]);
    let child = |name: &str, tags, has_children| Child {
        name: name.to_owned(),
        tags,
        has_children,
    };
    let root = names.branches(None, None, 10);
    assert_eq!(root, [child("", 1, true), child("u", 5, true)]);
    let v1 = names.branches(Some("u/v1"), None, 10);
    assert_eq!(v1, [child("acme", 2, true), child("beta", 2, true)]);
    assert_eq!(names.branches(Some("u/v1"), Some("acme"), 10), v1[1..]);
    assert_eq!(names.branches(Some("u/v1"), None, 1), v1[..1]);
    // A topic whose payload has several values is a level; its keys are tags and no levels.
    assert_eq!(
        names.branches(Some("u/v1/beta/_raw"), None, 10),
        [child("t", 2, false)]
    );
    assert_eq!(names.branches(Some("u/v1/beta/_raw/t"), None, 10), []);
    assert_eq!(names.branches(Some("none"), None, 10), []);
    assert_eq!(
        (names.count(Some("u/v1/acme")), names.count(Some("x"))),
        (Some(2), None)
    );
    let below = names.below(Some("u/v1/beta"), 1, 10);
    assert_eq!(
        (paths(&names, &below.tags), below.total),
        (vec!["u/v1/beta/_raw/t#y".into()], 2)
    );
}

#[test]
fn matches_in_the_name_come_first() {
    let names = names(&[
        ("pump/station/level", ""),
        ("site/pump-3", ""),
        ("site/old-pump", ""),
        ("site/Pump", ""),
        ("site/data", "PUMP"),
        ("site/pum", ""),
    ]);
    let search = |query: &str, limit| {
        let found = names.search(query, limit);
        (paths(&names, &found.tags), found.total)
    };
    let (found, total) = search("pump", 10);
    let expected = [
        "site/Pump",
        "site/data#PUMP",
        "site/pump-3",
        "site/old-pump",
        "pump/station/level",
    ];
    assert_eq!((found, total), (expected.map(String::from).to_vec(), 5));
    assert_eq!(
        search("pump", 2),
        (expected[..2].iter().map(|s| (*s).to_owned()).collect(), 5)
    );
    assert_eq!(search("SITE pump-", 9), (vec!["site/pump-3".to_owned()], 1));
    assert_eq!(search("  ", 9), (Vec::new(), 0));
    assert_eq!(search("nothing", 9), (Vec::new(), 0));
    // A word does not reach from one tag into the next.
    assert_eq!(search("level\nsite", 9).1, 0);
}

#[test]
fn there_is_no_room_for_everything() {
    let limits = Limits {
        tags: 2,
        bytes: 1 << 20,
    };
    let mut few = Names::new(limits);
    let insert = |names: &mut Names, topic: &str| names.insert(&topic.into(), &"".into());
    assert!(insert(&mut few, "a").is_some() && insert(&mut few, "b").is_some());
    assert_eq!(insert(&mut few, "c"), None);
    assert_eq!(insert(&mut few, "a"), Some(TagId(0)));

    let limits = Limits {
        tags: 1000,
        bytes: 100_000,
    };
    let mut short = Names::new(limits);
    let deep = "x/".repeat(30_000);
    assert_eq!(insert(&mut short, &deep), None);
    assert_eq!(short.levels.len(), 1);
    let taken = (0..1000).filter(|n| insert(&mut short, &format!("a/{n}")).is_some());
    assert!((50..500).contains(&taken.count()));
    let mut roomy = Names::new(LIMITS);
    assert!(insert(&mut roomy, &"x/".repeat(1000)).is_some());
    assert_eq!(roomy.levels.len(), MAX_LEVELS + 1);
}

fn topics() -> impl Strategy<Value = Vec<(String, String)>> {
    let topic = "[aAbB/ä]{1,7}";
    let key = prop_oneof![3 => Just(String::new()), 1 => "[ab$]{1,2}"];
    prop::collection::vec((topic, key), 0..40)
}

proptest! {
    /// The model is a sorted map of all paths.
    #[test]
    fn the_same_as_a_sorted_map(drawn in topics(), query in "[aAbBä/]{1,3}", skip in 0..20_usize) {
        let mut names = Names::new(LIMITS);
        let mut model = BTreeMap::new();
        for (topic, key) in &drawn {
            let id = names.insert(&topic.as_str().into(), &key.as_str().into()).unwrap();
            let levels: Vec<(String, bool)> = topic
                .split('/')
                .map(|level| (level.to_owned(), false))
                .chain((!key.is_empty()).then(|| (key.clone(), true)))
                .collect();
            let known = model.insert(levels, (id, topic.clone(), key.clone()));
            prop_assert!(known.is_none_or(|(known, ..)| known == id));
        }
        prop_assert_eq!(names.len(), model.len());
        let all: Vec<TagId> = model.values().map(|(id, ..)| *id).collect();
        let below = names.below(None, skip, 7);
        prop_assert_eq!(&below.tags[..], &all[skip.min(all.len())..(skip + 7).min(all.len())]);

        for (topic, _) in &drawn {
            let levels: Vec<&str> = topic.split('/').collect();
            let inside = model.keys().filter(|path| {
                path.len() >= levels.len()
                    && path.iter().zip(&levels).all(|((name, key), level)| !key && name == level)
            });
            prop_assert_eq!(names.count(Some(topic)), u32::try_from(inside.count()).ok());
        }

        let word = query.to_lowercase();
        let path = |topic: &str, key: &str| match (key, topic.contains('/')) {
            ("", true) => topic.to_lowercase(),
            ("", false) => format!("/{}", topic.to_lowercase()),
            (key, _) => format!("{topic}/{key}").to_lowercase(),
        };
        let mut expected: Vec<TagId> = model
            .values()
            .filter(|(_, topic, key)| path(topic, key).contains(&word))
            .map(|(id, ..)| *id)
            .collect();
        let found = names.search(&query, 100);
        prop_assert_eq!(found.total, expected.len());
        let mut tags = found.tags;
        tags.sort();
        expected.sort();
        prop_assert_eq!(tags, expected);
    }
}
