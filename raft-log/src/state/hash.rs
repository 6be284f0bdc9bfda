//! The hash of the state, kept up to date with every change instead of computed over everything.
//!
//! A table's sum is the wrapping sum of the hashes of its rows, key and content: what a row
//! contributed is subtracted when it changes or goes, so that the order of the changes does not
//! matter. What it contributes now is added when the table is settled, once a second. A sum is a function of what the table holds and of nothing else: it is not stored, but
//! computed again when a checkpoint is read.
//!
//! A row's hash is SipHash-1-3 with 128 bits and without a key. It tells replicas apart that went
//! different ways by accident, and costs a tenth of BLAKE3 for a few hundred bytes; there is no one
//! to keep out here, for whoever can choose the rows of one replica can choose them of all.
//!
//! A row that holds much (the recent appends of a producer) keeps it in a [`Ring`] or a [`Table`] of
//! its own, and is hashed with the sum of that: one append costs the hash of a few dozen bytes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip128::SipHasher13;

/// What most rows fit into.
const ROW_BYTES: usize = 512;

/// What of a row is hashed.
pub(super) trait Content {
    /// All that is stored of it, inner tables and rings by their sums.
    fn content(&self) -> impl Serialize;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sum(u128);

impl Sum {
    fn add(&mut self, row: Sum) {
        self.0 = self.0.wrapping_add(row.0);
    }

    fn subtract(&mut self, row: Sum) {
        self.0 = self.0.wrapping_sub(row.0);
    }
}

/// What one row contributes.
fn row(key: &impl Serialize, content: &impl Serialize) -> Sum {
    let buffer = Vec::with_capacity(ROW_BYTES);
    // Serialising into memory fails for no type that is used here.
    let bytes = postcard::to_extend(&(key, content), buffer).unwrap_or_default();
    Sum(SipHasher13::new().hash(&bytes).as_u128())
}

/// Rows in the order of their keys, with their sum.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, Slot<V>>,
    /// Of the rows that are settled.
    sum: Sum,
    /// Rows that changed since the table was settled, some of them twice, some gone since.
    unsettled: Vec<K>,
}

#[derive(Clone, Debug)]
struct Slot<V> {
    value: V,
    settled: bool,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table {
            rows: BTreeMap::new(),
            sum: Sum::default(),
            unsettled: Vec::new(),
        }
    }
}

impl<K: Ord, V> Table<K, V> {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key).map(|slot| &slot.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, slot)| (key, &slot.value))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.values().map(|slot| &slot.value)
    }

    /// The rows after a key, all of them without one.
    pub(super) fn after<Q: Ord + ?Sized>(&self, key: Option<&Q>) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range::<Q, _>((from, Bound::Unbounded));
        rows.map(|(key, slot)| (key, &slot.value))
    }
}

impl<K: Ord + Clone + Serialize, V: Content> Table<K, V> {
    pub(super) fn sum(&self) -> Sum {
        let mut sum = self.sum;
        let keys: BTreeSet<&K> = self.unsettled.iter().collect();
        for key in keys {
            if let Some(slot) = self.rows.get(key).filter(|slot| !slot.settled) {
                sum.add(row(key, &slot.value.content()));
            }
        }
        sum
    }

    /// Hashes what changed since the last time: a row that changes often is hashed once for all of
    /// its changes.
    pub(super) fn settle(&mut self) {
        for key in std::mem::take(&mut self.unsettled) {
            if let Some(slot) = self.rows.get_mut(&key).filter(|slot| !slot.settled) {
                self.sum.add(row(&key, &slot.value.content()));
                slot.settled = true;
            }
        }
    }

    /// Returns what stood there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let older = self.remove(&key);
        self.unsettled.push(key.clone());
        let settled = false;
        self.rows.insert(key, Slot { value, settled });
        older
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, slot) = self.rows.remove_entry(key)?;
        if slot.settled {
            self.sum.subtract(row(&key, &slot.value.content()));
        }
        Some(slot.value)
    }

    /// Changes a row in its place; `None` when there is none.
    pub(super) fn change<Q: Ord + ?Sized, R>(
        &mut self,
        key: &Q,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
    {
        let only = (Bound::Included(key), Bound::Included(key));
        let (key, slot) = self.rows.range_mut::<Q, _>(only).next()?;
        if slot.settled {
            self.sum.subtract(row(key, &slot.value.content()));
            self.unsettled.push(key.clone());
            slot.settled = false;
        }
        Some(change(&mut slot.value))
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let sum = &mut self.sum;
        self.rows.retain(|key, slot| {
            let keep = keep(key, &slot.value);
            if !keep && slot.settled {
                sum.subtract(row(key, &slot.value.content()));
            }
            keep
        });
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, K, V> Deserialize<'de> for Table<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Content + DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Table<K, V>, D::Error> {
        let rows: BTreeMap<K, V> = BTreeMap::deserialize(deserializer)?;
        let mut sum = Sum::default();
        let settled = |(key, value): (K, V)| {
            sum.add(row(&key, &value.content()));
            let settled = true;
            (key, Slot { value, settled })
        };
        let rows = rows.into_iter().map(settled).collect();
        Ok(Table {
            rows,
            sum,
            unsettled: Vec::new(),
        })
    }
}

