//! Compares what was sent with what is found: everything once, in order, to the bit.

use std::collections::HashMap;
use std::fmt;

use crate::readings::Reading;

/// How a place differs from what was sent; nothing but zeros when it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Sent, but not there.
    pub missing: usize,
    /// There once more than it was sent.
    pub doubled: usize,
    /// Never sent in this form.
    pub altered: usize,
    /// When nothing else is wrong: the first one that stands in another place than it should.
    pub reordered_at: Option<usize>,
}

impl Differences {
    pub fn is_none(&self) -> bool {
        *self == Differences::default()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Differences {
            missing,
            doubled,
            altered,
            reordered_at,
        } = self;
        write!(f, "{missing} missing, {doubled} doubled, {altered} altered")?;
        match reordered_at {
            Some(at) => write!(f, ", reordered from {at} on"),
            None => Ok(()),
        }
    }
}

/// `found` in the order of its place. A reading that was sent twice must be there twice.
pub fn differences(sent: &[Reading], found: &[Reading]) -> Differences {
    let mut wanted: HashMap<(i64, u64), usize> = HashMap::new();
    for reading in sent {
        *wanted.entry(key(reading)).or_default() += 1;
    }
    let mut differences = Differences::default();
    for reading in found {
        match wanted.get_mut(&key(reading)) {
            Some(left @ 1..) => *left -= 1,
            Some(_) => differences.doubled += 1,
            None => differences.altered += 1,
        }
    }
    differences.missing = wanted.into_values().sum();
    if differences.is_none() {
        differences.reordered_at = (0..sent.len()).find(|at| sent[*at] != found[*at]);
    }
    differences
}

fn key(reading: &Reading) -> (i64, u64) {
    (reading.time_ns, reading.value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference() {
        let reading = |n: i64| Reading {
            time_ns: n,
            value: 0.5,
        };
        // 3 was sent twice.
        let sent: Vec<Reading> = [1, 2, 3, 3, 4].map(reading).into();
        for (found, missing, doubled, altered, reordered_at) in [
            (&[1, 2, 3, 3, 4][..], 0, 0, 0, None),
            (&[1, 2, 3, 4], 1, 0, 0, None),
            (&[1, 2, 3, 3, 3, 4], 0, 1, 0, None),
            (&[1, 2, 2, 3, 3, 4], 0, 1, 0, None),
            (&[1, 2, 3, 3, 5], 1, 0, 1, None),
            (&[1, 3, 2, 3, 4], 0, 0, 0, Some(1)),
            (&[], 5, 0, 0, None),
        ] {
            let found: Vec<Reading> = found.iter().copied().map(reading).collect();
            let expected = Differences {
                missing,
                doubled,
                altered,
                reordered_at,
            };
            assert_eq!(differences(&sent, &found), expected, "{found:?}");
        }
        let other_bits = Reading {
            value: -0.0,
            ..reading(1)
        };
        assert!(!differences(&[reading(1)], &[other_bits]).is_none());
    }
}
