//! A demo that runs until the test is over.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Killed when it is dropped, and its nodes with it.
pub(crate) struct Demo {
    process: Child,
    /// Of its console.
    pub(crate) url: String,
    passwords: BTreeMap<String, String>,
}

impl Demo {
    /// Breaks nothing by itself.
    pub(crate) async fn start() -> Demo {
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    pub(crate) fn password(&self, user: &str) -> &str {
        &self.passwords[user]
    }
}

fn start() -> Demo {
    let mut process = Command::new(env!("CARGO_BIN_EXE_updraft-node"))
        .args(["demo", "--keep", "--no-faults", "--plain"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut demo = Demo {
        process,
        url: String::new(),
        passwords: BTreeMap::new(),
    };
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some(url) = line.strip_prefix("console: ") {
            url.trim().clone_into(&mut demo.url);
        }
        if let Some(users) = line.trim().strip_prefix("sign in as ") {
            let users = users.split(", ").filter_map(|user| user.split_once(" / "));
            demo.passwords = users
                .map(|(user, word)| (user.to_owned(), word.to_owned()))
                .collect();
            break;
        }
    }
    // It goes on telling; nobody needs to hear it.
    std::thread::spawn(move || lines.for_each(drop));
    assert!(!demo.url.is_empty() && demo.passwords.len() == 3);
    demo
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
