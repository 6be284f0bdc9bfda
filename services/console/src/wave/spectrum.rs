//! The amplitude spectrum of samples. Pure.
//!
//! A Hann window, and amplitudes made so that a sine of amplitude A that falls on a bin has the
//! value A there (Heinzel, Rüdiger and Schilling, "Spectrum and spectral density estimation by the
//! Discrete Fourier transform", 2002, §8). Between two bins it is up to 15 % lower.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;

/// Samples of one transform: a power of two below this.
pub(crate) const MAX_SAMPLES: usize = 1 << 17;
/// Fewer say nothing about frequencies.
const MIN_SAMPLES: usize = 16;
const MAX_PEAKS: usize = 8;
/// Below this share of the highest one, a peak is noise or leakage of the window.
const PEAK_SHARE: f64 = 0.01;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spectrum {
    /// Between two bins, in hertz.
    pub(crate) resolution: f64,
    /// In the unit of the samples, from 0 Hz on.
    pub(crate) amplitudes: Vec<f64>,
    /// The highest first.
    pub(crate) peaks: Vec<Peak>,
    /// How many samples went into it.
    pub(crate) samples: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peak {
    pub(crate) frequency: f64,
    pub(crate) amplitude: f64,
}

/// Of the newest samples, as many as are a power of two; `None` when they are too few or hold what
/// is no number.
pub(crate) fn spectrum(samples: &[f64], rate: f64) -> Option<Spectrum> {
    let length = samples.len().min(MAX_SAMPLES);
    if length < MIN_SAMPLES || !rate.is_finite() || rate <= 0.0 {
        return None;
    }
    let length = 1_usize << length.ilog2();
    let newest = &samples[samples.len() - length..];
    if newest.iter().any(|sample| !sample.is_finite()) {
        return None;
    }
    let amplitudes = amplitudes(newest);
    let resolution = rate / length as f64;
    Some(Spectrum {
        resolution,
        peaks: peaks(&amplitudes, resolution),
        amplitudes,
        samples: length,
    })
}

fn amplitudes(samples: &[f64]) -> Vec<f64> {
    let length = samples.len() as f64;
    // A large offset would leak from 0 Hz into its neighbours.
    let mean = samples.iter().sum::<f64>() / length;
    let hann = |index: usize| 0.5 - 0.5 * (TAU * index as f64 / length).cos();
    let windowed = samples.iter().enumerate();
    let mut input: Vec<f64> = windowed
        .map(|(index, sample)| (sample - mean) * hann(index))
        .collect();
    let transform = RealFftPlanner::new().plan_fft_forward(samples.len());
    let mut output = transform.make_output_vec();
    // It refuses only vectors of another length.
    if transform.process(&mut input, &mut output).is_err() {
        return Vec::new();
    }
    let last = output.len() - 1;
    // The window's sum is half the length; each but the first and the last bin has a twin.
    let scale = |bin: usize| if bin == 0 || bin == last { 2.0 } else { 4.0 } / length;
    let bins = output.iter().enumerate();
    let mut amplitudes: Vec<f64> = bins.map(|(bin, value)| value.norm() * scale(bin)).collect();
    amplitudes[0] = mean.abs();
    amplitudes
}

/// Local maxima, their frequency and height read between the bins.
fn peaks(amplitudes: &[f64], resolution: f64) -> Vec<Peak> {
    // The window spreads what is at 0 Hz over two bins.
    let highest = amplitudes.iter().skip(2).copied().fold(0.0, f64::max);
    let mut peaks: Vec<Peak> = (2..amplitudes.len().saturating_sub(1))
        .filter(|bin| {
            let (before, here, after) =
                (amplitudes[bin - 1], amplitudes[*bin], amplitudes[bin + 1]);
            here > before && here >= after && here > highest * PEAK_SHARE
        })
        .map(|bin| peak(amplitudes, bin, resolution))
        .collect();
    peaks.sort_by(|a, b| b.amplitude.total_cmp(&a.amplitude));
    peaks.truncate(MAX_PEAKS);
    peaks
}

/// With a Hann window the two highest bins of a sine tell where it lies between them.
fn peak(amplitudes: &[f64], bin: usize, resolution: f64) -> Peak {
    let (before, here, after) = (amplitudes[bin - 1], amplitudes[bin], amplitudes[bin + 1]);
    let (neighbour, sign) = if after > before {
        (after, 1.0)
    } else {
        (before, -1.0)
    };
    let ratio = neighbour / here;
    let shift = ((2.0 * ratio - 1.0) / (1.0 + ratio)).clamp(0.0, 0.5);
    // What the window's main lobe takes away at that distance from the bin.
    let lobe = match shift < 1e-9 {
        true => 1.0,
        false => {
            let x = std::f64::consts::PI * shift;
            x.sin() / x / (1.0 - shift * shift)
        }
    };
    Peak {
        frequency: (bin as f64 + sign * shift) * resolution,
        amplitude: here / lobe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(length: usize, rate: f64, parts: &[(f64, f64)]) -> Vec<f64> {
        (0..length)
            .map(|n| {
                let phase = |frequency: f64| TAU * frequency * n as f64 / rate;
                parts
                    .iter()
                    .map(|(frequency, amplitude)| amplitude * phase(*frequency).sin())
                    .sum()
            })
            .collect()
    }

    #[test]
    fn a_sine_on_a_bin_has_its_amplitude_there() {
        for (length, bin, amplitude) in [(1024, 100, 3.0), (4096, 7, 0.25), (16_384, 8000, 1e6)] {
            let rate = 20_000.0;
            let frequency = rate / length as f64 * f64::from(bin);
            let found = spectrum(&sine(length, rate, &[(frequency, amplitude)]), rate).unwrap();
            assert_eq!(found.samples, length);
            let height = found.amplitudes[bin as usize];
            assert!((height / amplitude - 1.0).abs() < 1e-6, "{height}");
            // The Hann window spreads it over one neighbour on each side, and no further.
            let others = found.amplitudes.iter().enumerate();
            let leaked = others
                .filter(|(at, _)| at.abs_diff(bin as usize) > 1)
                .map(|(_, height)| *height)
                .fold(0.0, f64::max);
            assert!(leaked < amplitude * 1e-6, "{leaked}");
            let peak = found.peaks[0];
            assert!((peak.frequency / frequency - 1.0).abs() < 1e-6, "{peak:?}");
            assert!((peak.amplitude / amplitude - 1.0).abs() < 1e-6, "{peak:?}");
        }
    }

    #[test]
    fn peaks_between_the_bins() {
        let rate = 20_000.0;
        let parts = [(1234.5, 2.0), (5000.25, 0.5), (9000.0, 0.1)];
        let mut samples = sine(8192, rate, &parts);
        for sample in &mut samples {
            *sample += 1000.0;
        }
        let found = spectrum(&samples, rate).unwrap();
        assert!((found.amplitudes[0] - 1000.0).abs() < 0.1);
        for (peak, (frequency, amplitude)) in found.peaks.iter().zip(parts) {
            assert!((peak.frequency - frequency).abs() < 0.1, "{peak:?}");
            assert!((peak.amplitude / amplitude - 1.0).abs() < 0.02, "{peak:?}");
        }
    }

    #[test]
    fn what_has_no_spectrum() {
        assert_eq!(spectrum(&[1.0; 15], 1.0), None);
        assert_eq!(spectrum(&[1.0; 64], 0.0), None);
        assert_eq!(spectrum(&[1.0; 64], f64::NAN), None);
        let mut samples = vec![0.0; 64];
        samples[63] = f64::NAN;
        assert_eq!(spectrum(&samples, 1.0), None);
        let still = spectrum(&[0.0; 64], 1.0).unwrap();
        assert!(still.peaks.is_empty() && still.amplitudes.iter().all(|a| *a == 0.0));
        let long = vec![0.0; MAX_SAMPLES * 3];
        assert_eq!(spectrum(&long, 1.0).unwrap().samples, MAX_SAMPLES);
    }
}
