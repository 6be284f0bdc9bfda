//! A real browser: Chromium without a window, driven through WebDriver.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};
use updraft::pyramid::free_ports;

use crate::wait::until;

const START_LIMIT: Duration = Duration::from_secs(30);
/// Without these Chromium asks its maker's hosts for this and that.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// One browser window and its driver's process, which is killed when this is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: WebDriver,
    process: Child,
    screenshots: PathBuf,
    _profile: TempDir,
}

/// Light or dark, as the system would prefer it.
#[derive(Clone, Copy, Debug)]
pub enum Scheme {
    Light,
    Dark,
}

impl Browser {
    /// Screenshots go to `screenshots`.
    pub async fn start(screenshots: &Path) -> Result<Browser> {
        std::fs::create_dir_all(screenshots).context("create the screenshots' directory")?;
        let port = free_ports(1)?[0];
        let profile = TempDir::new().context("create a profile")?;
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // With the browser that it starts, so that both can be ended.
            .process_group(0)
            .spawn()
            .context("start chromedriver; .ci/setup installs it")?;
        let mut process = Guard(Some(process));
        let driver = connect(port, profile.path()).await?;
        let process = process.0.take().context("keep chromedriver")?;
        Ok(Browser {
            driver,
            process,
            screenshots: screenshots.to_owned(),
            _profile: profile,
        })
    }

    /// What it is driven with.
    pub fn driver(&self) -> &WebDriver {
        &self.driver
    }

    /// The size of the page in CSS pixels.
    pub async fn size(&self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.tools("Emulation.setDeviceMetricsOverride", metrics)
            .await
    }

    pub async fn scheme(&self, scheme: Scheme) -> Result<()> {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let feature = json!({ "name": "prefers-color-scheme", "value": value });
        self.tools(
            "Emulation.setEmulatedMedia",
            json!({ "features": [feature] }),
        )
        .await
    }

    async fn tools(&self, command: &str, parameters: Value) -> Result<()> {
        let tools = self.driver.cdp();
        tools
            .send_raw(command, parameters)
            .await
            .with_context(|| format!("ask the browser for {command}"))?;
        Ok(())
    }

    /// Keeps what is on the screen as `<name>.png`.
    pub async fn screenshot(&self, name: &str) -> Result<()> {
        let file = self.screenshots.join(format!("{name}.png"));
        self.driver.screenshot(&file).await?;
        Ok(())
    }

    /// What the page complained about since this was asked last: errors of scripts, refused
    /// content, and requests to other hosts than 127.0.0.1.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let console = self.driver.get_log("browser").await?;
        let mut complaints: Vec<String> = console
            .into_iter()
            .filter(|entry| entry.level == "SEVERE")
            .map(|entry| entry.message)
            .collect();
        for entry in self.driver.get_log("performance").await? {
            let event: Value = serde_json::from_str(&entry.message)?;
            complaints.extend(strange_request(&event["message"]));
        }
        Ok(complaints)
    }

    /// Runs axe-core over the page: the rules of WCAG 2.1 A and AA that it breaks, with where.
    pub async fn accessibility(&self, axe: &str) -> Result<Vec<String>> {
        self.driver.execute(axe, Vec::new()).await?;
        let script = "const done = arguments[0]; \
            axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}) \
            .then(r => done(r.violations), e => done([{id: String(e), nodes: []}]));";
        let found = self.driver.execute_async(script, Vec::new()).await?;
        let found = found.json().as_array().cloned().unwrap_or_default();
        Ok(found.iter().map(violation).collect())
    }

    pub async fn quit(self) -> Result<()> {
        self.driver.clone().quit().await?;
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        kill(&mut self.process);
    }
}

/// Kills a driver that nobody took.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            kill(process);
        }
    }
}

/// The driver and its browser. They may have ended; nobody can be told.
fn kill(process: &mut Child) {
    if let Some(group) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = process.wait();
}

async fn connect(port: u16, profile: &Path) -> Result<WebDriver> {
    let mut capabilities = ChromeCapabilities::new();
    for argument in ARGUMENTS {
        capabilities.add_arg(argument)?;
    }
    capabilities.add_arg(&format!("--user-data-dir={}", profile.display()))?;
    capabilities.set_browser_log_level(LoggingPrefsLogLevel::All)?;
    capabilities.set_logging_prefs("performance", LoggingPrefsLogLevel::All)?;
    let server = format!("http://127.0.0.1:{port}");
    until("chromedriver answers", START_LIMIT, async || {
        let driver = WebDriver::new(&server, capabilities.clone()).await;
        driver.map_err(|error| error.to_string())
    })
    .await
}

/// A request that leaves this machine.
fn strange_request(event: &Value) -> Option<String> {
    if event["method"] != "Network.requestWillBeSent" {
        return None;
    }
    let url = event["params"]["request"]["url"].as_str()?;
    let known = ["http://127.0.0.1:", "data:", "blob:", "about:", "chrome:"];
    let strange = !known.iter().any(|start| url.starts_with(start));
    strange.then(|| format!("request to {url}"))
}

fn violation(violation: &Value) -> String {
    let nodes = violation["nodes"].as_array().cloned().unwrap_or_default();
    let wheres: Vec<String> = nodes
        .iter()
        .take(5)
        .map(|node| format!("{} ({})", node["html"], node["failureSummary"]))
        .collect();
    format!("{}: {}", violation["id"], wheres.join("; "))
}

/// The checks of axe-core, as `.ci/setup` has installed them.
pub fn axe() -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root.join("target/node/node_modules/axe-core/axe.min.js");
    match std::fs::read_to_string(&file) {
        Ok(script) => Ok(script),
        Err(error) => bail!("{}: {error}; .ci/setup installs it", file.display()),
    }
}
