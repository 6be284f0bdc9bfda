//! The guides do what they say: their commands are run in order, as they stand there.
//!
//! A fenced block ```` ```sh run ```` is run, and so is the file that a block
//! ```` ```yaml file=NAME ```` holds written. All blocks of a guide share one shell and one empty
//! directory. Other blocks are for reading.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

/// Ends at the first command that fails. What was left running ends with the shell.
const BEGIN: &str = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The blocks of a guide that are meant to be run, as one script.
fn script(text: &str) -> String {
    let mut script = String::from(BEGIN);
    let mut info = None;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(fence))) => {
                info = Some(fence.to_string());
            }
            Event::Text(code) => script.extend(info.as_deref().and_then(|i| command(i, &code))),
            Event::End(_) => info = None,
            _ => {}
        }
    }
    script
}

fn command(info: &str, code: &str) -> Option<String> {
    let (language, what) = info.split_once(' ')?;
    match (language, what.split_once('=')) {
        ("sh", None) if what == "run" => Some(code.to_owned()),
        (_, Some(("file", name))) => {
            Some(format!("cat > {name} <<'END-OF-FILE'\n{code}END-OF-FILE\n"))
        }
        _ => None,
    }
}

fn follow(guide: &str) {
    let text = std::fs::read_to_string(root().join("docs/guides").join(guide)).unwrap();
    let script = script(&text);
    assert!(script.len() > BEGIN.len(), "{guide} has nothing to run");
    let directory = tempfile::tempdir().unwrap();
    let home = Path::new(env!("CARGO_BIN_EXE_updraft")).parent().unwrap();
    let python = root().join("target/python/bin");
    let path = format!(
        "{}:{}:{}",
        home.display(),
        python.display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("bash")
        .args(["-x", "-c", &script])
        .current_dir(directory.path())
        .env("PATH", path)
        .env("UPDRAFT_SOURCE", root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{guide}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

#[test]
fn only_what_is_marked_is_run() {
    let text = "```sh\nno\n```\n```sh run\nyes\n```\n```yaml file=a.yaml\nkey: 1\n```\n";
    let expected = format!("{BEGIN}yes\ncat > a.yaml <<'END-OF-FILE'\nkey: 1\nEND-OF-FILE\n");
    assert_eq!(script(text), expected);
}

#[test]
fn automation_engineer() {
    follow("automation-engineer.md");
}

#[test]
fn it_operator() {
    follow("it-operator.md");
}

#[test]
fn reliability_engineer() {
    follow("reliability-engineer.md");
}
