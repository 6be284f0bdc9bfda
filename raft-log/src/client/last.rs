//! The newest value of each topic, page by page.

use proto::rpc::LastValuesRequest;
use proto::{Batch, Offset, Record};

use super::{ClientError, LogClient, unavailable};

/// A topic's newest record.
#[derive(Clone, Debug, PartialEq)]
pub struct LastValue {
    pub offset: Offset,
    /// Without its headers.
    pub record: Record,
    /// How large the value is, when it is too large to be kept: the record has none, and it stands
    /// in the log at the offset.
    pub large_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LastValuesPage {
    /// In the order of their topics.
    pub values: Vec<LastValue>,
    /// Topic to go on after; `None` at the end. A page without a value is not the end.
    pub more_after: Option<String>,
    /// The offset that the page is current up to.
    pub current: Offset,
}

impl LogClient {
    /// The newest values of topics that match one of the filters (all without one) after the topic
    /// `after`, `limit` of them at most, as the nearest node has them.
    pub async fn last_values(
        &self,
        filters: Vec<String>,
        limit: u32,
        after: Option<String>,
    ) -> Result<LastValuesPage, ClientError> {
        let request = LastValuesRequest {
            group: self.group,
            filters,
            limit,
            after_topic: after,
        };
        let answer = self.nearest(|mut log| {
            let request = request.clone();
            async move { log.last_values(request).await }
        });
        let answer = answer.await?;
        let records = match &answer.batch[..] {
            [] => Vec::new(),
            batch => Batch::decode(batch).map_err(unavailable)?,
        };
        if records.len() != answer.offsets.len() || records.len() != answer.large.len() {
            return Err(ClientError::UnexpectedReply);
        }
        let places = answer.offsets.into_iter().zip(answer.large);
        let value = |(record, (offset, large)): (Record, (u64, u64))| LastValue {
            offset: Offset(offset),
            record,
            large_bytes: (large > 0).then_some(large),
        };
        Ok(LastValuesPage {
            values: records.into_iter().zip(places).map(value).collect(),
            more_after: answer.more_after,
            current: Offset(answer.next_offset),
        })
    }
}
