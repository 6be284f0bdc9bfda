//! Waveforms: the samples of blocks around a time, their spectrum, and the samples themselves.
//!
//! ```text
//! spectrum  amplitudes and peaks of samples; pure
//! signal    blocks as one signal: gaps, what is drawn, what is transformed; pure
//! source    blocks from the database, and from the log itself what is not written yet
//! data      /wave/data: what the charts draw
//! raw       /wave/raw: the samples as they are
//! page      /wave
//! ```

mod spectrum;
mod signal;

mod source;

mod data;
mod raw;

mod page;

use axum::Router;
use axum::routing::get;

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/wave", get(page::show))
        .route("/wave/data", get(data::show))
        .route("/wave/raw", get(raw::download))
}
