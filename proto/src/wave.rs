//! Waveforms on MQTT: contract `_wave`, content type [`CONTENT_TYPE`]. A block of samples, raw.
//!
//! ```text
//! offset size
//!      0    1  version, now 1
//!      1    1  sample type: 1 i16, 2 i32, 3 f32, 4 f64
//!      2    2  length of the unit, u16
//!      4    4  number of samples, u32
//!      8    8  number of the first sample since the measurement began, u64
//!     16    8  time of the first sample, ns since the Unix epoch, i64
//!     24    4  rate in Hz: numerator, u32
//!     28    4  rate in Hz: denominator, u32
//!     32    8  scale, f64    } physical value =
//!     40    8  offset, f64   } sample × scale + offset
//!     48       unit, UTF-8
//!              samples
//! ```
//! All numbers little endian.

use bytes::Bytes;

use crate::Nanos;

pub const CONTENT_TYPE: &str = "application/vnd.updraft.wave";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 48;

/// A block of equidistant samples.
#[derive(Clone, Debug, PartialEq)]
pub struct WaveBlock {
    pub first_sample: u64,
    pub start: Nanos,
    /// Samples per second, as a fraction.
    pub rate: (u32, u32),
    pub scale: f64,
    pub offset: f64,
    pub unit: String,
    pub sample_type: SampleType,
    /// The samples' bytes, a multiple of the type's size.
    pub samples: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleType {
    I16 = 1,
    I32 = 2,
    F32 = 3,
    F64 = 4,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaveError {
    #[error("waveform is shorter than its header")]
    TooShort,
    #[error("waveform version {0} is not known")]
    Version(u8),
    #[error("waveform sample type {0} is not known")]
    SampleType(u8),
    #[error("waveform length differs: header says {expected} bytes, there are {found}")]
    Length { expected: usize, found: usize },
    #[error("waveform rate {0}/{1} Hz is not a rate")]
    Rate(u32, u32),
    #[error("waveform unit is not UTF-8")]
    Unit,
    #[error("waveform unit or samples are too long for one block")]
    TooLong,
}

impl SampleType {
    pub fn size_bytes(self) -> usize {
        match self {
            SampleType::I16 => 2,
            SampleType::I32 | SampleType::F32 => 4,
            SampleType::F64 => 8,
        }
    }

    pub fn from_number(number: u8) -> Option<SampleType> {
        use SampleType::{F32, F64, I16, I32};
        [I16, I32, F32, F64]
            .into_iter()
            .find(|sample_type| *sample_type as u8 == number)
    }
}

impl WaveBlock {
    pub fn count(&self) -> usize {
        self.samples.len() / self.sample_type.size_bytes()
    }

    pub fn encode(&self) -> Result<Bytes, WaveError> {
        let unit_len = u16::try_from(self.unit.len()).map_err(|_| WaveError::TooLong)?;
        let count = u32::try_from(self.count()).map_err(|_| WaveError::TooLong)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.unit.len() + self.samples.len());
        bytes.extend_from_slice(&[VERSION, self.sample_type as u8]);
        bytes.extend_from_slice(&unit_len.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&self.first_sample.to_le_bytes());
        bytes.extend_from_slice(&self.start.0.to_le_bytes());
        bytes.extend_from_slice(&self.rate.0.to_le_bytes());
        bytes.extend_from_slice(&self.rate.1.to_le_bytes());
        bytes.extend_from_slice(&self.scale.to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(self.unit.as_bytes());
        bytes.extend_from_slice(&self.samples);
        Ok(bytes.into())
    }

    pub fn decode(bytes: &Bytes) -> Result<WaveBlock, WaveError> {
        use bytes::Buf;
        if bytes.len() < HEADER_BYTES {
            return Err(WaveError::TooShort);
        }
        let mut rest = bytes.clone();
        let version = rest.get_u8();
        if version != VERSION {
            return Err(WaveError::Version(version));
        }
        let number = rest.get_u8();
        let sample_type = SampleType::from_number(number).ok_or(WaveError::SampleType(number))?;
        let unit_len = usize::from(rest.get_u16_le());
        let count = rest.get_u32_le() as usize;
        let first_sample = rest.get_u64_le();
        let start = Nanos(rest.get_i64_le());
        let rate = (rest.get_u32_le(), rest.get_u32_le());
        if rate.0 == 0 || rate.1 == 0 {
            return Err(WaveError::Rate(rate.0, rate.1));
        }
        let (scale, offset) = (rest.get_f64_le(), rest.get_f64_le());
        let expected = unit_len + count * sample_type.size_bytes();
        if rest.len() != expected {
            return Err(WaveError::Length {
                expected,
                found: rest.len(),
            });
        }
        let unit = String::from_utf8(rest.split_to(unit_len).to_vec());
        let unit = unit.map_err(|_| WaveError::Unit)?;
        Ok(WaveBlock {
            first_sample,
            start,
            rate,
            scale,
            offset,
            unit,
            sample_type,
            samples: rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> WaveBlock {
        WaveBlock {
            first_sample: 40_000,
            start: Nanos(1_700_000_000_000_000_000),
            rate: (20_000, 1),
            scale: 0.001,
            offset: 0.0,
            unit: "m/s²".into(),
            sample_type: SampleType::I16,
            samples: vec![1, 2, 3, 4].into(),
        }
    }

    #[test]
    fn what_is_encoded_comes_back() {
        assert_eq!(WaveBlock::decode(&block().encode().unwrap()), Ok(block()));
        assert_eq!(block().count(), 2);
    }

    #[test]
    fn bad_blocks() {
        type Edit = fn(&mut Vec<u8>);
        let table: [(Edit, WaveError); 5] = [
            (|b| b.truncate(47), WaveError::TooShort),
            (|b| b[0] = 2, WaveError::Version(2)),
            (|b| b[1] = 0, WaveError::SampleType(0)),
            (
                |b| b.push(0),
                WaveError::Length {
                    expected: 9,
                    found: 10,
                },
            ),
            (|b| b[24..28].fill(0), WaveError::Rate(0, 1)),
        ];
        for (edit, error) in table {
            let mut bytes = block().encode().unwrap().to_vec();
            edit(&mut bytes);
            assert_eq!(WaveBlock::decode(&bytes.into()), Err(error));
        }
    }
}
