//! Which registers are read together. Pure: it takes answers and times and says what to read.
//!
//! Adjacent and overlapping addresses become one block, up to what a request can read; a gap
//! between addresses is never read, since many devices refuse a block with a hole in it. When a
//! device refuses a block for its addresses, it is split until the address at fault is alone; that one is asked for
//! less often then, and its neighbours don't notice.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::address::{Address, Table};

/// When an address that the device refuses is asked for again.
pub(crate) const RETRY: Duration = Duration::from_secs(10);

/// Registers that one request reads, and the tags within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) table: Table,
    pub(crate) offset: u16,
    pub(crate) len: u16,
    /// In the order of their addresses.
    pub(crate) tags: Vec<usize>,
    /// The device refused it; not to be asked for before.
    not_before: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    addresses: Vec<Address>,
    blocks: VecDeque<Block>,
}

/// What a refused block has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its parts are to be read at once.
    Split([Block; 2]),
    /// There is nothing to split: these tags have no value.
    Tags(Vec<usize>),
}

impl Plan {
    pub(crate) fn new(addresses: Vec<Address>) -> Plan {
        let mut tags: Vec<usize> = (0..addresses.len()).collect();
        tags.sort_by_key(|tag| {
            let address = &addresses[*tag];
            (address.table, address.offset, address.len())
        });
        let mut blocks: VecDeque<Block> = VecDeque::new();
        for tag in tags {
            let address = &addresses[tag];
            match blocks.back_mut() {
                Some(block) if block.takes(address) => block.add(tag, address),
                _ => blocks.push_back(Block::of(tag, address)),
            }
        }
        Plan { addresses, blocks }
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What to read in a poll at `now`.
    pub(crate) fn due(&self, now: Instant) -> VecDeque<Block> {
        let due = |block: &&Block| block.not_before.is_none_or(|at| at <= now);
        self.blocks.iter().filter(due).cloned().collect()
    }

    /// The device refuses `block`; `one_of_them` when the reason may be a single address.
    pub(crate) fn refused(&mut self, block: &Block, one_of_them: bool, now: Instant) -> Refused {
        let alone = || Refused::Tags(block.tags.clone());
        let Some(place) = self
            .blocks
            .iter()
            .position(|known| known.tags == block.tags)
        else {
            return alone();
        };
        let (first, second) = block.tags.split_at(block.tags.len() / 2);
        match (self.block(first), self.block(second)) {
            (Some(first), Some(second)) if one_of_them => {
                self.blocks[place] = second.clone();
                self.blocks.insert(place, first.clone());
                Refused::Split([first, second])
            }
            _ => {
                self.blocks[place].not_before = one_of_them.then(|| now + RETRY);
                alone()
            }
        }
    }

    /// The device gives `block`.
    pub(crate) fn accepted(&mut self, block: &Block) {
        if let Some(known) = self
            .blocks
            .iter_mut()
            .find(|known| known.tags == block.tags)
        {
            known.not_before = None;
        }
    }

    /// A block with just these tags, which are those of a block and in order.
    fn block(&self, tags: &[usize]) -> Option<Block> {
        let (first, rest) = tags.split_first()?;
        let mut block = Block::of(*first, &self.addresses[*first]);
        for tag in rest {
            block.add(*tag, &self.addresses[*tag]);
        }
        Some(block)
    }
}

impl Block {
    fn of(tag: usize, address: &Address) -> Block {
        Block {
            table: address.table,
            offset: address.offset,
            len: address.len(),
            tags: vec![tag],
            not_before: None,
        }
    }

    fn end(&self) -> u32 {
        u32::from(self.offset) + u32::from(self.len)
    }

    /// Whether one request can read it too. Its offset is not below ours.
    fn takes(&self, address: &Address) -> bool {
        let len = self.end().max(address.end()) - u32::from(self.offset);
        self.table == address.table
            && u32::from(address.offset) <= self.end()
            && len <= u32::from(self.table.max_read())
    }

    fn add(&mut self, tag: usize, address: &Address) {
        let end = self.end().max(address.end());
        self.len = u16::try_from(end - u32::from(self.offset)).unwrap_or(u16::MAX);
        self.tags.push(tag);
    }

