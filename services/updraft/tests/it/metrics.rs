//! The documents about metrics and alerts say what the code does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The words of a text that are names of our metrics.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |word: &&str| word.starts_with("updraft_") && word.matches('_').count() > 1;
    text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .filter(is_name)
        .map(str::to_owned)
        .collect()
}

/// The names in the first columns of the tables.
fn documented() -> BTreeSet<String> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `updraft_"));
    rows.flat_map(|row| names(row.split('|').nth(1).unwrap()))
        .collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names that stand as a string in the code, tests left out.
fn in_code() -> BTreeSet<String> {
    let mut files = Vec::new();
    for directory in ["raft-log/src", "services"] {
        sources(&root().join(directory), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        if file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for literal in code.split('"').skip(1).step_by(2) {
            found.extend(names(literal).into_iter().filter(|name| name == literal));
        }
    }
    found
}

#[test]
fn the_table_holds_every_metric_and_no_other() {
    let (documented, in_code) = (documented(), in_code());
    assert!(in_code.len() > 40, "{in_code:?}");
    let missing: Vec<_> = in_code.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
    let gone: Vec<_> = documented.difference(&in_code).collect();
    assert!(
        gone.is_empty(),
        "docs/metrics.md names {gone:?}, which no code has"
    );
}

#[test]
fn rules_and_boards_ask_for_metrics_that_exist() {
    let documented = documented();
    let mut files = vec![PathBuf::from("compose/prometheus/rules.yml")];
    for board in std::fs::read_dir(root().join("compose/grafana/boards")).unwrap() {
        files.push(Path::new("compose/grafana/boards").join(board.unwrap().file_name()));
    }
    for file in files {
        let asked = names(&read(file.to_str().unwrap()));
        assert!(
            !asked.is_empty() || file.ends_with("values.json"),
            "{file:?}"
        );
        for name in asked {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(&name);
            let known = documented.contains(family) || documented.contains(&name);
            assert!(
                known,
                "{} asks for {name}, which no node has",
                file.display()
            );
        }
    }
}

#[test]
fn every_alert_has_its_paragraph() {
    let (rules, text) = (
        read("compose/prometheus/rules.yml"),
        read("docs/metrics.md"),
    );
    let field = |key: &str| -> Vec<String> {
        let lines = rules.lines().filter_map(|line| line.split_once(key));
        lines.map(|(_, value)| value.trim().to_owned()).collect()
    };
    let alerts = field("- alert:");
    let headings: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(alerts, headings);
    let expected: Vec<String> = alerts
        .iter()
        .map(|alert| format!("docs/metrics.md#{}", alert.to_lowercase()))
        .collect();
    assert_eq!(field("runbook:"), expected);
    for annotation in ["summary:", "description:"] {
        assert_eq!(field(annotation).len(), alerts.len(), "{annotation}");
    }
}
