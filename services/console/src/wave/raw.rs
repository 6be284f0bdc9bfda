//! `/wave/raw`: the samples as they are. As CSV with number, time, sample and physical value; as
//! bytes with nothing but the samples, little endian.

use std::fmt::Write;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use proto::Nanos;
use proto::wave::{SampleType, WaveBlock};
use serde::Deserialize;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;

use super::data::{Asked, Stretch};
use super::signal::places;
use super::source;

#[derive(Debug, Deserialize)]
pub(super) struct Format {
    format: Option<String>,
}

pub(super) async fn download(
    State(app): State<App>,
    _viewer: Viewer,
    Query(asked): Query<Asked>,
    Query(format): Query<Format>,
) -> Result<Response, Problem> {
    let Stretch { tag, range } = asked.stretch(&app)?;
    let heads = source::heads(&app, &tag, &range).await?;
    let (blocks, cut) = source::blocks(&app, &tag, &range, &heads).await?;
    if cut {
        let problem = format!(
            "more than {} samples; choose a shorter stretch",
            source::MAX_SAMPLES
        );
        return Err(Problem::BadRequest(problem));
    }
    let cut_out: Vec<_> = blocks
        .into_iter()
        .map(|block| (places(&block, &range), block))
        .collect();
    let types: Vec<SampleType> = cut_out.iter().map(|(_, block)| block.sample_type).collect();
    match format.format.as_deref().unwrap_or("csv") {
        "csv" => Ok(answer(
            "text/csv; charset=utf-8",
            "waveform.csv",
            csv(cut_out),
        )),
        "bin" if types.windows(2).all(|pair| pair[0] == pair[1]) => Ok(answer(
            "application/octet-stream",
            &binary_name(&types),
            binary(cut_out),
        )),
        "bin" => Err(Problem::BadRequest(
            "the blocks have samples of several types; choose a shorter stretch, or CSV".to_owned(),
        )),
        _ => Err(Problem::BadRequest("`format` is csv or bin".to_owned())),
    }
}

type Part = (std::ops::Range<usize>, WaveBlock);

fn answer(
    kind: &'static str,
    name: &str,
    parts: impl Iterator<Item = Bytes> + Send + 'static,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    let parts = parts.map(Ok::<_, std::convert::Infallible>);
    (headers, Body::from_stream(futures::stream::iter(parts))).into_response()
}

/// The name says how to read it.
fn binary_name(types: &[SampleType]) -> String {
    let kind = match types.first() {
        Some(SampleType::I32) => "i32",
        Some(SampleType::F32) => "f32",
        Some(SampleType::F64) => "f64",
        Some(SampleType::I16) | None => "i16",
    };
    format!("waveform.{kind}le")
}

fn binary(parts: Vec<Part>) -> impl Iterator<Item = Bytes> + Send {
    parts.into_iter().map(|(place, block)| {
        let size = block.sample_type.size_bytes();
        block
            .samples
            .slice(place.start * size..place.end.max(place.start) * size)
    })
}

fn csv(parts: Vec<Part>) -> impl Iterator<Item = Bytes> + Send {
    let header = Bytes::from_static(b"number,time_ns,sample,value,unit\r\n");
    let blocks = parts
        .into_iter()
        .map(|(place, block)| lines(place, &block).into());
    std::iter::once(header).chain(blocks)
}

fn lines(place: std::ops::Range<usize>, block: &WaveBlock) -> String {
    let size = block.sample_type.size_bytes();
    let mut text = String::with_capacity(place.len() * 48);
    for index in place {
        let Some(bytes) = block.samples.get(index * size..(index + 1) * size) else {
            break;
        };
        let (sample, number) = sample(block.sample_type, bytes);
        let value = number * block.scale + block.offset;
        let (count, time) = (block.first_sample + index as u64, time(block, index));
        let _ = write!(
            text,
            "{count},{time},{sample},{value},{}\r\n",
            block.unit.replace([',', '"', '\r', '\n'], " ")
        );
    }
    text
}

fn time(block: &WaveBlock, index: usize) -> Nanos {
    let (samples, seconds) = block.rate;
    let nanos = index as i128 * 1_000_000_000 * i128::from(seconds) / i128::from(samples.max(1));
    Nanos(i64::try_from(i128::from(block.start.0) + nanos).unwrap_or(i64::MAX))
}

/// The very digits of the sample, and its value for the scale.
fn sample(kind: SampleType, bytes: &[u8]) -> (String, f64) {
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().unwrap_or([0; N])
    }
    match kind {
        SampleType::I16 => {
            let sample = i16::from_le_bytes(array(bytes));
            (sample.to_string(), sample.into())
        }
        SampleType::I32 => {
            let sample = i32::from_le_bytes(array(bytes));
            (sample.to_string(), sample.into())
        }
        SampleType::F32 => {
            let sample = f32::from_le_bytes(array(bytes));
            (sample.to_string(), sample.into())
        }
        SampleType::F64 => {
            let sample = f64::from_le_bytes(array(bytes));
            (sample.to_string(), sample)
        }
    }
}
