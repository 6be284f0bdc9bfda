//! Who asks, and what they may.
//!
//! [`guard`] looks at every request first; after it, a handler that takes a [`Viewer`], an
//! [`Operator`] or an [`Admin`] runs only for who is one. [`sign_in`] makes sessions
//! ([`session`]) out of passwords ([`password`]), the slower the more often it fails
//! ([`throttle`]).

mod password;
mod throttle;
mod session;
mod guard;
mod sign_in;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use kit::config::{ConsoleConfig, Role};
use maud::{Markup, html};

use crate::app::App;
use crate::error::Problem;

pub(crate) use guard::{MAX_BODY_BYTES, guard};
pub use password::hash_password;
use password::{Passwords, Verdict};
pub(crate) use session::SessionInfo;
use session::{Account, Sessions, Token};
pub(crate) use sign_in::routes;
use throttle::Throttle;

/// Name of the hidden field with the session's token against requests that other sites make up.
pub(crate) const CSRF_FIELD: &str = "csrf";

/// Somebody who may look: signed in, or anybody when there are no users.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Absent when there are no users.
    session: Option<session::Key>,
    csrf: String,
}

/// Somebody who may also give orders.
#[derive(Clone, Debug)]
pub(crate) struct Operator(pub(crate) Viewer);

/// Somebody who may also see the settings.
#[derive(Clone, Debug)]
pub(crate) struct Admin(pub(crate) Viewer);

/// Users, sessions and failures; all of it bounded.
#[derive(Debug)]
pub(crate) struct Auth {
    passwords: Passwords,
    sessions: Mutex<Sessions>,
    throttle: Mutex<Throttle>,
    /// Everybody may look.
    open: bool,
    /// The browser reaches us over TLS.
    secure: bool,
}

impl Auth {
    pub(crate) fn new(config: &ConsoleConfig) -> Auth {
        let sessions = Sessions::new(*config.session_idle, *config.session_limit);
        Auth {
            passwords: Passwords::new(&config.users),
            sessions: Mutex::new(sessions),
            throttle: Mutex::default(),
            open: config.users.is_empty(),
            secure: *config.tls,
        }
    }

    /// Whether there are no users, so that everybody is a viewer.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn users(&self) -> Vec<(String, Role)> {
        self.passwords.users()
    }

    /// Whether the viewer may still look, for what goes on after the request; it counts as use.
    pub(crate) fn is_valid(&self, viewer: &Viewer) -> bool {
        let key = viewer.session.as_ref();
        key.is_none_or(|key| self.sessions().touch(Instant::now(), key).is_some())
    }

    /// Something to tell at the top of the viewer's next page.
    pub(crate) fn flash(&self, viewer: &Viewer, outcome: Result<String, String>) {
        if let Some(key) = &viewer.session {
            self.sessions().flash(key, outcome);
        }
    }

    pub(crate) fn take_flash(&self, viewer: &Viewer) -> Option<Result<String, String>> {
        let key = viewer.session.as_ref()?;
        self.sessions().take_flash(key)
    }

    pub(crate) fn signed_in(&self) -> Vec<SessionInfo> {
        self.sessions().list(Instant::now())
    }

    /// Ends a session by the number that [`Auth::signed_in`] gave it.
    pub(crate) fn end(&self, number: u64) -> Option<String> {
        self.sessions().end(number)
    }

    fn anybody(&self) -> Option<Viewer> {
        self.open.then(|| Viewer {
            name: "guest".to_owned(),
            role: Role::Viewer,
            session: None,
            csrf: String::new(),
        })
    }

    fn viewer_of(&self, cookie: &str) -> Option<Viewer> {
        let key = Token::parse(cookie)?.key();
        let session = self.sessions().touch(Instant::now(), &key)?;
        Some(Viewer {
            name: session.account.name,
            role: session.account.role,
            session: Some(key),
            csrf: session.csrf,
        })
    }

    fn sign_out(&self, viewer: &Viewer) {
        if let Some(key) = &viewer.session {
            self.sessions().remove(key);
        }
    }

    /// A session for whoever knows the password; it takes as long for a name that nobody has.
    async fn sign_in(&self, name: &str, password: &str, from: IpAddr) -> Result<Token, Problem> {
        let wait = self.throttle().begin(Instant::now(), name, from);
        wait.map_err(|wait| Problem::TooMany {
            reason: "too many failed sign-ins".to_owned(),
            wait,
        })?;
        match self.passwords.verify(name, password).await {
            Verdict::Right(role) => {
                self.throttle().succeeded(name, from);
                let name = name.to_owned();
                let account = Account { name, role, from };
                Ok(self.sessions().open(Instant::now(), account))
            }
            Verdict::Wrong => Err(Problem::Refused("name or password is wrong".to_owned())),
            Verdict::Busy => Err(Problem::TooMany {
                reason: "too many people are signing in".to_owned(),
                wait: password::BUSY_PAUSE,
            }),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cookie_name(&self) -> &'static str {
        // A browser takes a cookie of the prefix only over TLS and from this host alone.
        match self.secure {
            true => "__Host-updraft",
            false => "updraft",
        }
    }
}

impl Viewer {
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Belongs into every form that is posted.
    pub(crate) fn csrf_field(&self) -> Markup {
        html! { input type="hidden" name=(CSRF_FIELD) value=(self.csrf); }
    }

    /// For the header `X-CSRF-Token` of scripts.
    pub(crate) fn csrf(&self) -> &str {
        &self.csrf
    }

    pub(crate) fn is_guest(&self) -> bool {
        self.session.is_none()
    }

    pub(crate) fn is_session(&self, info: &SessionInfo) -> bool {
        self.session.as_ref().is_some_and(|key| info.is(key))
    }

    fn require(self, needs: Role) -> Result<Viewer, Problem> {
        match self.may(needs) {
            true => Ok(self),
            false => Err(Problem::Forbidden {
                needs,
                name: self.name,
                role: self.role,
            }),
        }
    }
}

impl FromRequestParts<App> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Viewer, Problem> {
        let viewer = parts.extensions.get::<Viewer>().cloned();
        viewer.ok_or_else(|| {
            let accept = parts.headers.get(header::ACCEPT);
            let is_page = parts.method == Method::GET
                && accept.is_some_and(|accept| accept.to_str().is_ok_and(|a| a.contains("html")));
            let path = parts.uri.path_and_query();
            match path.filter(|_| is_page) {
                Some(path) => Problem::SignIn {
                    back: path.to_string(),
                },
                None => Problem::Unauthorized,
            }
        })
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Operator, Problem> {
        let viewer = Viewer::from_request_parts(parts, app).await?;
        viewer.require(Role::Operator).map(Operator)
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Admin, Problem> {
        let viewer = Viewer::from_request_parts(parts, app).await?;
        viewer.require(Role::Admin).map(Admin)
    }
}

impl Deref for Operator {
    type Target = Viewer;

    fn deref(&self) -> &Viewer {
        &self.0
    }
}

impl Deref for Admin {
    type Target = Viewer;

    fn deref(&self) -> &Viewer {
        &self.0
    }
}
