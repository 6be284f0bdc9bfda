//! The frame that all pages share.

use axum::http::Uri;
use kit::config::Role;
use maud::{DOCTYPE, Markup, html};

use crate::app::App;
use crate::assets;
use crate::auth::Viewer;
use crate::error::sentence;

/// Where the navigation leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nav {
    Overview,
    Tags,
    Trend,
    Audit,
    Lab,
    Settings,
}

impl Nav {
    const ALL: [Nav; 6] = [
        Nav::Overview,
        Nav::Tags,
        Nav::Trend,
        Nav::Audit,
        Nav::Lab,
        Nav::Settings,
    ];

    fn title(self) -> &'static str {
        match self {
            Nav::Overview => "Overview",
            Nav::Tags => "Tags",
            Nav::Trend => "Trend",
            Nav::Audit => "Audit",
            Nav::Lab => "Lab",
            Nav::Settings => "Settings",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Nav::Overview => "/",
            Nav::Tags => "/tags",
            Nav::Trend => "/trend",
            Nav::Audit => "/audit",
            Nav::Lab => "/lab",
            Nav::Settings => "/settings",
        }
    }

    fn is_for(self, app: &App, viewer: &Viewer) -> bool {
        match self {
            Nav::Lab => app.lab.is_some(),
            Nav::Settings => viewer.may(Role::Admin),
            _ => true,
        }
    }
}

/// A whole page for `viewer`. `files` are names of [`assets`] that only this page needs: `.js`
/// (loaded as modules) and `.css`. `body` begins with an `h1`.
pub(crate) fn layout(
    app: &App,
    viewer: &Viewer,
    title: &str,
    nav: Nav,
    files: &[&str],
    body: Markup,
) -> Markup {
    let hub = app.hub.hub.path.as_str();
    let head = html! {
        meta name="csrf" content=(viewer.csrf());
        @for file in files {
            (linked(file))
        }
    };
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header.bar {
            a.brand href="/" { (logo()) span.brand-name { "Updraft" } span.mono.hub { (hub) } }
            nav.nav aria-label="Pages" {
                @for item in Nav::ALL.into_iter().filter(|item| item.is_for(app, viewer)) {
                    a href=(item.path()) aria-current=[(item == nav).then_some("page")] {
                        (item.title())
                    }
                }
            }
            div.who { (theme_switch()) (account(viewer)) }
        }
        main #main tabindex="-1" {
            (hint(app, viewer))
            (flash(app, viewer))
            (body)
        }
        p #connection.notice data-state="warn" role="status" hidden {
            "No connection to the console: what you see may be old. Trying again…"
        }
    };
    document(&format!("{title} · {hub}"), head, body)
}

/// A page in a box of its own, for who is not signed in or where something went wrong.
pub(crate) fn bare(title: &str, body: Markup) -> Markup {
    let body = html! {
        main #main.bare {
            p.brand { (logo()) span.brand-name { "Updraft" } }
            (body)
        }
    };
    document(title, html! {}, body)
}

/// Leads to the sign-in page and from there back to `back`.
pub(crate) fn sign_in_path(back: &str) -> String {
    match local_path(back) {
        "/" => "/sign-in".to_owned(),
        back => {
            let query: String = form_urlencoded::Serializer::new(String::new())
                .append_pair("back", back)
                .finish();
            format!("/sign-in?{query}")
        }
    }
}

/// `path` if it is one of this server, else the overview: nobody is led away by a link to us.
pub(crate) fn local_path(path: &str) -> &str {
    let stays = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(['\\', '\r', '\n', '\t'])
        && path.parse::<Uri>().is_ok_and(|uri| uri.host().is_none());
    if stays { path } else { "/" }
}

/// A path of hubs that may be broken after its dots.
pub(crate) fn breakable(path: &str) -> Markup {
    html! { @for level in path.split_inclusive('.') { (level) wbr; } }
}

fn document(title: &str, head: Markup, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Updraft" }
                link rel="icon" type="image/svg+xml" href=(assets::url("icon.svg"));
                link rel="stylesheet" href=(assets::url("style.css"));
                // Not a module: the theme is chosen before the first paint.
                script src=(assets::url("theme.js")) {}
                script type="module" src=(assets::url("app.js")) {}
                (head)
            }
            body { (body) }
        }
    }
}

fn linked(file: &str) -> Markup {
    let url = assets::url(file);
    match file.ends_with(".css") {
        true => html! { link rel="stylesheet" href=(url); },
        false => html! { script type="module" src=(url) {} },
    }
}

fn logo() -> Markup {
    html! {
        svg.logo viewBox="0 0 32 32" aria-hidden="true" {
            path d="M16 4 27 15h-6.5v4h-9v-4H5z" {}
            path d="M8 22h16v2.5H8z" {}
            path d="M4 27h24v2.5H4z" {}
        }
    }
}

/// Works by script alone, so the script shows it.
fn theme_switch() -> Markup {
    html! {
        button #theme.button.quiet type="button" hidden aria-label="Colours: as the system has them" {
            "Auto"
        }
    }
}

fn account(viewer: &Viewer) -> Markup {
    html! {
        @if viewer.is_guest() {
            span.muted { "Guest" }
        } @else {
            span.account { (viewer.name) " " span.badge { (viewer.role) } }
            form method="post" action="/sign-out" {
                (viewer.csrf_field())
                button.button.quiet type="submit" { "Sign out" }
            }
        }
    }
}

fn hint(app: &App, viewer: &Viewer) -> Markup {
    html! {
        @if viewer.is_guest() && app.auth.is_open() {
            p.notice {
                "Everybody on this machine may look, and nobody may change anything. To sign in, "
                "add " code { "console.users" } " to hub.yaml; " code { "updraft passwd" }
                " makes the password's hash."
            }
        }
    }
}

fn flash(app: &App, viewer: &Viewer) -> Markup {
    let (state, role, text) = match app.auth.take_flash(viewer) {
        None => return html! {},
        Some(Ok(text)) => ("ok", "status", text),
        Some(Err(text)) => ("bad", "alert", text),
    };
    html! { p.notice data-state=(state) role=(role) { (sentence(&text)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_led_to() {
        for good in ["/", "/tags?q=a%20b", "/trend?tag=a/b&tag=c"] {
            assert_eq!(local_path(good), good);
        }
        for bad in [
            "",
            "tags",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a\r\nSet-Cookie: x",
            "javascript:alert(1)",
        ] {
            assert_eq!(local_path(bad), "/", "{bad:?}");
        }
        assert_eq!(sign_in_path("/a?b=c"), "/sign-in?back=%2Fa%3Fb%3Dc");
        assert_eq!(sign_in_path("//evil.example"), "/sign-in");
    }
}
