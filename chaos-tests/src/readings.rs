//! What is sent: the readings of a real machine, or generated ones where the file is missing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// Numenta Anomaly Benchmark: 22,695 temperatures of a machine, one every five minutes. An hour
/// of local time comes twice, so 12 timestamps do.
const NAB: &str = "../../shared/data/nab/machine_temperature_system_failure.csv";
/// How many are generated in its place.
const GENERATED: usize = 22_695;

/// One value of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Since the Unix epoch, UTC.
    pub time_ns: i64,
    pub value: f64,
}

impl PartialEq for Reading {
    /// Equal to the bit.
    fn eq(&self, other: &Reading) -> bool {
        (self.time_ns, self.value.to_bits()) == (other.time_ns, other.value.to_bits())
    }
}

impl Eq for Reading {}

/// A CSV file and what stands in it.
#[derive(Clone, Debug)]
pub struct Readings {
    pub file: PathBuf,
    pub all: Vec<Reading>,
}

impl Readings {
    /// The real ones. Where their file is missing, says so and generates as many into `directory`.
    pub fn real(directory: &Path) -> Result<Readings> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(NAB);
        Readings::real_or_generated(file, directory)
    }

    fn real_or_generated(file: PathBuf, directory: &Path) -> Result<Readings> {
        if file.exists() {
            return Readings::read(file);
        }
        eprintln!(
            "{} is missing: using {GENERATED} generated readings instead",
            file.display()
        );
        Readings::generated(directory, GENERATED)
    }

    /// The same for every run.
    pub fn generated(directory: &Path, count: usize) -> Result<Readings> {
        let mut text = String::from("timestamp,value\n");
        for number in 0..count as u64 {
            let time = UNIX_EPOCH + Duration::from_secs(1_386_000_000 + 300 * number);
            let time = humantime::format_rfc3339_seconds(time).to_string();
            let time = time.trim_end_matches('Z').replace('T', " ");
            // Digits that no short decimal and no f32 holds.
            let value = 70.0 + (number as f64 / 7.0).sin() * 20.0;
            writeln!(text, "{time},{value:?}")?;
        }
        let file = directory.join("readings.csv");
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Readings::read(file)
    }

    fn read(file: PathBuf) -> Result<Readings> {
        let text = std::fs::read_to_string(&file);
        let text = text.with_context(|| format!("read {}", file.display()))?;
        let lines = text
            .lines()
            .skip(1)
            .filter(|line| !line.trim().is_empty())
            .map(|line| reading(line).with_context(|| format!("{line:?} in {}", file.display())));
        let all = lines.collect::<Result<_>>()?;
        Ok(Readings { file, all })
    }

    /// How many moments come more than once.
    pub fn repeated_times(&self) -> usize {
        let distinct: BTreeSet<i64> = self.all.iter().map(|reading| reading.time_ns).collect();
        self.all.len() - distinct.len()
    }
}

/// `2013-12-02 21:15:00,73.96732207`
fn reading(line: &str) -> Result<Reading> {
    let (time, value) = line.trim().split_once(',').context("no comma")?;
    let time: SystemTime = humantime::parse_rfc3339_weak(time)?;
    let nanos = time.duration_since(UNIX_EPOCH)?.as_nanos();
    Ok(Reading {
        time_ns: i64::try_from(nanos)?,
        value: value.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_to_the_bit() {
        let found = reading("2013-12-02 21:20:00,74.93588199999998").unwrap();
        let expected = Reading {
            time_ns: 1_386_019_200_000_000_000,
            value: 74.935_881_999_999_98,
        };
        assert_eq!(found, expected);
        assert!(reading("2013-12-02 21:20:00").is_err());
    }

    #[test]
    fn a_missing_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.csv");
        let readings = Readings::real_or_generated(missing, directory.path()).unwrap();
        assert_eq!(readings.all.len(), GENERATED);
    }

    #[test]
    fn generated_readings_differ_from_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let readings = Readings::generated(directory.path(), 500).unwrap();
        assert_eq!((readings.all.len(), readings.repeated_times()), (500, 0));
    }
}
