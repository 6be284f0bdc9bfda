//! Trends: one or several tags over time, from the database and the log together.
//!
//! The database answers with its cursor, of the same moment ([`historian::Trend::written`]);
//! everything from there on is in the memory of the console ([`crate::tags`]), which the log feeds.
//! So the two are joined without a gap and without a value twice.
//!
//! ```text
//! asked     what a link asks for; pure
//! join      database and memory put together; pure
//! load      reads both
//! data      /trend/data: what the chart draws
//! follow    /trend/live: what came since
//! csv       /trend/csv: the values themselves
//! page      /trend: the page, and a chart without scripts
//! ```

pub(crate) mod asked;
mod join;

mod load;

mod data;
mod follow;
mod csv;

mod page;

use axum::Router;
use axum::routing::get;

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/trend", get(page::show))
        .route("/trend/data", get(data::show))
        .route("/trend/live", get(follow::follow))
        .route("/trend/csv", get(csv::export))
}
