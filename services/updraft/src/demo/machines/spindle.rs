//! A milling spindle whose vibration is sampled at 20 kHz. Nothing is averaged on the way: the
//! samples travel raw, in blocks.

use std::f64::consts::TAU;

use proto::Nanos;
use proto::wave::{SampleType, WaveBlock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Sample, Source, time_of};
use crate::demo::ledger::Expected;

/// Hz.
pub(crate) const RATE: u32 = 20_000;
/// What is sampled between two ticks.
pub(crate) const BLOCK: u32 = RATE / 10;
/// m/s² per step of the converter.
const SCALE: f64 = 0.002;

/// Revolutions per second: 11,880 rpm.
const ROTATION: f64 = 198.0;
/// Order and amplitude (m/s²): imbalance, misalignment, tooth passing of a four-edged cutter.
const HARMONICS: [(f64, f64); 4] = [(1.0, 4.0), (2.0, 1.6), (3.0, 0.7), (4.0, 5.5)];
/// Times per revolution that a ball passes the damage in the outer race.
const FAULT_ORDER: f64 = 3.58;
/// The ring of the housing after each impact: Hz, decay per second, m/s².
const RING: (f64, f64, f64) = (4_300.0, 900.0, 9.0);
const NOISE: f64 = 1.2;

#[derive(Debug)]
pub(crate) struct Spindle {
    noise: StdRng,
}

impl Spindle {
    pub(crate) fn new(seed: u64) -> Spindle {
        Spindle {
            noise: StdRng::seed_from_u64(seed),
        }
    }

    fn acceleration(&mut self, sample: u64) -> f64 {
        #[allow(
            clippy::cast_precision_loss,
            reason = "sample numbers stay far below 2^53"
        )]
        let seconds = sample as f64 / f64::from(RATE);
        let harmonics: f64 = HARMONICS
            .iter()
            .map(|(order, amplitude)| amplitude * (TAU * order * ROTATION * seconds).sin())
            .sum();
        let rate = FAULT_ORDER * ROTATION;
        let since_impact = (seconds * rate).fract() / rate;
        let (frequency, decay, amplitude) = RING;
        let ring =
            amplitude * (-decay * since_impact).exp() * (TAU * frequency * since_impact).sin();
        // The sum of three is near enough to a normal distribution.
        let noise: f64 = (0..3).map(|_| self.noise.random_range(-NOISE..NOISE)).sum();
        harmonics + ring + noise
    }

    fn block(&mut self, number: u64, start: Nanos) -> WaveBlock {
        let first_sample = number * u64::from(BLOCK);
        let samples = (0..u64::from(BLOCK)).flat_map(|index| {
            let steps = (self.acceleration(first_sample + index) / SCALE).round();
            #[allow(
                clippy::cast_possible_truncation,
                reason = "a converter saturates, too"
            )]
            let steps = steps as i16;
            steps.to_le_bytes()
        });
        WaveBlock {
            samples: samples.collect::<Vec<u8>>().into(),
            first_sample,
            start: time_of(number, start),
            rate: (RATE, 1),
            scale: SCALE,
            offset: 0.0,
            unit: "m/s²".into(),
            sample_type: SampleType::I16,
        }
    }
}

impl Source for Spindle {
    fn topics(&self) -> Vec<String> {
        vec!["_wave/vibration/x".into()]
    }

    fn tick(&mut self, number: u64, start: Nanos) -> Vec<Sample> {
        let block = self.block(number, start);
        let time = block.start;
        // A block of this size always encodes.
        let payload = block
            .encode()
            .map(|payload| payload.to_vec())
            .unwrap_or_default();
        vec![Sample {
            topic: 0,
            time,
            payload,
            value: Expected::Wave,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other_without_a_gap() {
        let mut spindle = Spindle::new(1);
        let start = Nanos(1_700_000_000_000_000_000);
        for number in 0..3 {
            let sample = spindle.tick(number, start).remove(0);
            let block = WaveBlock::decode(&sample.payload.into()).unwrap();
            assert_eq!(block.first_sample, number * 2000);
            assert_eq!(block.count(), 2000);
            assert_eq!(
                block.start,
                Nanos(start.0 + i64::try_from(number).unwrap() * 100_000_000)
            );
        }
    }

    #[test]
    fn the_converter_is_not_driven_into_its_limits() {
        let mut spindle = Spindle::new(1);
        let peak = (0..20_000)
            .map(|n| spindle.acceleration(n).abs())
            .fold(0.0, f64::max);
        assert!(peak > 10.0 && peak / SCALE < f64::from(i16::MAX), "{peak}");
    }
}
