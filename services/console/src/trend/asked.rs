//! What the link of a trend asks for. Pure.

use std::ops::Range;
use std::time::Duration;

use proto::Nanos;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::error::Problem;
use crate::tags::address::{self, Address};

/// Lines that a person can tell apart, about.
pub(crate) const MAX_TAGS: usize = 12;
const DEFAULT_LAST: &str = "15m";
const MAX_LAST: Duration = Duration::from_secs(400 * 86_400);
const DEFAULT_POINTS: u32 = 1000;
const MAX_POINTS: u32 = 4000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) tags: Vec<Address>,
    pub(crate) stretch: Stretch,
    /// Of a chart, at most.
    pub(crate) points: u32,
    /// Drawn by the server.
    pub(crate) plain: bool,
    /// For each tag, the position of the log from which on values are asked for.
    pub(crate) since: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// Up to now, and as it was written.
    Last(Duration, String),
    Fixed(Range<Nanos>),
}

impl Asked {
    pub(crate) fn parse(query: Option<&str>) -> Result<Asked, Problem> {
        let mut asked = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            asked.take(&name, &value)?;
        }
        asked.finish()
    }

    /// A link to the same with other times; `parameters` are of the time alone.
    pub(crate) fn link(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let tags: Vec<String> = self.texts();
        let mut all: Vec<(&str, &str)> = tags.iter().map(|tag| ("tag", &**tag)).collect();
        all.extend(parameters);
        address::link(path, &all)
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |tag: &Address| address::text(&tag.topic, &tag.key);
        self.tags.iter().map(text).collect()
    }
}

impl Stretch {
    pub(crate) fn range(&self, now: Nanos) -> Range<Nanos> {
        match self {
            Stretch::Fixed(range) => range.clone(),
            Stretch::Last(last, _) => {
                let last = i64::try_from(last.as_nanos()).unwrap_or(i64::MAX);
                Nanos(now.0.saturating_sub(last))..now
            }
        }
    }
}

#[derive(Default)]
struct Parameters {
    tags: Vec<Address>,
    last: Option<String>,
    from: Option<Nanos>,
    to: Option<Nanos>,
    points: Option<u32>,
    plain: bool,
    since: Vec<u64>,
}

