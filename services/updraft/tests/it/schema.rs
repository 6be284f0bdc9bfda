//! The JSON Schema in `docs/`, against what the executable says and every example in the tree.

use std::path::{Path, PathBuf};
use std::process::Command;

use kit::config;
use serde_json::Value;

const RENEW: &str = "cargo run -- schema > docs/hub.schema.json";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema() -> Value {
    let text = std::fs::read_to_string(root().join("docs/hub.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_schema_in_docs_is_the_one_of_the_executable() {
    let printed = Command::new(env!("CARGO_BIN_EXE_updraft"))
        .arg("schema")
        .output()
        .unwrap();
    let kept = std::fs::read_to_string(root().join("docs/hub.schema.json")).unwrap();
    let current = String::from_utf8(printed.stdout).unwrap();
    assert!(
        kept == current,
        "docs/hub.schema.json is out of date; renew it: {RENEW}"
    );
}

/// What the variables of the examples could hold.
fn value_of(variable: &str) -> String {
    let development = std::fs::read_to_string(root().join("compose/development.env")).unwrap();
    let hash = development
        .lines()
        .find_map(|line| line.strip_prefix("CONSOLE_PASSWORD_HASH="));
    match variable {
        name if name.ends_with("HASH") => hash.unwrap().trim_matches('\'').to_owned(),
        name if name.ends_with("ADDRESS") || name.ends_with("IP") => "10.0.0.1".to_owned(),
        _ => "1".to_owned(),
    }
}

/// Types and schema both accept it.
fn assert_right(name: &str, text: &str) {
    let value = |variable: &str| Some(value_of(variable));
    if let Err(error) = config::from_str_with(name, text, value) {
        panic!("{error}\n{text}");
    }
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Value = serde_saphyr::from_str_with_options(text, options).unwrap();
    let validator = jsonschema::draft7::new(&schema()).unwrap();
    let mistakes: Vec<String> = validator
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(mistakes.is_empty(), "{name}: {mistakes:?}\n{text}");
}

/// The files of the tree that are one node's configuration.
fn examples() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let is_example = |path: &&str| {
        path.ends_with("hub.yaml") || (path.contains("hubs/") && path.ends_with(".yaml"))
    };
    listed
        .lines()
        .filter(is_example)
        .map(|path| root().join(path))
        .collect()
}

#[test]
fn every_example_file_is_accepted_by_types_and_schema() {
    let examples = examples();
    assert!(examples.len() >= 5, "{examples:?}");
    for path in examples.iter().filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(path).unwrap();
        assert_right(&path.display().to_string(), &text);
    }
}

/// The fenced blocks that begin with a section of the file; the later ones are parts of one.
#[test]
fn the_blocks_of_the_readers_documents_are_accepted() {
    let mut found = 0;
    let mut documents = vec![root().join("README.md")];
    documents.extend(
        std::fs::read_dir(root().join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
    );
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if let Some(whole) = completed(block) {
                assert_right(&document.display().to_string(), &whole);
                found += 1;
            }
        }
    }
    assert!(found >= 3, "{found}");
}

/// A block that is none of ours (of Kubernetes, of Compose) is left alone.
fn completed(block: &str) -> Option<String> {
    let sections = schema()["properties"].as_object().unwrap().clone();
    let keys: Vec<&str> = block
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| line.split(':').next())
        .collect();
    let ours = !keys.is_empty() && keys.iter().all(|key| sections.contains_key(*key));
    let has = |key: &str| keys.contains(&key);
    ours.then(|| {
        let hub = if has("hub") {
            ""
        } else {
            "hub: { path: acme }\n"
        };
        let data = if has("data_dir") {
            ""
        } else {
            "data_dir: ./data\n"
        };
        format!("{hub}{data}{block}")
    })
}
