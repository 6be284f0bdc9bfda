//! `timestamptz` and the nanoseconds that it has no place for.

use std::error::Error;

use bytes::BytesMut;
use proto::Nanos;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// From the Unix epoch to PostgreSQL's, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Microseconds since 2000-01-01 as they stand on the wire, and the rest in nanoseconds, 0 to 999.
/// Every i64 of nanoseconds lies well within what `timestamptz` can hold.
pub(super) fn split(time: Nanos) -> (i64, i16) {
    let rest = i16::try_from(time.0.rem_euclid(1000)).unwrap_or(0);
    (time.0.div_euclid(1000) - EPOCH_MICROS, rest)
}

/// The reverse of [`split`]; what a person stored beyond the years 1677 to 2262 is held there.
pub(super) fn join(micros: Micros, rest: Option<i16>) -> Nanos {
    let nanos = (i128::from(micros.0) + i128::from(EPOCH_MICROS)) * 1000;
    let nanos = nanos + i128::from(rest.unwrap_or(0));
    let limit = if nanos < 0 { i64::MIN } else { i64::MAX };
    Nanos(i64::try_from(nanos).unwrap_or(limit))
}

/// A `timestamptz` as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Micros(i64);

impl Micros {
    /// As [`split`] gives them.
    pub(super) fn raw(micros: i64) -> Micros {
        Micros(micros)
    }

    /// The microsecond that it lies in.
    pub(super) fn of(time: Nanos) -> Micros {
        Micros(split(time).0)
    }

    /// The first one that does not begin before it.
    pub(super) fn up(time: Nanos) -> Micros {
        let (micros, rest) = split(time);
        Micros(micros + i64::from(rest > 0))
    }
}

impl ToSql for Micros {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl FromSql<'_> for Micros {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Micros, Box<dyn Error + Sync + Send>> {
        Ok(Micros(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nanosecond_comes_back() {
        for (nanos, micros, rest) in [
            (0, -EPOCH_MICROS, 0),
            (-1, -EPOCH_MICROS - 1, 999),
            (946_684_800_000_000_001, 0, 1),
            (i64::MIN, -10_170_056_836_854_776, 192),
            (i64::MAX, 8_276_687_236_854_775, 807),
        ] {
            assert_eq!(split(Nanos(nanos)), (micros, rest), "{nanos}");
            assert_eq!(join(Micros(micros), Some(rest)), Nanos(nanos));
        }
        assert_eq!(join(Micros(i64::MAX), None), Nanos(i64::MAX));
    }
}
