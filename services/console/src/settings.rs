//! The settings: what is in force on this node, who the users are, and who is signed in.

mod sections;

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::response::Redirect;
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use tracing::info;

use crate::app::App;
use crate::auth::{Admin, SessionInfo};
use crate::error::Problem;
use crate::format::duration;
use crate::page::{self, Nav};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/settings", get(show))
        .route("/settings/sessions/end", post(end))
}

async fn show(State(app): State<App>, admin: Admin) -> Markup {
    let body = html! {
        h1 { "Settings" }
        (sessions(&admin, &app.auth.signed_in()))
        (users(&app))
        section aria-labelledby="in-force" {
            h2 #in-force { "In force on this node" }
            p.muted {
                "As read from " code { "hub.yaml" } " at the start, with what it left to the "
                "defaults. Secrets are not shown. To change it, edit the file and start again."
            }
            div.grid.sections { (sections::sections(&app.hub)) }
        }
    };
    page::layout(&app, &admin, "Settings", Nav::Settings, &[], body)
}

fn users(app: &App) -> Markup {
    html! {
        section aria-labelledby="users" {
            h2 #users { "Users" }
            div.card.scroll {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Role" } } }
                    tbody {
                        @for (name, role) in app.auth.users() {
                            tr { th scope="row" { (name) } td { (role) } }
                        }
                    }
                }
            }
        }
    }
}

fn sessions(admin: &Admin, sessions: &[SessionInfo]) -> Markup {
    html! {
        section aria-labelledby="sessions" {
            h2 #sessions { "Signed in" }
            div.card.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "Name" }
                            th scope="col" { "Role" }
                            th scope="col" { "From" }
                            th.number scope="col" { "For" }
                            th.number scope="col" { "Unused for" }
                            th scope="col" { span.visually-hidden { "Actions" } }
                        }
                    }
                    tbody { @for session in sessions { (row(admin, session)) } }
                }
            }
        }
    }
}

fn row(admin: &Admin, session: &SessionInfo) -> Markup {
    html! {
        tr {
            th scope="row" {
                (session.name)
                @if admin.is_session(session) { " " span.badge { "this one" } }
            }
            td { (session.role) }
            td.mono { (session.from) }
            td.number { (duration(session.age)) }
            td.number { (duration(session.idle)) }
            td {
                form method="post" action="/settings/sessions/end" {
                    (admin.csrf_field())
                    input type="hidden" name="number" value=(session.number);
                    button.button type="submit"
                        aria-label=(format!("Sign out {}, session {}", session.name, session.number)) {
                        "Sign out"
                    }
                }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct End {
    number: u64,
}

async fn end(
    State(app): State<App>,
    admin: Admin,
    given: Result<Form<End>, FormRejection>,
) -> Result<Redirect, Problem> {
    let Form(End { number }) = given?;
    let outcome = match app.auth.end(number) {
        Some(name) => {
            info!(
                by = admin.name,
                user = name,
                number,
                "signed out by an admin"
            );
            Ok(format!("{name} was signed out"))
        }
        None => Err("that session had ended already".to_owned()),
    };
    app.auth.flash(&admin, outcome);
    Ok(Redirect::to("/settings"))
}