impl Parameters {
    fn take(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        match name {
            "tag" if value.is_empty() => {}
            "tag" => {
                let tag = Address::parse(value)?;
                if !self.tags.contains(&tag) {
                    self.tags.push(tag);
                }
            }
            "last" => self.last = Some(value.to_owned()),
            "from" if !value.is_empty() => self.from = Some(moment("from", value)?),
            "to" if !value.is_empty() => self.to = Some(moment("to", value)?),
            "points" => self.points = Some(number("points", value)?),
            "plain" => self.plain = true,
            "since" => {
                let numbers = value.split(',').map(|text| number("since", text));
                self.since = numbers.collect::<Result<_, _>>()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Asked, Problem> {
        if self.tags.len() > MAX_TAGS {
            return bad(format!("a trend shows at most {MAX_TAGS} tags"));
        }
        let stretch = match (self.from, self.to) {
            (None, None) => last(self.last.as_deref().unwrap_or(DEFAULT_LAST))?,
            (Some(from), to) => fixed(from, to.unwrap_or_else(Nanos::now))?,
            (None, Some(_)) => return bad("`to` needs a `from` before it"),
        };
        Ok(Asked {
            tags: self.tags,
            stretch,
            points: self.points.unwrap_or(DEFAULT_POINTS).clamp(10, MAX_POINTS),
            plain: self.plain,
            since: self.since,
        })
    }
}

fn fixed(from: Nanos, to: Nanos) -> Result<Stretch, Problem> {
    match from < to {
        true => Ok(Stretch::Fixed(from..to)),
        false => bad("`from` must lie before `to`"),
    }
}

fn last(text: &str) -> Result<Stretch, Problem> {
    match humantime::parse_duration(text) {
        Ok(last) if (Duration::from_secs(1)..=MAX_LAST).contains(&last) => {
            Ok(Stretch::Last(last, text.to_owned()))
        }
        Ok(_) => bad("`last` lies between 1s and 400d"),
        Err(error) => bad(format!("`last` is a time such as 15m or 8h: {error}")),
    }
}

/// RFC 3339, or what an input for date and time gives (then UTC), or a number since the Unix
/// epoch: seconds, milliseconds or nanoseconds by its length.
pub(crate) fn moment(name: &str, text: &str) -> Result<Nanos, Problem> {
    let found = match text.parse::<i64>() {
        Ok(number) => of_number(number),
        Err(_) => of_text(text),
    };
    found.map_or_else(
        || {
            bad(format!(
                "`{name}` is a time such as 2024-03-01T06:00:00Z or milliseconds, from 1678 to 2262"
            ))
        },
        Ok,
    )
}

fn of_number(number: i64) -> Option<Nanos> {
    let factor = match number.unsigned_abs() {
        0..=99_999_999_999 => 1_000_000_000,
        100_000_000_000..=99_999_999_999_999 => 1_000_000,
        _ => 1,
    };
    number.checked_mul(factor).map(Nanos)
}

fn of_text(text: &str) -> Option<Nanos> {
    let text = text.trim().replace(' ', "T");
    let zoned = OffsetDateTime::parse(&text, &Rfc3339).ok();
    let time = zoned.or_else(|| {
        let seconds = if text.matches(':').count() == 1 {
            ":00"
        } else {
            ""
        };
        let local = format!("{text}{seconds}Z");
        let parsed = PrimitiveDateTime::parse(&local, &Rfc3339).ok()?;
        Some(parsed.assume_utc())
    });
    i64::try_from(time?.unix_timestamp_nanos()).ok().map(Nanos)
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .or_else(|_| bad(format!("`{name}` is a whole number")))
}

fn bad<T>(problem: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::BadRequest(problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_709_272_800_000_000_000;

    #[test]
    fn moments() {
        for (text, nanos) in [
            ("2024-03-01T06:00:00Z", T),
            ("2024-03-01T07:00:00+01:00", T),
            ("2024-03-01T06:00:00.000000001Z", T + 1),
            ("2024-03-01T06:00", T),
            ("2024-03-01 06:00:00", T),
            ("2024-03-01T06:00:00.5", T + 500_000_000),
            ("1709272800", T),
            ("1709272800000", T),
            ("1709272800000000001", T + 1),
            ("-1", -1_000_000_000),
        ] {
            assert_eq!(moment("from", text), Ok(Nanos(nanos)), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "2024-13-01T00:00",
            "9999-01-01T00:00:00Z",
            "1e9",
        ] {
            assert!(moment("from", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links() {
        let asked = Asked::parse(Some("tag=a%2Fb%23k&tag=c&tag=c&tag=&last=8h&points=1")).unwrap();
        assert_eq!(asked.texts(), ["a/b#k", "c"]);
        assert_eq!(asked.points, 10);
        assert!(matches!(asked.stretch, Stretch::Last(..)));
        let range = asked.stretch.range(Nanos(T));
        assert_eq!(range, Nanos(T - 8 * 3600 * 1_000_000_000)..Nanos(T));
        assert_eq!(
            asked.link("/trend", &[("last", "1h")]),
            "/trend?tag=a%2Fb%23k&tag=c&last=1h"
        );

        let asked = Asked::parse(Some("from=1709272800&to=1709272801")).unwrap();
        assert_eq!(
            asked.stretch,
            Stretch::Fixed(Nanos(T)..Nanos(T + 1_000_000_000))
        );
        assert!(matches!(
            Asked::parse(None).unwrap().stretch,
            Stretch::Last(..)
        ));
        let many: String = (0..20).map(|n| format!("tag={n}&")).collect();
        for bad in [
            "from=2&to=1",
            "to=1",
            "last=soon",
            "last=0s",
            "last=100y",
            "points=many",
            "tag=%23k",
            &many,
        ] {
            assert!(Asked::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
