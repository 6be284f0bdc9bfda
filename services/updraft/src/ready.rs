//! `updraft ready`: whether a running node does its work, for people, scripts and health checks
//! of containers that have no other HTTP client.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use kit::config::{self, HostPort, Scalar};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The hub.yaml whose telemetry.listen is asked
    #[arg(short, long, value_name = "FILE", default_value = "hub.yaml")]
    config: PathBuf,
    /// Ask this address instead
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config", value_parser = address)]
    at: Option<HostPort>,
    /// How long an answer may take
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Ask again until the node is ready, for so long
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const MAX_ANSWER_BYTES: usize = 1 << 20;
const ASK_AGAIN: Duration = Duration::from_millis(200);

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let at = match args.at {
        Some(at) => at,
        None => from_config(&args.config)?,
    };
    let deadline = Instant::now() + args.wait;
    let (status, report) = loop {
        match ask_within(&at, args.timeout).await {
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) if Instant::now() < deadline => {
                sleep(ASK_AGAIN).await;
            }
            answer => break answer?,
        }
    };
    match args.json {
        true => println!("{report}"),
        false => lines(&report).iter().for_each(|line| println!("{line}")),
    }
    match status {
        StatusCode::OK => Ok(ExitCode::SUCCESS),
        StatusCode::SERVICE_UNAVAILABLE => Ok(ExitCode::FAILURE),
        other => bail!("http://{at}/readyz answered {other}; is that telemetry.listen of a node?"),
    }
}

async fn ask_within(at: &HostPort, limit: Duration) -> anyhow::Result<(StatusCode, Value)> {
    timeout(limit, ask(at))
        .await
        .with_context(|| format!("http://{at}/readyz: no answer within {limit:?}"))?
        .with_context(|| format!("ask http://{at}/readyz"))
}

/// One line for each part: whether it is ready, and why not.
fn lines(report: &Value) -> Vec<String> {
    let parts = report["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let line = |part: &Value| {
        let name = part["name"].as_str().unwrap_or_default();
        match part["reason"].as_str() {
            _ if part["ready"] == true => format!("{name}: ready"),
            reason => format!("{name}: not ready: {}", reason.unwrap_or("no reason given")),
        }
    };
    parts.iter().map(line).collect()
}

fn address(text: &str) -> Result<HostPort, String> {
    HostPort::parse(text).ok_or_else(|| format!("expected {}", HostPort::EXPECTED))
}

fn from_config(path: &std::path::Path) -> anyhow::Result<HostPort> {
    let config = config::load(path)?;
    let listen = config.telemetry.listen.as_ref().map(|listen| **listen);
    let listen = listen.ok_or_else(|| config.missing("updraft ready", "telemetry.listen"))?;
    Ok(HostPort::to_reach(listen))
}

/// The status of the answer and what it says of each part.
async fn ask(at: &HostPort) -> anyhow::Result<(StatusCode, Value)> {
    let stream = TcpStream::connect(at.as_str()).await?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header(header::HOST, at.as_str())
        .body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let bytes = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    // Another server there would answer with something else; its status is told.
    Ok((
        head.status,
        serde_json::from_slice(&bytes).unwrap_or_default(),
    ))
}
