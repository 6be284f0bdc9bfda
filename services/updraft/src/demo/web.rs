//! The console of the enterprise, in the demo's own process: it shows what happens when the
//! processes of its hub are killed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, anyhow};
use console::lab::Lab;
use kit::service::Context;
use rand::Rng;
use tokio_util::sync::CancellationToken;

use super::story::Web;
use crate::pyramid::quoted;

const USERS: [&str; 3] = ["viewer", "operator", "admin"];
/// Without characters that look like others.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
const PASSWORD_LENGTH: usize = 12;

/// Opens the port. `enterprise` is the hub.yaml of the enterprise; the console's own is written
/// into `directory`.
pub(super) async fn build(
    enterprise: &Path,
    directory: &Path,
    listen: SocketAddr,
    lab: Lab,
) -> anyhow::Result<(console::Console, Web)> {
    let users = USERS.map(|user| (user, password()));
    let doing = || format!("read {}", enterprise.display());
    let hub = std::fs::read_to_string(enterprise).with_context(doing)?;
    let section = tokio::task::spawn_blocking({
        let users = users.clone();
        move || section(listen, &users)
    });
    let yaml = format!("{hub}{}", section.await??);
    let directory = directory.join("console");
    let file = directory.join("hub.yaml");
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&file, &yaml))
        .with_context(|| format!("write {}", file.display()))?;
    let config = kit::config::from_str(&file.display().to_string(), &yaml)?;
    let context = Context::new(config, CancellationToken::new())?;
    let console = console::build(context).await.context("open the console")?;
    let web = Web {
        url: format!("http://{}", console.address()),
        users: users.to_vec(),
    };
    Ok((console.with_lab(lab), web))
}

/// What this process has to say goes to a file: the terminal is for the demo.
pub(super) fn keep_log(directory: &Path) -> anyhow::Result<()> {
    let directory = directory.join("console");
    let file = directory.join("node.log");
    let log = std::fs::create_dir_all(&directory).and_then(|()| File::create(&file));
    let log = log.with_context(|| format!("write {}", file.display()))?;
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(Mutex::new(log));
    // Whoever came first has decided otherwise.
    let _ = subscriber.try_init();
    Ok(())
}

/// The users' names are those of their roles. Hashing takes a moment, as it should.
fn section(listen: SocketAddr, users: &[(&str, String)]) -> anyhow::Result<String> {
    let mut section = format!("console:\n  listen: {}\n  users:\n", quoted(&listen));
    for (name, password) in users {
        let hash = console::hash_password(password).map_err(|error| anyhow!(error))?;
        let hash = quoted(&hash);
        section += &format!("    - {{ name: {name}, role: {name}, password: {hash} }}\n");
    }
    Ok(section)
}

fn password() -> String {
    let mut rng = rand::rng();
    let letters = (0..PASSWORD_LENGTH).map(|_| ALPHABET[rng.random_range(..ALPHABET.len())]);
    letters.map(char::from).collect()
}

impl Web {
    /// For people.
    pub(super) fn lines(&self) -> [String; 2] {
        [
            format!("console: {}", self.url),
            format!("  sign in as {}", self.users()),
        ]
    }

    /// Names and passwords.
    pub(super) fn users(&self) -> String {
        let users = self.users.iter();
        let users: Vec<String> = users
            .map(|(name, password)| format!("{name} / {password}"))
            .collect();
        users.join(", ")
    }
}
