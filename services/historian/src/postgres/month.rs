//! Which months get a partition of their own. Pure.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use proto::Nanos;

use crate::row::Table;

/// Each new partition takes locks; what is beyond this goes into the default partition.
const MAX_NEW: usize = 24;
/// What clocks without a battery show lies before this.
const FIRST: Month = Month(2000 * 12);

/// A calendar month, UTC, counted from the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Month(i32);

impl Month {
    /// Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    pub(super) fn of(time: Nanos) -> Month {
        let days = time.0.div_euclid(86_400_000_000_000) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Counted from March, so that the leap day is the last of its year.
        let month = (5 * day_of_year + 2) / 153;
        let months = (era * 400 + year_of_era) * 12 + month + 2;
        Month(i32::try_from(months).unwrap_or(i32::MAX))
    }

    /// Of a partition's name as [`Month::partition`] makes it.
    pub(super) fn of_partition(table: Table, name: &str) -> Option<Month> {
        let (year, month) = name
            .strip_prefix(table.name())?
            .strip_prefix('_')?
            .split_once('_')?;
        Some(Month(
            year.parse::<i32>().ok()? * 12 + month.parse::<i32>().ok()? - 1,
        ))
    }

    pub(super) fn partition(self, table: Table) -> String {
        format!("{}_{:04}_{:02}", table.name(), self.year(), self.month())
    }

    pub(super) fn next(self) -> Month {
        Month(self.0 + 1)
    }

    fn year(self) -> i32 {
        self.0.div_euclid(12)
    }

    fn month(self) -> i32 {
        self.0.rem_euclid(12) + 1
    }
}

/// Its first moment, as a literal of PostgreSQL.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{:04}-{:02}-01 00:00:00+00'", self.year(), self.month())
    }
}

/// The partitions to create: those needed and not settled, from the year 2000 to the month after
/// `now`. A clock that is wrong by years must not make a partition for each of its months.
pub(super) fn plan(
    needed: &BTreeSet<(Table, Month)>,
    settled: &HashSet<(Table, Month)>,
    now: Nanos,
) -> Vec<(Table, Month)> {
    let last = Month::of(now).next();
    let plausible = |month: Month| (FIRST..=last).contains(&month);
    needed
        .iter()
        .filter(|(table, month)| plausible(*month) && !settled.contains(&(*table, *month)))
        .take(MAX_NEW)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    #[test]
    fn months_of_times() {
        for (nanos, literal) in [
            (0, "'1970-01-01 00:00:00+00'"),
            (-1, "'1969-12-01 00:00:00+00'"),
            (DAY * 59 - 1, "'1970-02-01 00:00:00+00'"),
            (DAY * 59, "'1970-03-01 00:00:00+00'"),
            (1_709_251_199_999_999_999, "'2024-02-01 00:00:00+00'"),
            (1_709_251_200_000_000_000, "'2024-03-01 00:00:00+00'"),
            (i64::MIN, "'1677-09-01 00:00:00+00'"),
            (i64::MAX, "'2262-04-01 00:00:00+00'"),
        ] {
            let month = Month::of(Nanos(nanos));
            assert_eq!(month.to_string(), literal, "{nanos}");
            let partition = month.partition(Table::Text);
            assert_eq!(Month::of_partition(Table::Text, &partition), Some(month));
        }
        assert_eq!(Month::of_partition(Table::Value, "value_default"), None);
        assert_eq!(
            Month::of_partition(Table::Value, "value_text_2024_01"),
            None
        );
    }

    #[test]
    fn only_plausible_months_and_not_too_many() {
        let now = Nanos(1_709_251_200_000_000_000);
        let this = Month::of(now);
        let month = |offset: i32| (Table::Value, Month(this.0 + offset));
        let plan = |offsets: &[i32], settled: &[i32]| {
            let needed = offsets.iter().map(|offset| month(*offset)).collect();
            let settled = settled.iter().map(|offset| month(*offset)).collect();
            plan(&needed, &settled, now)
        };
        assert_eq!(
            plan(&[0, 1, 2, -24 * 12, -25 * 12], &[0]),
            [month(-24 * 12), month(1)]
        );
        assert_eq!(plan(&(-100..0).collect::<Vec<_>>(), &[]).len(), MAX_NEW);
    }
}