/// The newest of many, each hashed with its number.
#[derive(Clone, Debug)]
pub(super) struct Ring<T> {
    items: VecDeque<T>,
    /// Pushed since the beginning: the number after the newest one's.
    pushed: u64,
    sum: Sum,
}

impl<T> Default for Ring<T> {
    fn default() -> Ring<T> {
        Ring {
            items: VecDeque::new(),
            pushed: 0,
            sum: Sum::default(),
        }
    }
}

impl<T: Serialize> Ring<T> {
    pub(super) fn sum(&self) -> (u64, Sum) {
        (self.pushed, self.sum)
    }

    /// Oldest first.
    pub(super) fn items(&self) -> &VecDeque<T> {
        &self.items
    }

    /// The oldest makes room when there are more than `most`.
    pub(super) fn push(&mut self, item: T, most: usize) {
        self.sum.add(row(&self.pushed, &item));
        self.items.push_back(item);
        self.pushed += 1;
        if self.items.len() > most
            && let Some(oldest) = self.items.pop_front()
        {
            let number = self.pushed - 1 - self.items.len() as u64;
            self.sum.subtract(row(&number, &oldest));
        }
    }
}

impl<T: Serialize> Serialize for Ring<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.items, self.pushed).serialize(serializer)
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Ring<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ring<T>, D::Error> {
        let (items, pushed): (VecDeque<T>, u64) = Deserialize::deserialize(deserializer)?;
        let first = pushed
            .checked_sub(items.len() as u64)
            .ok_or_else(|| serde::de::Error::custom("a ring holds more than was pushed"))?;
        let mut sum = Sum::default();
        for (number, item) in (first..).zip(&items) {
            sum.add(row(&number, item));
        }
        Ok(Ring { items, pushed, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    struct Row {
        number: u64,
        ring: Ring<u64>,
    }

    impl Content for Row {
        fn content(&self) -> impl Serialize {
            let Row { number, ring } = self;
            (*number, ring.sum())
        }
    }

    fn copy(table: &Table<String, Row>) -> Table<String, Row> {
        postcard::from_bytes(&postcard::to_stdvec(table).unwrap()).unwrap()
    }

    #[test]
    fn a_sum_follows_from_what_is_there() {
        let mut table: Table<String, Row> = Table::default();
        let empty = table.sum();
        for key in ["a", "b", "c"] {
            table.insert(key.into(), Row::default());
        }
        for number in 0..5 {
            table.change("b", |row| row.ring.push(number, 3));
        }
        assert_eq!(table.get("b").unwrap().ring.items(), &[2, 3, 4]);
        assert!(table.change("x", |row| row.number = 1).is_none());
        assert_eq!(copy(&table).sum(), table.sum());
        let before = table.sum();
        table.settle();
        assert_eq!(table.sum(), before);
        table.change("a", |row| row.number = 1);
        assert_ne!(table.sum(), before);
        assert_eq!(copy(&table).sum(), table.sum());
        table.insert("a".into(), Row::default());
        assert_eq!(table.sum(), before, "the way does not matter");
        table.remove("a");
        table.insert("a".into(), Row::default());
        assert_eq!(table.sum(), before, "it counts once");
        table.settle();
        assert_eq!(table.sum(), before);
        table.retain(|key, _| key != "b");
        assert_eq!(copy(&table).sum(), table.sum());
        table.remove("a");
        table.remove("c");
        assert_eq!(table.sum(), empty);
    }

    /// The same items at other numbers, or a row under another key, are another content.
    #[test]
    fn where_something_stands_counts() {
        let (mut early, mut late): (Ring<u64>, Ring<u64>) = Default::default();
        late.push(7, 1);
        for ring in [&mut early, &mut late] {
            ring.push(8, 1);
        }
        assert_eq!(early.items(), late.items());
        assert_ne!(early.sum(), late.sum());
        let (mut a, mut b): (Table<String, Row>, Table<String, Row>) = Default::default();
        a.insert("a".into(), Row::default());
        b.insert("b".into(), Row::default());
        assert_ne!(a.sum(), b.sum());
    }
}
