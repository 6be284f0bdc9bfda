//! The files for the browser, all within this executable.
//!
//! They are served below `/assets/<digest of all of them>/`, so that a browser may keep them for
//! good and modules find each other by relative paths.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use crate::app::App;
use crate::error::Problem;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../assets/", $name)))),*]
    };
}

/// Name below `/assets/<digest>/`, and content.
const FILES: &[(&str, &[u8])] = files![
    "style.css",
    "theme.js",
    "app.js",
    "live.js",
    "lab.js",
    "icon.svg",
    "tags.css",
    "tags.js",
    "trend.css",
    "trend.js",
    "wave.js",
    "vendor/uplot/uPlot.esm.js",
    "vendor/uplot/uPlot.min.css",
    "vendor/uplot/LICENSE"
];

static DIGEST: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in FILES {
        hasher.update(name.as_bytes());
        hasher.update(blake3::hash(content).as_bytes());
    }
    let mut digest = hasher.finalize().to_hex().to_string();
    digest.truncate(16);
    digest
});

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/assets/{digest}/{*name}", get(asset))
        .route("/favicon.ico", get(icon))
}

/// Where the browser finds a file of [`FILES`].
pub(crate) fn url(name: &str) -> String {
    debug_assert!(find(name).is_some(), "{name} is not among the assets");
    format!("/assets/{}/{name}", *DIGEST)
}

fn find(name: &str) -> Option<&'static [u8]> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    found.map(|(_, content)| *content)
}

async fn asset(
    Path((digest, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let content = find(&name).ok_or(Problem::NotFound)?;
    // What an older page asks for by its older name must not be kept under that name.
    let caching = match digest == *DIGEST {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let tag = format!("\"{}\"", *DIGEST);
    let headers = [
        (header::CONTENT_TYPE, content_type(&name).to_owned()),
        (header::CACHE_CONTROL, caching.to_owned()),
        (header::ETAG, tag.clone()),
    ];
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Bytes::from_static(content)).into_response())
}

async fn icon() -> impl IntoResponse {
    let content = find("icon.svg").unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, content_type("icon.svg")),
        (header::CACHE_CONTROL, "public, max-age=86400"),
    ];
    (headers, Bytes::from_static(content))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}
