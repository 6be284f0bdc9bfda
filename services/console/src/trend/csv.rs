//! `/trend/csv`: the values themselves, streamed: a page of them is in memory at a time.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::Range;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use historian::{Body as Stored, Place, Row, ValuesQuery};
use proto::{Nanos, Quality, Sequence};

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::tags::address::{self, Address};
use crate::tags::{Recent, RecentValue, show};

use super::asked::Asked;
use super::load;

/// Rows of a page.
const PAGE: u32 = 1000;
/// Values of one tag that are taken from memory.
const MAX_RECENT: usize = 100_000;

const HEADER: &str = "tag,time,time_ns,value,quality\r\n";

pub(super) async fn export(
    State(app): State<App>,
    _viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let asked = Asked::parse(query.as_deref())?;
    if asked.tags.is_empty() {
        return Err(Problem::BadRequest("choose at least one tag".to_owned()));
    }
    load::known(&app, &asked.tags)?;
    let export = Export {
        app,
        range: asked.stretch.range(Nanos::now()),
        waiting: asked.tags.into(),
        current: None,
        begun: false,
    };
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"trend.csv\"",
        ),
    ];
    let body = futures::stream::unfold(export, |mut export| async move {
        let page = export.next().await?;
        Some((page, export))
    });
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Export {
    app: App,
    range: Range<Nanos>,
    waiting: VecDeque<Address>,
    current: Option<Current>,
    begun: bool,
}

/// The tag that is being written.
struct Current {
    tag: Address,
    after: Option<Place>,
    /// What is in memory and, for all that is known, not in the database.
    recent: Vec<Recent>,
    /// The database was read to its end.
    stored: bool,
}

type Page = Result<Bytes, std::io::Error>;

impl Export {
    async fn next(&mut self) -> Option<Page> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Ok(Bytes::from_static(HEADER.as_bytes())));
        }
        loop {
            let mut current = match self.current.take() {
                Some(current) => current,
                None => self.begin().await?,
            };
            let page = match current.stored {
                false => self.page(&mut current).await,
                true => {
                    return Some(Ok(self.rest(&current).into()));
                }
            };
            self.current = Some(current);
            match page {
                // The connection is cut off, so that nobody takes half a file for a whole one.
                Err(error) => return Some(Err(std::io::Error::other(error))),
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Some(Ok(text.into())),
            }
        }
    }

    /// What is in memory is looked at before the database, so that nothing falls between the two;
    /// what was written meanwhile is left out of it later.
    async fn begin(&mut self) -> Option<Current> {
        let tag = self.waiting.pop_front()?;
        let written = self.written().await.unwrap_or_default();
        let index = self.app.tags.index();
        let id = index.find(&tag.topic, &tag.key);
        let recent = id.map(|id| index.recent(id, written, MAX_RECENT).entries);
        let stored = self.app.historian.is_none();
        Some(Current {
            tag,
            after: None,
            recent: recent.unwrap_or_default(),
            stored,
        })
    }

    async fn written(&self) -> Option<proto::Offset> {
        let (historian, stream) = (self.app.historian.as_ref()?, self.app.tags.stream()?);
        historian.cursor(&stream).await.ok().flatten()
    }

    async fn page(&self, current: &mut Current) -> historian::Result<String> {
        let mut text = String::new();
        let Some(historian) = &self.app.historian else {
            return Ok(text);
        };
        let query = ValuesQuery {
            topic: current.tag.topic.clone(),
            key: current.tag.key.clone(),
            range: self.range.clone(),
            after: current.after,
            limit: PAGE,
        };
        let page = historian.values(&query).await?;
        (current.after, current.stored) = (page.next, page.next.is_none());
        let known: HashSet<(Nanos, Sequence)> = page
            .rows
            .iter()
            .map(|row| (row.time, row.sequence))
            .collect();
        current
            .recent
            .retain(|entry| !known.contains(&(entry.time, entry.sequence)));
        for row in &page.rows {
            stored_line(&mut text, &current.tag, row);
        }
        Ok(text)
    }

    fn rest(&self, current: &Current) -> String {
        let mut text = String::new();
        let inside = current
            .recent
            .iter()
            .filter(|entry| self.range.contains(&entry.time));
        for entry in inside {
            let value = match &entry.value {
                RecentValue::Text(value) => value.to_string(),
                RecentValue::Bool(value) => value.to_string(),
                RecentValue::Null => String::new(),
                value => match value.number() {
                    Some(number) => number.to_string(),
                    None => continue,
                },
            };
            line(&mut text, &current.tag, entry.time, &value, entry.quality);
        }
        text
    }
}

fn stored_line(text: &mut String, tag: &Address, row: &Row) {
    let value = match &row.body {
        Stored::Number { number, .. } => number.to_string(),
        Stored::Bool { value, .. } => value.to_string(),
        Stored::Text { value, .. } => value.clone(),
        _ => String::new(),
    };
    line(text, tag, row.time, &value, row.body.quality());
}

fn line(text: &mut String, tag: &Address, time: Nanos, value: &str, quality: Quality) {
    let tag = address::text(&tag.topic, &tag.key);
    let (_, word) = show::quality(quality);
    let (tag, value, utc) = (field(&tag), field(value), show::utc(time));
    let _ = write!(text, "{tag},{utc},{time},{value},{word}\r\n");
}

/// RFC 4180 §2.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        for (text, written) in [
            ("21.5", "21.5"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(field(text), written);
        }
    }
}
