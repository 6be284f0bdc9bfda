//! Blocks put together to one signal. Pure.

use std::ops::Range;

use historian::WaveHead;
use proto::Nanos;
use proto::wave::{SampleType, WaveBlock};

/// Neighbouring blocks belong together when they are not further apart than this share of the time
/// between two samples, or than what clocks differ by.
const SLACK_SAMPLES: f64 = 1.5;
const SLACK_NANOS: f64 = 2e6;

/// What lies between two blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    /// By their numbers; 0 when numbers begin anew or rates differ.
    pub(crate) samples: u64,
}

pub(crate) fn rate(head: (u32, u32)) -> f64 {
    f64::from(head.0) / f64::from(head.1.max(1))
}

/// Samples as numbers in the unit of the block.
pub(crate) fn values(block: &WaveBlock) -> Vec<f64> {
    let raw = raw(block);
    raw.map(|sample| sample * block.scale + block.offset)
        .collect()
}

fn raw(block: &WaveBlock) -> Box<dyn Iterator<Item = f64> + '_> {
    let bytes = &block.samples[..];
    fn each<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
        bytes.chunks_exact(N).map(|chunk| {
            let mut array = [0; N];
            array.copy_from_slice(chunk);
            array
        })
    }
    match block.sample_type {
        SampleType::I16 => Box::new(each(bytes).map(|b| i16::from_le_bytes(b).into())),
        SampleType::I32 => Box::new(each(bytes).map(|b| i32::from_le_bytes(b).into())),
        SampleType::F32 => Box::new(each(bytes).map(|b| f32::from_le_bytes(b).into())),
        SampleType::F64 => Box::new(each(bytes).map(f64::from_le_bytes)),
    }
}

/// Whether `next` goes on where `head` ends.
pub(crate) fn continues(head: &WaveHead, next: &WaveHead) -> bool {
    let numbered = next.first_sample == head.first_sample.saturating_add(head.count);
    let apart = next.start.0 as f64 - head.end().0 as f64;
    let slack = (SLACK_SAMPLES * 1e9 / rate(head.rate)).max(SLACK_NANOS);
    // A clock that is set changes the time, but not the numbers.
    next.rate == head.rate && numbered && apart.abs() <= slack.max(1e9 * 0.05)
}

pub(crate) fn gaps(heads: &[WaveHead]) -> Vec<Gap> {
    let pairs = heads.iter().zip(heads.iter().skip(1));
    let apart = pairs.filter(|(head, next)| !continues(head, next));
    apart
        .map(|(head, next)| Gap {
            from: head.end(),
            to: next.start,
            samples: match next.rate == head.rate {
                true => next
                    .first_sample
                    .saturating_sub(head.first_sample.saturating_add(head.count)),
                false => 0,
            },
        })
        .collect()
}

/// The samples of the last blocks that follow each other without a gap and lie in the stretch.
pub(crate) fn unbroken(blocks: &[WaveBlock], range: &Range<Nanos>, most: usize) -> (Vec<f64>, f64) {
    let mut parts: Vec<Vec<f64>> = Vec::new();
    let mut later: Option<WaveHead> = None;
    let mut count = 0;
    for block in blocks.iter().rev() {
        let head = WaveHead::of(block);
        let joined = later
            .as_ref()
            .is_none_or(|later| continues(&head, later) && later.unit == head.unit);
        if !joined || count >= most {
            break;
        }
        let part = inside(block, range);
        count += part.len();
        parts.push(part);
        later = Some(head);
    }
    let samples: Vec<f64> = parts.into_iter().rev().flatten().collect();
    let rate = later.map_or(0.0, |head| rate(head.rate));
    (samples[samples.len().saturating_sub(most)..].to_vec(), rate)
}

fn inside(block: &WaveBlock, range: &Range<Nanos>) -> Vec<f64> {
    let place = places(block, range);
    values(block)
        .get(place)
        .map(<[f64]>::to_vec)
        .unwrap_or_default()
}

/// Which samples of a block lie in the stretch.
pub(crate) fn places(block: &WaveBlock, range: &Range<Nanos>) -> Range<usize> {
    let per_nano = rate(block.rate) / 1e9;
    let place = |time: Nanos| {
        let at = ((time.0 as f64 - block.start.0 as f64) * per_nano).ceil();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped"
        )]
        let at = at.clamp(0.0, block.count() as f64) as usize;
        at
    };
    place(range.start)..place(range.end)
}

/// A line with at most `2 × points` corners, and `None` between blocks that do not follow each
/// other. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) t: Vec<f64>,
    pub(crate) lo: Vec<Option<f64>>,
    pub(crate) hi: Vec<Option<f64>>,
    /// Samples of one corner; 1 when each is drawn.
    pub(crate) step: usize,
}

pub(crate) fn drawn(blocks: &[WaveBlock], range: &Range<Nanos>, points: usize) -> Drawn {
    let total: usize = blocks.iter().map(|block| places(block, range).len()).sum();
    let step = total.div_ceil(points.max(1)).max(1);
    let mut drawn = Drawn {
        step,
        ..Drawn::default()
    };
    let mut before: Option<WaveHead> = None;
    for block in blocks {
        let head = WaveHead::of(block);
        if before
            .as_ref()
            .is_some_and(|before| !continues(before, &head))
        {
            drawn.push(head.start.0 as f64 / 1e6, None, None);
        }
        drawn.block(block, range);
        before = Some(head);
    }
    drawn
}

impl Drawn {
    fn push(&mut self, t: f64, lo: Option<f64>, hi: Option<f64>) {
        self.t.push(t);
        self.lo.push(lo);
        self.hi.push(hi);
    }

    fn block(&mut self, block: &WaveBlock, range: &Range<Nanos>) {
        let place = places(block, range);
        let values = values(block);
        let per_sample = 1e3 / rate(block.rate);
        let start = block.start.0 as f64 / 1e6;
        let (first, step) = (place.start, self.step);
        let Some(inside) = values.get(place) else {
            return;
        };
        for (index, chunk) in inside.chunks(step).enumerate() {
            let at = first + index * step;
            let middle = at as f64 + (chunk.len() - 1) as f64 / 2.0;
            let finite = || chunk.iter().copied().filter(|value| value.is_finite());
            let lo = finite().min_by(f64::total_cmp);
            let hi = finite().max_by(f64::total_cmp);
            self.push(start + middle * per_sample, lo, hi);
        }
    }
}

#[cfg(test)]
mod tests;
