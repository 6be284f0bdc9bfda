//! Reads one tag's trend from the database and from memory.

use historian::{Grid, Trend, TrendQuery};
use proto::Offset;

use crate::app::App;
use crate::error::Problem;
use crate::tags::TagId;
use crate::tags::address::Address;

use super::join::{Joined, join};

/// Values of one tag that are taken from memory.
const MAX_RECENT: usize = 100_000;

/// A trend, and where the log goes on after it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) joined: Joined,
    pub(crate) next: Offset,
    /// Why the database's part is missing.
    pub(crate) problem: Option<String>,
}

pub(crate) async fn load(app: &App, tag: &Address, grid: Grid) -> Loaded {
    let (stored, problem) = match stored(app, tag, grid).await {
        Ok(stored) => (stored, None),
        Err(problem) => (None, Some(problem)),
    };
    let trend = stored.unwrap_or_else(|| Trend::empty(grid));
    let index = app.tags.index();
    let written = trend.written;
    let Some(id) = index.find(&tag.topic, &tag.key) else {
        let next = index.next_offset().max(written.unwrap_or_default());
        let joined = Joined { trend, gap: false };
        return Loaded {
            joined,
            next,
            problem,
        };
    };
    let since = index.recent(id, written.unwrap_or_default(), MAX_RECENT);
    // What could not be held in memory begins where the first one that was held stands.
    let memory = match since.complete {
        true => written.unwrap_or_default(),
        false => (since.entries.first()).map_or(since.next, |entry| entry.offset),
    };
    let next = since.next.max(written.unwrap_or_default());
    Loaded {
        joined: join(trend, memory, &since.entries),
        next,
        problem,
    }
}

async fn stored(app: &App, tag: &Address, grid: Grid) -> Result<Option<Trend>, String> {
    let Some(historian) = &app.historian else {
        return Ok(None);
    };
    let query = TrendQuery {
        stream: app.tags.stream(),
        topic: tag.topic.clone(),
        key: tag.key.clone(),
        grid,
    };
    let trend = historian
        .trend(&query)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Some(trend))
}

/// Tags that nobody knows are a mistake of whoever made the link.
pub(crate) fn known(app: &App, tags: &[Address]) -> Result<Vec<Option<TagId>>, Problem> {
    let index = app.tags.index();
    let loading = app.tags.state().loaded != crate::tags::Loaded::Done && app.historian.is_some();
    let id = |tag: &Address| {
        let id = index.find(&tag.topic, &tag.key);
        if id.is_some() || loading || index.beyond() > 0 {
            return Ok(id);
        }
        let text = crate::tags::show::cut(&crate::tags::address::text(&tag.topic, &tag.key), 200);
        let problem = format!("there is no tag {text:?}; search for it on the page Tags");
        Err(Problem::BadRequest(problem))
    };
    tags.iter().map(id).collect()
}
