//! The console: what a hub shows to people in a browser.
//!
//! Pages are rendered on the server ([`page`]) and are whole without JavaScript. What changes by
//! itself comes as Server-Sent Events ([`live`]): a fragment of the page, rendered once per change
//! for everybody who looks, and patched into the page by `assets/app.js`. The log is asked by a
//! fixed number of background tasks, never by a viewer, so that viewers cost the hub nothing.
//!
//! Who asks for what passes the [`auth`] guard first: it finds the session, refuses what comes
//! from another site, and the extractors [`auth::Viewer`], [`auth::Operator`] and [`auth::Admin`]
//! in a handler's signature say which role it needs.
//!
//! # A new page
//! A module with `pub(crate) fn routes() -> Router<App>`, merged in [`serve`]; its handlers take
//! `State<App>` and one of the three extractors, and return `Result<Markup, Problem>` made with
//! [`page::layout`]. What it shares between requests is a field of [`app::Parts`]; what it does in
//! the background is started in [`serve`] beside the other tasks. Files for the browser are listed
//! in [`assets`].

mod config;
mod error;

mod app;
mod serve;

mod auth;
mod page;
mod live;
mod assets;
mod format;

mod overview;
mod tags;
mod trend;
mod wave;
mod audit;
pub mod lab;
mod settings;

mod metrics;

pub use auth::hash_password;
pub use error::Error;
pub use serve::{Console, build};