    /// Where `address` lies in what the block reads.
    pub(crate) fn range(&self, address: &Address) -> std::ops::Range<usize> {
        let start = usize::from(address.offset.saturating_sub(self.offset));
        start..start + usize::from(address.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(addresses: &[&str]) -> Plan {
        Plan::new(
            addresses
                .iter()
                .map(|text| Address::parse(text).unwrap())
                .collect(),
        )
    }

    fn shape(blocks: &VecDeque<Block>) -> Vec<(Table, u16, u16)> {
        blocks
            .iter()
            .map(|block| (block.table, block.offset, block.len))
            .collect()
    }

    #[test]
    fn adjacent_addresses_are_read_together() {
        use Table::{Coil, Holding, Input};
        for (addresses, expected) in [
            (
                vec!["holding.2.INT16", "holding.0.FLOAT32"],
                vec![(Holding, 0, 3)],
            ),
            (
                vec!["holding.0.INT16", "holding.2.INT16"],
                vec![(Holding, 0, 1), (Holding, 2, 1)],
            ),
            (
                vec!["holding.0.INT32", "holding.1.INT16"],
                vec![(Holding, 0, 2)],
            ),
            (
                vec!["holding.5.INT16", "holding.5.UINT16"],
                vec![(Holding, 5, 1)],
            ),
            (
                vec!["input.0.INT16", "holding.1.INT16"],
                vec![(Input, 0, 1), (Holding, 1, 1)],
            ),
            (
                vec!["holding.0.INT16:array=100", "holding.100.INT16:array=26"],
                vec![(Holding, 0, 100), (Holding, 100, 26)],
            ),
            (
                vec!["coil.0.BOOL:array=1999", "coil.1999.BOOL", "coil.2000.BOOL"],
                vec![(Coil, 0, 2000), (Coil, 2000, 1)],
            ),
        ] {
            assert_eq!(
                shape(&plan(&addresses).due(Instant::now())),
                expected,
                "{addresses:?}"
            );
        }
    }

    #[test]
    fn a_refused_address_is_found_and_its_neighbours_go_on() {
        let now = Instant::now();
        let mut plan = plan(&["holding.0.INT16", "holding.1.INT16", "holding.2.INT16"]);
        // The device has no register 1.
        let mut reads = plan.due(now);
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        while let Some(block) = reads.pop_front() {
            if !(block.offset..block.offset + block.len).contains(&1) {
                plan.accepted(&block);
                good.extend(block.tags);
                continue;
            }
            match plan.refused(&block, true, now) {
                Refused::Split(parts) => reads.extend(parts),
                Refused::Tags(tags) => bad.extend(tags),
            }
        }
        good.sort_unstable();
        assert_eq!((good, bad), (vec![0, 2], vec![1]));
        assert_eq!(
            shape(&plan.due(now)),
            [(Table::Holding, 0, 1), (Table::Holding, 2, 1)]
        );
        let later = plan.due(now + RETRY);
        assert_eq!(later.len(), 3);
        plan.accepted(&later[1]);
        assert_eq!(plan.due(now).len(), 3);
    }

    #[test]
    fn a_device_that_is_busy_is_asked_for_the_same_again() {
        let now = Instant::now();
        let mut plan = plan(&["holding.0.INT16", "holding.1.INT16"]);
        let block = plan.due(now)[0].clone();
        assert_eq!(plan.refused(&block, false, now), Refused::Tags(vec![0, 1]));
        assert_eq!(plan.due(now), [block]);
    }

    proptest! {
        /// Every tag is read exactly once, within its block, and no block asks for too much.
        #[test]
        fn every_tag_is_in_one_block(
            places in proptest::collection::vec((0_usize..3, 0_u16..400, 1_u16..30), 1..60)
        ) {
            let texts: Vec<String> = places.iter().map(|(kind, offset, count)| match kind {
                0 => format!("coil.{offset}.BOOL:array={count}"),
                1 => format!("holding.{offset}.INT64:array={count}"),
                _ => format!("holding.{offset}.INT16"),
            }).collect();
            let plan = plan(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let mut seen = Vec::new();
            for block in plan.due(Instant::now()) {
                prop_assert!(block.len <= block.table.max_read());
                for tag in &block.tags {
                    let address = &plan.addresses()[*tag];
                    prop_assert_eq!(address.table, block.table);
                    prop_assert!(address.offset >= block.offset);
                    prop_assert!(block.range(address).end <= usize::from(block.len));
                }
                seen.extend(block.tags);
            }
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..texts.len()));
        }
    }
}
