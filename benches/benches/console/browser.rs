//! Who asks the console over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One connection that stays open.
pub(crate) struct Browser {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Browser {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Browser> {
        let stream = TcpStream::connect(address)
            .await
            .context("connect to the console")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Browser {
            sender,
            host: address.to_string(),
        })
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<String> {
        let body = self.open(path).await?.into_body().collect().await?;
        Ok(String::from_utf8(body.to_bytes().to_vec())?)
    }

    async fn open(&mut self, path: &str) -> anyhow::Result<Response<Incoming>> {
        let request = Request::get(path)
            .header("host", &self.host)
            .header("accept", "text/html")
            .body(Empty::new())?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        ensure!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        Ok(response)
    }
}

/// Many who look at the list of tags.
pub(crate) struct Viewers {
    messages: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Viewers {
    pub(crate) async fn start(console: SocketAddr, count: usize) -> anyhow::Result<Viewers> {
        let mut viewers = Viewers {
            messages: Arc::default(),
            tasks: JoinSet::new(),
        };
        let page = Browser::connect(console).await?.get("/tags").await?;
        let run = between(&page, "data-run=\"").context("the page has no list")?;
        let ids: Vec<&str> = page
            .match_indices("data-tag=\"")
            .filter_map(|(at, _)| between(&page[at..], "data-tag=\""))
            .collect();
        let path = format!("/tags/live?run={run}&ids={}", ids.join(","));
        for _ in 0..count {
            let mut browser = Browser::connect(console).await?;
            let mut body = browser.open(&path).await?.into_body();
            let messages = Arc::clone(&viewers.messages);
            viewers.tasks.spawn(async move {
                // The connection lives as long as its browser.
                let _browser = browser;
                while let Some(Ok(frame)) = body.frame().await {
                    if frame
                        .data_ref()
                        .is_some_and(|data| data.starts_with(b"data: "))
                    {
                        messages.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Ok(viewers)
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn between<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once('"')?.0)
}
