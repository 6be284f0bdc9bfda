//! The sign-in page, and the way out.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use maud::{Markup, html};
use serde::Deserialize;
use tracing::{info, warn};

use super::guard::SIGN_IN;
use super::{Auth, Viewer};
use crate::app::App;
use crate::error::{Problem, sentence};
use crate::page;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route(SIGN_IN, get(show).post(sign_in))
        .route("/sign-out", post(sign_out))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Back {
    back: String,
}

#[derive(Deserialize)]
struct SignIn {
    name: String,
    password: String,
    #[serde(default)]
    back: String,
}

async fn show(
    State(app): State<App>,
    viewer: Result<Viewer, Problem>,
    Query(Back { back }): Query<Back>,
) -> Response {
    match viewer {
        Ok(_) => Redirect::to(page::local_path(&back)).into_response(),
        Err(_) => form(&app, "", &back, None).into_response(),
    }
}

async fn sign_in(
    State(app): State<App>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    cookies: CookieJar,
    given: Result<Form<SignIn>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(given) = given?;
    let signed_in = app.auth.sign_in(&given.name, &given.password, from.ip());
    match signed_in.await {
        Ok(token) => {
            info!(user = given.name, %from, "signed in");
            app.metrics.sign_in("ok");
            let cookie = cookie(&app.auth, token.text());
            let back = Redirect::to(page::local_path(&given.back));
            Ok((cookies.add(cookie), back).into_response())
        }
        Err(problem) => {
            let slowed = matches!(problem, Problem::TooMany { .. });
            // A flood of attempts must not become a flood of lines.
            if !slowed {
                warn!(user = given.name, %from, "sign-in failed");
            }
            app.metrics.sign_in(if slowed { "slowed" } else { "wrong" });
            Ok(refused(&app, &given, problem))
        }
    }
}

/// The form again, with the reason, under the status and the headers of the problem.
fn refused(app: &App, given: &SignIn, problem: Problem) -> Response {
    let reason = sentence(&problem.to_string());
    let (mut parts, _) = problem.into_response().into_parts();
    if parts.status == StatusCode::FORBIDDEN {
        parts.status = StatusCode::UNAUTHORIZED;
    }
    let body = form(app, &given.name, &given.back, Some(&reason)).into_response();
    Response::from_parts(parts, body.into_body())
}

fn form(app: &App, name: &str, back: &str, reason: Option<&str>) -> Markup {
    let hub = app.hub.hub.path.as_str();
    page::bare(
        "Sign in",
        html! {
            h1 { "Sign in" }
            p.muted { "Hub " span.mono { (hub) } }
            @if let Some(reason) = reason {
                p.notice data-state="bad" role="alert" { (reason) }
            }
            form.stack method="post" action=(SIGN_IN) {
                input type="hidden" name="back" value=(back);
                div.field {
                    label for="name" { "Name" }
                    input #name name="name" value=(name) autocomplete="username"
                        autocapitalize="none" spellcheck="false" maxlength="64" required
                        autofocus[name.is_empty()];
                }
                div.field {
                    label for="password" { "Password" }
                    input #password name="password" type="password"
                        autocomplete="current-password" maxlength="1024" required
                        autofocus[!name.is_empty()];
                }
                button.button.primary type="submit" { "Sign in" }
            }
        },
    )
}

async fn sign_out(State(app): State<App>, viewer: Viewer, cookies: CookieJar) -> impl IntoResponse {
    app.auth.sign_out(&viewer);
    info!(user = viewer.name, "signed out");
    let cookie = cookie(&app.auth, String::new());
    (cookies.remove(cookie), Redirect::to(SIGN_IN))
}

/// Without an expiry of its own: the browser forgets it when it ends, the server before.
fn cookie(auth: &Auth, value: String) -> Cookie<'static> {
    Cookie::build((auth.cookie_name(), value))
        .http_only(true)
        .secure(auth.secure)
        .same_site(SameSite::Strict)
        .path("/")
        .build()
}
