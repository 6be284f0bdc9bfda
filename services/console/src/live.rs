//! Server-Sent Events: what changes by itself, to everybody who looks.
//!
//! A [`Feed`] is rendered once per change, whoever looks; its viewers share the bytes, and one who
//! reads slowly misses what was in between and gets the newest. A page follows a feed with
//! `data-live="/live/…"` on the element whose content the feed renders; `assets/app.js` does the
//! rest. [`respond`] also takes any other stream of [`frame`]s, for what each viewer sees alone.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use maud::PreEscaped;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::auth::{Auth, Viewer};
use crate::error::Problem;

/// Streams that are open at once; each costs a connection and a task.
const MAX_VIEWERS: usize = 512;
/// How often a stream says that it is alive, and asks whether its viewer may still look.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The newest state of something: HTML, and the same as a [`frame`].
#[derive(Debug)]
pub(crate) struct Feed(watch::Sender<(Arc<str>, Bytes)>);

impl Default for Feed {
    fn default() -> Feed {
        Feed(watch::Sender::new(("".into(), Bytes::new())))
    }
}

impl Feed {
    /// Sends it to all who look, unless it is what they have.
    pub(crate) fn publish(&self, html: &str) {
        self.0.send_if_modified(|(known, bytes)| {
            let changed = **known != *html;
            if changed {
                (*known, *bytes) = (html.into(), frame("message", html));
            }
            changed
        });
    }

    /// What was published last, for a page that then follows.
    pub(crate) fn current(&self) -> PreEscaped<String> {
        PreEscaped(self.0.borrow().0.to_string())
    }

    /// The newest frame and those that follow.
    pub(crate) fn follow(&self) -> impl Stream<Item = Bytes> + Send + use<> {
        WatchStream::new(self.0.subscribe())
            .filter_map(|(_, frame)| async move { Some(frame).filter(|frame| !frame.is_empty()) })
    }
}

/// One event on the wire. `message` is what `EventSource.onmessage` gets.
pub(crate) fn frame(event: &str, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + 32);
    if event != "message" {
        let _ = writeln!(text, "event: {event}");
    }
    for line in data.split(['\n', '\r']) {
        let _ = writeln!(text, "data: {line}");
    }
    text.push('\n');
    text.into()
}

/// The places for viewers.
#[derive(Debug)]
pub(crate) struct Seats(Arc<Semaphore>);

impl Default for Seats {
    fn default() -> Seats {
        Seats(Arc::new(Semaphore::new(MAX_VIEWERS)))
    }
}

/// Answers with `frames` until they end, the viewer's session ends or the console does.
pub(crate) fn respond(
    app: &App,
    viewer: &Viewer,
    frames: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Response, Problem> {
    let seat = Arc::clone(&app.seats.0);
    let seat = seat.try_acquire_owned().map_err(|_| Problem::TooMany {
        reason: "too many live views are open".to_owned(),
        wait: CHECK_EVERY,
    })?;
    app.metrics.live(1);
    let stream = LiveStream {
        frames: Box::pin(frames),
        check: check_interval(),
        viewer: viewer.clone(),
        app: app.clone(),
        shutdown: app.shutdown.clone(),
        ended: false,
        _seat: seat,
    };
    let body = futures::stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok::<_, Infallible>(frame), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct LiveStream {
    frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    check: Interval,
    viewer: Viewer,
    app: App,
    shutdown: CancellationToken,
    ended: bool,
    _seat: OwnedSemaphorePermit,
}

impl LiveStream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            frame = self.frames.next() => frame,
            _ = self.check.tick() => Some(self.check()),
        }
    }

    fn check(&mut self) -> Bytes {
        let auth: &Auth = &self.app.auth;
        if auth.is_valid(&self.viewer) {
            return Bytes::from_static(b":\n\n");
        }
        self.ended = true;
        frame("ended", "the session has ended")
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.app.metrics.live(-1);
    }
}

fn check_interval() -> Interval {
    let mut check = interval(CHECK_EVERY);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        for (event, data, expected) in [
            ("message", "a", "data: a\n\n"),
            ("ended", "", "event: ended\ndata: \n\n"),
            (
                "message",
                "a\nevent: b\r\n",
                "data: a\ndata: event: b\ndata: \ndata: \n\n",
            ),
        ] {
            assert_eq!(frame(event, data), expected);
        }
    }

    #[tokio::test]
    async fn a_slow_viewer_gets_the_newest() {
        let feed = Feed::default();
        let mut slow = Box::pin(feed.follow());
        feed.publish("1");
        assert_eq!(slow.next().await.unwrap(), "data: 1\n\n");
        feed.publish("2");
        feed.publish("3");
        assert_eq!(slow.next().await.unwrap(), "data: 3\n\n");
        feed.publish("3");
        let nothing = futures::future::poll_immediate(slow.next()).await;
        assert_eq!(nothing, None);
    }
}
