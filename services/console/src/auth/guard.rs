//! What every request passes before a handler sees it.
//!
//! Reading is safe from any site, as no site may read the answer; everything else must come from a
//! page of our own. Two things show that: what the browser says of where the request came from,
//! and the token of the session, which only our pages hold.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use kit::tls::is_loopback_host;

use super::{Auth, CSRF_FIELD, Viewer};
use crate::app::App;
use crate::error::Problem;

/// Of a form; larger ones don't exist here.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 10;
const CSRF_HEADER: &str = "x-csrf-token";
/// Made before there is a session, so it has no token.
pub(super) const SIGN_IN: &str = "/sign-in";

pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match admit(&app.auth, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn admit(auth: &Auth, mut request: Request) -> Result<Request, Problem> {
    let headers = request.headers();
    if auth.is_open() && !host(&request).is_some_and(names_this_machine) {
        // A name of somebody else's that leads here would make our pages theirs to read.
        let message = "without users the console answers to localhost alone: add console.users";
        return Err(Problem::Refused(message.to_owned()));
    }
    let cookies = CookieJar::from_headers(headers);
    let session = cookies
        .get(auth.cookie_name())
        .and_then(|cookie| auth.viewer_of(cookie.value()));
    let viewer = session.or_else(|| auth.anybody());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        check_site(headers, host(&request))?;
        if let Some(viewer) = viewer.as_ref().filter(|_| request.uri().path() != SIGN_IN) {
            request = check_token(viewer, request).await?;
        }
    }
    if let Some(viewer) = viewer {
        request.extensions_mut().insert(viewer);
    }
    Ok(request)
}

/// A program that says neither is no browser, and nobody's page makes it do anything.
fn check_site(headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
    let text = |name: header::HeaderName| Some(headers.get(name)?.to_str().unwrap_or("?"));
    let from_here = match (
        text(header::HeaderName::from_static("sec-fetch-site")),
        text(header::ORIGIN),
    ) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => host.is_some_and(|host| {
            let named = origin.split_once("://").map(|(_, named)| named);
            named.is_some_and(|named| named.eq_ignore_ascii_case(host))
        }),
        (None, None) => true,
    };
    match from_here {
        true => Ok(()),
        false => Err(Problem::Refused("this came from another site".to_owned())),
    }
}

async fn check_token(viewer: &Viewer, request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|_| Problem::TooLarge)?;
    let given = match parts.headers.get(CSRF_HEADER) {
        Some(header) => header.to_str().ok().map(str::to_owned),
        None => form_field(&body, CSRF_FIELD),
    };
    if !given.is_some_and(|given| is_token(viewer, &given)) {
        let message = "the form is of another session: go back, load the page again and retry";
        return Err(Problem::Refused(message.to_owned()));
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Compares hashes, whose comparison takes the same time wherever they differ.
fn is_token(viewer: &Viewer, given: &str) -> bool {
    let hash = |text: &str| blake3::hash(text.as_bytes());
    !viewer.csrf.is_empty() && hash(given) == hash(&viewer.csrf)
}

fn form_field(body: &[u8], field: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(body);
    let found = fields.find(|(name, _)| name == field);
    found.map(|(_, value)| value.into_owned())
}

/// What the browser calls this server: HTTP/2 has it in `:authority` instead of a header
/// (RFC 9113 §8.3.1).
fn host(request: &Request) -> Option<&str> {
    let header = request.headers().get(header::HOST);
    let authority = || request.uri().authority().map(Authority::as_str);
    header.map_or_else(authority, |host| host.to_str().ok())
}

fn names_this_machine(host: &str) -> bool {
    let authority = host.parse::<Authority>();
    authority.is_ok_and(|authority| {
        let host = authority.host();
        is_loopback_host(host.trim_start_matches('[').trim_end_matches(']'))
    })
}
