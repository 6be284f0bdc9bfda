//! Reading a table of topics page by page, so that nobody holds the state's lock for all of it.

use super::hash::Table;

/// Rows looked at for one page, whether they are wanted or not.
const LOOKED_AT: usize = 4096;

/// A stretch of a table, in the order of the topics.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// The topic to go on after; `None` at the end. A page with nothing on it is not the end.
    pub more_after: Option<String>,
}

/// What a page holds at most; it ends with the row that reaches one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// The rows that are `wanted` after the topic `after`; `size` is what one takes.
pub(super) fn page<'a, V>(
    table: &'a Table<String, V>,
    after: Option<&str>,
    most: Most,
    wanted: impl Fn(&str, &V) -> bool,
    size: impl Fn(&str, &V) -> usize,
) -> Page<(&'a str, &'a V)> {
    let mut page = Page {
        rows: Vec::new(),
        more_after: None,
    };
    let mut taken = 0;
    for (looked_at, (topic, value)) in table.after(after).enumerate() {
        if wanted(topic, value) {
            taken += size(topic, value);
            page.rows.push((topic.as_str(), value));
        }
        if taken >= most.bytes || page.rows.len() >= most.rows || looked_at + 1 >= LOOKED_AT {
            page.more_after = Some(topic.clone());
            break;
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::super::hash::Content;
    use super::*;

    struct Number(u32);

    impl Content for Number {
        fn content(&self) -> impl Serialize {
            self.0
        }
    }

    #[test]
    fn pages_together_are_the_table() {
        let mut table: Table<String, Number> = Table::default();
        for number in 0..10_000 {
            table.insert(format!("{number:05}"), Number(number));
        }
        let all = usize::MAX;
        for (max_rows, max_bytes, most_pages) in [
            (all, all, 3),
            (100, all, 60),
            (all, 100, 60),
            (1, all, 5001),
        ] {
            let most = Most {
                rows: max_rows,
                bytes: max_bytes,
            };
            let (mut found, mut after, mut pages) = (Vec::new(), None::<String>, 0);
            loop {
                let page = page(
                    &table,
                    after.as_deref(),
                    most,
                    |_, n| n.0 % 2 == 0,
                    |_, _| 1,
                );
                assert!(page.rows.len() <= max_rows.min(max_bytes));
                found.extend(page.rows.into_iter().map(|(_, n)| n.0));
                pages += 1;
                after = page.more_after;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, (0..10_000).step_by(2).collect::<Vec<u32>>());
            assert!(pages <= most_pages, "{pages} pages of {most:?}");
        }
    }
}
