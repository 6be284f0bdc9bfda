//! SUBSCRIBE and UNSUBSCRIBE: what has to be committed or looked up before they are answered.

use proto::rpc::{self, SessionUpdate};
use proto::topic::TopicFilter;
use proto::{Offset, Record};

use crate::packet::{Filter, RetainHandling, Subscribe};
use crate::reason::Reason;
use crate::subscriptions::{Subscription, Subscriptions};

const SHARED: &str = "$share/";

/// One request; a session has one under way at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    Subscribe(SubscribeJob),
    Unsubscribe(UnsubscribeJob),
}

#[derive(Clone, Debug, PartialEq)]
pub struct SubscribeJob {
    pub(super) packet_id: u16,
    /// Granted `QoS` or reason, one for each filter of the packet.
    pub(super) codes: Vec<Result<u8, Reason>>,
    pub(super) accepted: Vec<Accepted>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Accepted {
    pub(super) subscription: Subscription,
    /// Whether retained messages are sent now.
    pub(super) retained: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UnsubscribeJob {
    pub(super) packet_id: u16,
    pub(super) filters: Vec<String>,
    pub(super) reasons: Vec<Reason>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlOutcome {
    /// `from`: where delivery of new subscriptions starts; `retained`: what they get first.
    Done {
        from: Offset,
        retained: Vec<Record>,
    },
    /// The session was opened elsewhere since.
    Stale,
    Failed,
}

impl Control {
    /// What a persistent session has to have committed before the answer.
    pub fn update(&self, client_id: &str, session_epoch: u64) -> Option<SessionUpdate> {
        let mut update = SessionUpdate {
            client_id: client_id.to_owned(),
            session_epoch,
            ..Default::default()
        };
        match self {
            Control::Subscribe(job) => {
                let accepted = job.accepted.iter();
                update.subscribe = accepted
                    .map(|one| rpc::Subscription::from(&one.subscription))
                    .collect();
            }
            Control::Unsubscribe(job) => update.unsubscribe.clone_from(&job.filters),
        }
        let changes = !(update.subscribe.is_empty() && update.unsubscribe.is_empty());
        changes.then_some(update)
    }

    /// Filters whose retained messages are wanted.
    pub fn retained_filters(&self) -> Vec<String> {
        match self {
            Control::Subscribe(job) => {
                let wanted = job.accepted.iter().filter(|one| one.retained);
                wanted
                    .map(|one| one.subscription.filter.to_string())
                    .collect()
            }
            Control::Unsubscribe(_) => Vec::new(),
        }
    }
}

impl SubscribeJob {
    pub(super) fn new(subscribe: Subscribe, existing: &Subscriptions) -> SubscribeJob {
        let mut job = SubscribeJob {
            packet_id: subscribe.packet_id,
            codes: Vec::with_capacity(subscribe.filters.len()),
            accepted: Vec::with_capacity(subscribe.filters.len()),
        };
        for filter in subscribe.filters {
            match accept(&filter, subscribe.subscription_id, existing) {
                Ok(accepted) => {
                    job.codes.push(Ok(accepted.subscription.qos));
                    job.accepted.push(accepted);
                }
                Err(reason) => job.codes.push(Err(reason)),
            }
        }
        job
    }

    /// The answer when nothing of it could be stored.
    pub(super) fn failed(mut self) -> Vec<Result<u8, Reason>> {
        for code in &mut self.codes {
            *code = code.and(Err(Reason::Unspecified));
        }
        self.codes
    }
}

/// `QoS` 2 is granted as 1 \[MQTT-3.8.4-7\].
fn accept(filter: &Filter, id: Option<u32>, existing: &Subscriptions) -> Result<Accepted, Reason> {
    if filter.path.starts_with(SHARED) {
        return Err(Reason::SharedSubscriptionsNotSupported);
    }
    let parsed: TopicFilter = filter
        .path
        .parse()
        .map_err(|_| Reason::TopicFilterInvalid)?;
    let retained = match filter.retain_handling {
        RetainHandling::Always => true,
        RetainHandling::IfNew => !existing.contains(&filter.path),
        RetainHandling::Never => false,
    };
    let subscription = Subscription {
        filter: parsed,
        qos: filter.qos.min(1),
        no_local: filter.no_local,
        retain_as_published: filter.retain_as_published,
        id,
        from: Offset(0),
    };
    Ok(Accepted {
        subscription,
        retained,
    })
}

impl UnsubscribeJob {
    pub(super) fn new(
        packet_id: u16,
        filters: Vec<String>,
        existing: &Subscriptions,
    ) -> UnsubscribeJob {
        let reason = |filter: &String| match existing.contains(filter) {
            true => Reason::Success,
            false => Reason::NoSubscriptionExisted,
        };
        let reasons = filters.iter().map(reason).collect();
        let filters = filters
            .into_iter()
            .filter(|filter| existing.contains(filter))
            .collect();
        UnsubscribeJob {
            packet_id,
            filters,
            reasons,
        }
    }
}
