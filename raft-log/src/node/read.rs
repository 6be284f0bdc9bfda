//! Reading the state page by page; nobody holds its lock for longer than a page takes.

use proto::{Record, TopicFilter};

use super::Node;
use crate::state::{Last, Page};

/// About how much of the retained messages is read at once.
const RETAINED_BYTES: usize = 1 << 20;

/// Some retained messages, and where to go on.
#[derive(Clone, Debug)]
pub struct RetainedPage {
    pub page: Page<Record>,
    /// Offset up to which all pages are current: it is that of the first one.
    pub next_offset: u64,
}

impl Node {
    /// The next retained messages whose topics match; begun with `None`, gone on with the page
    /// before, `None` after the last one. What came after the first page is left out of the later
    /// ones: it stands in the log from [`RetainedPage::next_offset`] on.
    pub fn retained(
        &self,
        filters: &[TopicFilter],
        before: Option<&RetainedPage>,
    ) -> Option<RetainedPage> {
        let after = before.map(|page| page.page.more_after.as_deref());
        if after == Some(None) {
            return None;
        }
        let state = self.shared.state();
        let next_offset = before.map_or(state.next_offset, |page| page.next_offset);
        let after = after.flatten();
        let page = state
            .retained
            .page(filters, after, next_offset, RETAINED_BYTES);
        Some(RetainedPage { page, next_offset })
    }

    /// The newest values of topics that match one of the filters (all without one), at most `limit`
    /// of them, and the offset that they are current up to.
    pub fn last_values(
        &self,
        filters: &[TopicFilter],
        after: Option<&str>,
        limit: usize,
    ) -> (Page<Last>, u64) {
        let state = self.shared.state();
        let page = state.last_values.page(filters, after, limit);
        (page, state.next_offset)
    }
}
