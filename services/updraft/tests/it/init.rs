//! `updraft init` as a person meets it: with flags, with questions, and with what is there.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn init(directory: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_updraft"))
        .args(["init", "--dir"])
        .arg(directory)
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn check(directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_updraft"))
        .arg("check")
        .current_dir(directory)
        .env("PGPASSWORD", "x")
        .output()
        .unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const FLAGS: [&str; 6] = [
    "--layer",
    "edge",
    "--path",
    "acme.line-1",
    "--parent",
    "none",
];

#[test]
fn what_it_writes_check_accepts() {
    let directory = tempfile::tempdir().unwrap();
    let new = directory.path().join("line 1");
    let written = init(&new, &FLAGS);
    assert!(written.status.success(), "{}", error(&written));
    let printed = String::from_utf8(written.stdout).unwrap();
    let quoted = format!("cd '{}' && updraft", new.display());
    let ends = format!("then:\n  {quoted} check\n  {quoted} run\n");
    assert!(printed.ends_with(&ends), "{printed}");
    let checked = check(&new);
    assert!(checked.status.success(), "{}", error(&checked));
    // What the first line promises to an editor is there.
    let text = std::fs::read_to_string(new.join("hub.yaml")).unwrap();
    let schema = text
        .lines()
        .next()
        .unwrap()
        .split("$schema=./")
        .nth(1)
        .unwrap();
    let schema = std::fs::read_to_string(new.join(schema)).unwrap();
    assert!(schema.contains("json-schema.org/draft-07"), "{schema}");
}

#[test]
fn a_file_that_is_there_stays_unless_force_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hub.yaml");
    std::fs::write(&file, "mine").unwrap();
    let refused = init(directory.path(), &FLAGS);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        error(&refused).contains("--force overwrites it"),
        "{}",
        error(&refused)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");

    let forced = init(
        directory.path(),
        &[&FLAGS[..], &["--force", "--no-schema"]].concat(),
    );
    assert!(forced.status.success(), "{}", error(&forced));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("path: acme.line-1") && !text.contains("$schema"),
        "{text}"
    );
    assert!(!directory.path().join("hub.schema.json").exists());
}

#[test]
fn without_a_terminal_a_missing_flag_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for (flags, expected) in [
        (&[][..], "--layer is missing"),
        (&["--layer", "site"], "--path is missing"),
        (&["--layer", "site", "--path", "a"], "--parent is missing"),
        (
            &["--layer", "site", "--path", "a..b"],
            "expected a hub path",
        ),
        (
            &["--parent", "site:1"],
            "expected a URL such as https://site.acme:7443, or none",
        ),
        (
            &["--collector", "s7=plc"],
            "expected opcua=opc.tcp://host:4840 or modbus=host:502",
        ),
        (
            &["--collector", "opcua=plc"],
            "expected the address of an OPC UA server",
        ),
    ] {
        let output = init(directory.path(), flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(error(&output).contains(expected), "{}", error(&output));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// A terminal of its own, by util-linux' `script`; what is typed waits for its question.
struct Terminal {
    child: std::process::Child,
    screen: String,
}

impl Terminal {
    fn start(directory: &Path, flags: &str) -> Terminal {
        let updraft = env!("CARGO_BIN_EXE_updraft");
        let command = format!("'{updraft}' init --dir '{}' {flags}", directory.display());
        let child = Command::new("script")
            .args([
                "--quiet",
                "--flush",
                "--return",
                "--command",
                &command,
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Terminal {
            child,
            screen: String::new(),
        }
    }

    fn answer(&mut self, question: &str, keys: &str) {
        self.wait_for(question);
        self.screen.clear();
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(keys.as_bytes())
            .unwrap();
    }

    fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.screen.contains(text) {
            let read = self
                .child
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut buffer)
                .unwrap();
            assert!(read > 0, "it ended without {text:?}: {}", self.screen);
            self.screen += &String::from_utf8_lossy(&buffer[..read]);
        }
    }

    fn end(mut self) -> (bool, String) {
        let mut rest = Vec::new();
        self.child
            .stdout
            .as_mut()
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        self.screen += &String::from_utf8_lossy(&rest);
        (self.child.wait().unwrap().success(), self.screen)
    }
}

const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";

#[test]
fn on_a_terminal_it_asks() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(directory.path(), "");
    terminal.answer("Which layer", &format!("{DOWN}{ENTER}"));
    terminal.answer("Where is it?", &format!("acme._x{ENTER}"));
    // Refused with the words of the file's own check; the answer can be mended.
    terminal.answer("none beginning with", &format!("\x7f\x7fx{ENTER}"));
    terminal.answer(
        "uplink of the hub above",
        &format!("http://127.0.0.1:7443{ENTER}"),
    );
    terminal.answer("Which database", ENTER);
    terminal.answer("${PGPASSWORD}", ENTER);
    terminal.answer("How many nodes", ENTER);
    terminal.answer("A machine to read?", &format!("modbus=10.0.0.6:502{ENTER}"));
    terminal.answer("A machine to read?", ENTER);
    terminal.answer("Where do MQTT clients connect?", ENTER);
    terminal.answer("Serve the web console?", &format!("n{ENTER}"));
    terminal.answer("Write ", ENTER);
    let (done, screen) = terminal.end();
    assert!(done && screen.contains("updraft run"), "{screen}");
    let checked = check(directory.path());
    assert!(checked.status.success(), "{}", error(&checked));
    let text = std::fs::read_to_string(directory.path().join("hub.yaml")).unwrap();
    for expected in [
        "  path: acme.x\n",
        "  uplink: http://127.0.0.1:7443\n",
        "    url: \"postgres://updraft:${PGPASSWORD}@localhost/plant\"\n",
        "      address: 10.0.0.6:502\n",
        "\n# console:\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn what_a_flag_says_is_not_asked_and_a_no_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let flags = "--layer enterprise --path acme --historian none --nodes 1 \
                 --collector modbus=m:1 --mqtt-listen 127.0.0.1:1 --console";
    let mut terminal = Terminal::start(directory.path(), flags);
    terminal.answer("Write ", &format!("n{ENTER}"));
    let (done, screen) = terminal.end();
    assert!(!done && screen.contains("nothing was written"), "{screen}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
