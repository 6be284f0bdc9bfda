//! The tag browser: every tag of this hub's log in a tree, searched, with live values.
//!
//! ```text
//! names     the tree and the search; pure
//! rate      updates per second; pure
//! recent    the newest values of all tags; pure
//! index     names and values behind locks: what everybody asks
//! feed      the task that fills it from the log and the database
//! show      values as people read them; pure
//! address   how a tag stands in a link
//! browse    /tags: the tree and the list
//! one       /tags/one: one tag
//! watch     live values of the rows on a screen
//! ```

mod names;
mod rate;
mod recent;

pub(crate) mod index;
mod feed;

pub(crate) mod show;
pub(crate) mod address;

mod browse;
mod one;
mod watch;

use std::sync::{PoisonError, RwLock};

use axum::Router;
use axum::routing::get;
use proto::Nanos;

use crate::app::App;

pub(crate) use feed::run;
pub(crate) use names::TagId;
#[cfg(test)]
pub(crate) use recent::ring_of;
pub(crate) use recent::{Recent, RecentValue};
pub(crate) use watch::ticks;

use index::Index;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/tags", get(browse::show))
        .route("/tags/list", get(browse::list))
        .route("/tags/tree", get(browse::branches))
        .route("/tags/find", get(browse::find))
        .route("/tags/live", get(watch::follow))
        .route("/tags/one", get(one::show))
        .route("/tags/one/live", get(one::follow))
}

/// What all requests and the feed share.
#[derive(Debug)]
pub(crate) struct Tags {
    index: Index,
    /// Ids of tags mean something only to whom this number was given.
    run: u64,
    state: RwLock<State>,
    rendered: watch::Rendered,
}

/// How well the index is fed.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The log's name, as a writer has it.
    stream: Option<String>,
    pub(crate) loaded: Loaded,
    /// Records that are not in the index yet; `None` when the log says nothing.
    pub(crate) behind: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// There is no historian.
    Nothing,
    Loading,
    Done,
    Failed(String),
}

impl Tags {
    pub(crate) fn new(has_historian: bool) -> Tags {
        let loaded = match has_historian {
            true => Loaded::Loading,
            false => Loaded::Nothing,
        };
        Tags {
            index: Index::default(),
            // A browser takes it as a number.
            run: Nanos::now().0.unsigned_abs() >> 12,
            state: RwLock::new(State {
                stream: None,
                loaded,
                behind: None,
            }),
            rendered: watch::Rendered::default(),
        }
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    fn rendered(&self) -> &watch::Rendered {
        &self.rendered
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    pub(crate) fn state(&self) -> State {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// Of the log that is followed, as a writer names it.
    pub(crate) fn stream(&self) -> Option<String> {
        self.state().stream
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn set_stream(&self, stream: String) {
        self.change(|state| state.stream = Some(stream));
    }

    fn set_loaded(&self, loaded: Loaded) {
        self.change(|state| state.loaded = loaded);
    }

    fn heard(&self, behind: Option<u64>) {
        self.change(|state| state.behind = behind);
    }
}
