//! `/wave/data`: what the charts draw, as JSON. Times are milliseconds since the Unix epoch.

use std::ops::Range;

use axum::Json;
use axum::extract::{Query, State};
use proto::Nanos;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::tags::address::Address;
use crate::tags::show;
use crate::trend::asked::moment;

use super::signal::{self, Drawn};
use super::source;
use super::spectrum::{self, Spectrum};

/// Corners of a drawn line.
const MAX_POINTS: usize = 4000;
/// A longer stretch has too many samples, whatever the rate.
const MAX_SPAN: i64 = 3600 * 1_000_000_000;
const MIN_SPAN: i64 = 1000;
const DEFAULT_SPAN: i64 = 1_000_000_000;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Asked {
    topic: String,
    #[serde(default)]
    key: String,
    /// The end of the stretch; the newest sample when absent.
    to: Option<String>,
    from: Option<String>,
    /// Where the stretch has its middle; instead of both.
    at: Option<String>,
    points: Option<usize>,
}

/// What is looked at.
pub(super) struct Stretch {
    pub(super) tag: Address,
    pub(super) range: Range<Nanos>,
}

impl Asked {
    /// Around the newest block, unless it says otherwise.
    pub(super) fn stretch(&self, app: &App) -> Result<Stretch, Problem> {
        let tag = Address::new(&self.topic, &self.key)?;
        let newest = source::newest(app, &tag)?;
        let time = |name: &str, text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| moment(name, text)).transpose()
        };
        let (from, to, at) = (
            time("from", &self.from)?,
            time("to", &self.to)?,
            time("at", &self.at)?,
        );
        let (start, end) = match &newest {
            Some(head) => (head.start, head.end()),
            None => (Nanos(Nanos::now().0 - DEFAULT_SPAN), Nanos::now()),
        };
        let span = (end.0 - start.0).clamp(1, MAX_SPAN);
        let range = match (from, to, at) {
            (Some(from), Some(to), _) => from..to,
            (Some(from), None, _) => from..Nanos(from.0.saturating_add(span)),
            (None, Some(to), _) => Nanos(to.0.saturating_sub(span))..to,
            (None, None, Some(at)) => {
                Nanos(at.0.saturating_sub(span / 2))..Nanos(at.0.saturating_add(span / 2))
            }
            (None, None, None) => start..end,
        };
        let span = range.end.0.saturating_sub(range.start.0);
        if !(MIN_SPAN..=MAX_SPAN).contains(&span) {
            let problem = "a waveform is shown for a microsecond to an hour, `from` before `to`";
            return Err(Problem::BadRequest(problem.to_owned()));
        }
        Ok(Stretch { tag, range })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Chart {
    from: f64,
    to: f64,
    unit: String,
    rate: String,
    #[serde(rename = "type")]
    sample_type: String,
    blocks: usize,
    /// From, to, and samples that are missing by their numbers.
    gaps: Vec<(f64, f64, u64)>,
    #[serde(flatten)]
    drawn: Lines,
    spectrum: Option<Bins>,
    notices: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Lines {
    t: Vec<f64>,
    lo: Vec<Option<f64>>,
    hi: Vec<Option<f64>>,
    step: usize,
}

#[derive(Debug, Serialize)]
struct Bins {
    resolution: f64,
    samples: usize,
    f: Vec<f64>,
    a: Vec<f64>,
    /// Frequency and amplitude, the highest first.
    peaks: Vec<(f64, f64)>,
}

pub(super) async fn show(
    State(app): State<App>,
    _viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Json<Chart>, Problem> {
    let Stretch { tag, range } = asked.stretch(&app)?;
    let heads = source::heads(&app, &tag, &range).await?;
    let (blocks, cut) = source::blocks(&app, &tag, &range, &heads).await?;
    let points = asked.points.unwrap_or(1000).clamp(10, MAX_POINTS);
    // Some hundred thousand samples are no work for the tasks that answer requests.
    let computed = tokio::task::spawn_blocking(move || {
        let (samples, rate) = signal::unbroken(&blocks, &range, spectrum::MAX_SAMPLES);
        let drawn = signal::drawn(&blocks, &range, points);
        (drawn, spectrum::spectrum(&samples, rate), range)
    });
    let (drawn, spectrum, range) = computed
        .await
        .map_err(|error| Problem::Unavailable(error.to_string()))?;
    let millis = |time: Nanos| time.0 as f64 / 1e6;
    let newest = heads.heads.last();
    let gaps = signal::gaps(&heads.heads).into_iter();
    Ok(Json(Chart {
        from: millis(range.start),
        to: millis(range.end),
        unit: newest.map(|head| head.unit.clone()).unwrap_or_default(),
        rate: newest
            .map(|head| show::hertz(head.rate))
            .unwrap_or_default(),
        sample_type: newest
            .map(|head| format!("{:?}", head.sample_type).to_lowercase())
            .unwrap_or_default(),
        blocks: heads.heads.len(),
        gaps: gaps
            .map(|gap| (millis(gap.from), millis(gap.to), gap.samples))
            .take(100)
            .collect(),
        drawn: lines(drawn),
        spectrum: spectrum.map(|spectrum| bins(&spectrum, points)),
        notices: notices(&app, cut),
    }))
}

fn notices(app: &App, cut: bool) -> Vec<String> {
    let mut notices = Vec::new();
    if cut {
        notices.push(format!(
            "The stretch has more blocks than are shown at once ({} samples); zoom in to see all.",
            show::count(source::MAX_SAMPLES)
        ));
    }
    if app.historian.is_none() {
        notices.push("This hub has no historian: only the newest blocks are here.".to_owned());
    }
    notices
}

fn lines(drawn: Drawn) -> Lines {
    Lines {
        t: drawn.t,
        lo: drawn.lo,
        hi: drawn.hi,
        step: drawn.step,
    }
}

/// The highest bin of each group, so that no peak is lost.
fn bins(spectrum: &Spectrum, points: usize) -> Bins {
    let group = spectrum.amplitudes.len().div_ceil(points).max(1);
    let (mut f, mut a) = (Vec::new(), Vec::new());
    // What is at 0 Hz is an offset, and would hide all else.
    let mut at = 1;
    for chunk in spectrum
        .amplitudes
        .get(1..)
        .unwrap_or_default()
        .chunks(group)
    {
        let highest = chunk.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        if let Some((index, amplitude)) = highest {
            f.push((at + index) as f64 * spectrum.resolution);
            a.push(*amplitude);
        }
        at += chunk.len();
    }
    let peaks = spectrum.peaks.iter();
    Bins {
        resolution: spectrum.resolution,
        samples: spectrum.samples,
        f,
        a,
        peaks: peaks.map(|peak| (peak.frequency, peak.amplitude)).collect(),
    }
}
