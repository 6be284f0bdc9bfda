//! A real Prometheus, started by the test with a configuration, a port and a directory of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PROMETHEUS: &str = "/usr/bin/prometheus";

/// Killed when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    child: Child,
}

/// One result of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: std::collections::BTreeMap<String, String>,
    pub value: f64,
}

impl Prometheus {
    /// Scrapes `targets` every second, as job `updraft`, and evaluates the rules in `rules`.
    pub fn start(
        directory: &Path,
        port: u16,
        targets: &[SocketAddr],
        rules: &Path,
    ) -> Result<Prometheus> {
        if !Path::new(PROMETHEUS).exists() {
            bail!("{PROMETHEUS} is missing; run .ci/setup");
        }
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [ {rules:?} ]\n\
             scrape_configs:\n  - job_name: updraft\n    static_configs: [ {{ targets: {targets:?} \
             }} ]\n"
        );
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).context("write prometheus.yml")?;
        let log = File::create(directory.join("prometheus.log"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = Command::new(PROMETHEUS)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start prometheus")?;
        Ok(Prometheus { address, child })
    }

    /// What a query yields now.
    pub async fn query(&self, query: &str) -> Result<Vec<Sample>> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = get(self.address, &format!("/api/v1/query?query={query}")).await?;
        let answer: Value = serde_json::from_str(&answer).context("read the answer")?;
        let results = answer["data"]["result"].as_array();
        let results = results.with_context(|| format!("refused: {answer}"))?;
        results.iter().map(sample).collect()
    }
}

fn sample(result: &Value) -> Result<Sample> {
    let labels = result["metric"].as_object().context("no labels")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Sample {
        labels: labels
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        value: text(&result["value"][1]).parse()?,
    })
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of an answer with status 200.
pub async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer comes whole, and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    if !head
        .lines()
        .next()
        .is_some_and(|line| line.contains(" 200 "))
    {
        bail!("{path}: {head}\n{body}");
    }
    Ok(body.to_owned())
}

/// `promtool` with arguments and its standard input; its output, when it is content.
pub fn promtool(arguments: &[&str], directory: &Path, input: Option<&Path>) -> Result<String> {
    let input: Stdio = match input {
        Some(path) => File::open(path)?.into(),
        None => Stdio::null(),
    };
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .stdin(input)
        .output()
        .context("start promtool; run .ci/setup if it is missing")?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if !output.status.success() {
        bail!("promtool {}: {text}", arguments.join(" "));
    }
    Ok(text)
}

/// Our rules, as `compose/` mounts them.
#[must_use]
pub fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/prometheus")
}
