//! The hash of the state, kept up to date with every change instead of computed over everything.
//!
//! A table's sum is the sum (four u64, wrapping) of the BLAKE3 of its rows, key and content: what a
//! row contributed is subtracted when it changes or goes, so that the order of the changes does not
//! matter. A sum is a function of what the table holds and of nothing else: it is not stored, but
//! computed again when a checkpoint is read.
//!
//! A row that holds much (the recent appends of a producer) keeps it in a [`Ring`] or a [`Table`] of
//! its own, and is hashed with the sum of that: one append costs the hash of a few dozen bytes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque, btree_map};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What of a row is hashed.
pub(super) trait Content {
    /// All that is stored of it, inner tables and rings by their sums.
    fn content(&self) -> impl Serialize;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    fn add(&mut self, row: Sum) {
        let numbers = self.0.iter_mut().zip(row.0);
        numbers.for_each(|(number, other)| *number = number.wrapping_add(other));
    }

    fn subtract(&mut self, row: Sum) {
        let numbers = self.0.iter_mut().zip(row.0);
        numbers.for_each(|(number, other)| *number = number.wrapping_sub(other));
    }
}

/// What one row contributes.
fn row(key: &impl Serialize, content: &impl Serialize) -> Sum {
    // Serialising into memory fails for no type that is used here.
    let bytes = postcard::to_extend(&(key, content), Vec::with_capacity(128)).unwrap_or_default();
    let mut sum = Sum::default();
    let digest = blake3::hash(&bytes);
    for (number, chunk) in sum.0.iter_mut().zip(digest.as_bytes().chunks_exact(8)) {
        *number = chunk
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    sum
}

/// Rows in the order of their keys, with their sum.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    sum: Sum,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table {
            rows: BTreeMap::new(),
            sum: Sum::default(),
        }
    }
}

impl<K, V> Table<K, V> {
    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    /// To read; every change goes through the table.
    pub(super) fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }
}

impl<K: Ord + Serialize, V: Content> Table<K, V> {
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key)
    }

    /// Returns what stood there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.sum.add(row(&key, &value.content()));
        match self.rows.entry(key) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(value);
                None
            }
            btree_map::Entry::Occupied(mut occupied) => {
                let gone = row(occupied.key(), &occupied.get().content());
                self.sum.subtract(gone);
                Some(occupied.insert(value))
            }
        }
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, value) = self.rows.remove_entry(key)?;
        self.sum.subtract(row(&key, &value.content()));
        Some(value)
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
        let mut range = self.rows.range_mut((
            std::ops::Bound::Included(key),
            std::ops::Bound::Included(key),
        ));
        let (key, value) = range.next()?;
        self.sum.subtract(row(key, &value.content()));
        let result = change(value);
        self.sum.add(row(key, &value.content()));
        Some(result)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let sum = &mut self.sum;
        self.rows.retain(|key, value| {
            let keep = keep(key, value);
            if !keep {
                sum.subtract(row(key, &value.content()));
            }
            keep
        });
    }
}

impl<K: Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de, K, V> Deserialize<'de> for Table<K, V>
where
    K: Ord + Serialize + DeserializeOwned,
    V: Content + DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Table<K, V>, D::Error> {
        let rows: BTreeMap<K, V> = BTreeMap::deserialize(deserializer)?;
        let mut sum = Sum::default();
        for (key, value) in &rows {
            sum.add(row(key, &value.content()));
        }
        Ok(Table { rows, sum })
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
        table.change("a", |row| row.number = 1);
        assert_ne!(table.sum(), before);
        assert_eq!(copy(&table).sum(), table.sum());
        table.insert("a".into(), Row::default());
        assert_eq!(table.sum(), before, "the way does not matter");
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
