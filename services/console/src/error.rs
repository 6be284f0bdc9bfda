//! Why the console can't run, and what a page answers instead of itself.

use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use kit::config::{ConfigError, Role};
use kit::listen::BindError;
use maud::html;
use raft_log::client::ClientError;

use crate::page;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("console: configuration")]
    Config(#[from] ConfigError),
    #[error("console")]
    Bind(#[from] BindError),
    #[error("console: the log of this hub")]
    Log(#[from] ClientError),
    #[error("console: the historian")]
    Historian(#[from] historian::OpenError),
    #[error("console: serving pages")]
    Serve(#[from] std::io::Error),
    #[error("console: a background task panicked")]
    Task,
}

/// What a request gets in place of what it asked for. The text is for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// Sign in, and come back here.
    #[error("sign in first")]
    SignIn { back: String },
    /// The same, for what no person reads.
    #[error("sign in first")]
    Unauthorized,
    #[error("this needs the role {needs}; {name} is {role}")]
    Forbidden {
        needs: Role,
        name: String,
        role: Role,
    },
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("there is no such page")]
    NotFound,
    #[error("the request is larger than what this page takes")]
    TooLarge,
    #[error("{reason}; try again in {} s", wait.as_secs().max(1))]
    TooMany { reason: String, wait: Duration },
    /// Something behind the console does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Problem::SignIn { .. } => StatusCode::SEE_OTHER,
            Problem::Unauthorized => StatusCode::UNAUTHORIZED,
            Problem::Forbidden { .. } | Problem::Refused(_) => StatusCode::FORBIDDEN,
            Problem::BadRequest(_) => StatusCode::BAD_REQUEST,
            Problem::NotFound => StatusCode::NOT_FOUND,
            Problem::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Problem::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Problem::SignIn { .. } | Problem::Unauthorized => "Not signed in",
            Problem::Forbidden { .. } => "Not for this role",
            Problem::Refused(_) => "Refused",
            Problem::BadRequest(_) => "Not understood",
            Problem::NotFound => "Not found",
            Problem::TooLarge => "Too large",
            Problem::TooMany { .. } => "Too many at once",
            Problem::Unavailable(_) => "Not available",
        }
    }
}

impl From<FormRejection> for Problem {
    fn from(rejection: FormRejection) -> Problem {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge,
            _ => Problem::BadRequest(rejection.body_text()),
        }
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Problem {
        Problem::Unavailable(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Problem::SignIn { back } = &self {
            return Redirect::to(&page::sign_in_path(back)).into_response();
        }
        let text = sentence(&self.to_string());
        let body = page::bare(
            self.title(),
            html! {
                h1 { (self.title()) }
                p { (text) }
                p { a href="/" { "To the overview" } }
            },
        );
        let mut response = (self.status(), body).into_response();
        if let Problem::TooMany { wait, .. } = self {
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// A message of ours as people write it.
pub(crate) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(char::to_uppercase);
    let mut text: String = first.into_iter().flatten().chain(letters).collect();
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}
