//! The services of a server that the collector uses, one request or batch each.

use std::time::Duration;

use opcua::client::services::{
    CreateMonitoredItems, CreateSubscription, DeleteMonitoredItems, DeleteSubscriptions, Republish,
    TransferSubscriptions,
};
use opcua::client::{Session, UARequest};
use opcua::types::{
    AttributeId, DataChangeFilter, DataChangeTrigger, DataValue, DateTime, DeadbandType,
    ExtensionObject, MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NodeId,
    NotificationMessage, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant,
};
use tracing::debug;

use super::Settings;
use super::connection::is_lost;

/// For a server that does not say what it can take in one call.
const UNKNOWN_LIMIT: usize = 50;
/// For one that says it can take anything.
const LARGEST_BATCH: usize = 1000;
/// Values in one message.
const MOST_NOTIFICATIONS: u32 = 10_000;
/// A keep-alive of the subscription comes at least this often.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// How long the server keeps a subscription that nobody asks for.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

pub(crate) type Result<T> = std::result::Result<T, StatusCode>;

/// How much goes into one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) read: usize,
    pub(crate) items: usize,
}

/// A subscription as the server made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    pub(crate) id: u32,
    /// The longest that it says nothing.
    pub(crate) keep_alive: Duration,
}

/// What a server says about itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) limits: Limits,
    pub(crate) namespaces: Vec<String>,
    /// When it was started: ids of before mean nothing after.
    pub(crate) started: Option<DateTime>,
}

pub(crate) async fn about(session: &Session) -> Result<About> {
    let nodes = [
        VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
        VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
        VariableId::Server_NamespaceArray,
        VariableId::Server_ServerStatus_StartTime,
    ];
    let limit = |data: Option<&DataValue>| match data.and_then(|data| data.value.as_ref()) {
        Some(Variant::UInt32(0)) => LARGEST_BATCH,
        Some(Variant::UInt32(limit)) => usize::try_from(*limit)
            .unwrap_or(LARGEST_BATCH)
            .min(LARGEST_BATCH),
        _ => UNKNOWN_LIMIT,
    };
    let values = read(session, &nodes.map(NodeId::from), UNKNOWN_LIMIT).await?;
    let started = values.get(3).and_then(|data| match &data.value {
        Some(Variant::DateTime(time)) => Some(**time),
        _ => None,
    });
    Ok(About {
        limits: Limits {
            read: limit(values.first()),
            items: limit(values.get(1)),
        },
        namespaces: strings(values.get(2)),
        started,
    })
}

fn strings(data: Option<&DataValue>) -> Vec<String> {
    let Some(Variant::Array(array)) = data.and_then(|data| data.value.as_ref()) else {
        return Vec::new();
    };
    let text = |variant: &Variant| match variant {
        Variant::String(text) => text.value().clone().unwrap_or_default(),
        _ => String::new(),
    };
    array.values.iter().map(text).collect()
}

/// The values of `nodes`, in their order.
pub(crate) async fn read(
    session: &Session,
    nodes: &[NodeId],
    limit: usize,
) -> Result<Vec<DataValue>> {
    let mut values = Vec::with_capacity(nodes.len());
    for batch in nodes.chunks(limit.max(1)) {
        let batch: Vec<_> = batch.iter().cloned().map(value_of).collect();
        let read = session.read(&batch, TimestampsToReturn::Both, 0.0).await;
        let read = read.map_err(|error| error.status())?;
        if read.len() != batch.len() {
            return Err(StatusCode::BadUnexpectedError);
        }
        values.extend(read);
    }
    Ok(values)
}

fn value_of(node_id: NodeId) -> ReadValueId {
    ReadValueId {
        node_id,
        attribute_id: AttributeId::Value as u32,
        ..ReadValueId::default()
    }
}

pub(crate) async fn create_subscription(session: &Session, settings: &Settings) -> Result<Created> {
    let interval = settings.publish_interval;
    let times = |duration: Duration| {
        let times = duration.as_millis() / interval.as_millis().max(1);
        u32::try_from(times).unwrap_or(u32::MAX).max(1)
    };
    let keep_alive_count = times(KEEP_ALIVE);
    let request = CreateSubscription::new(session)
        .publishing_interval(interval)
        .max_keep_alive_count(keep_alive_count)
        .max_notifications_per_publish(MOST_NOTIFICATIONS)
        .max_lifetime_count(times(LIFETIME).max(keep_alive_count.saturating_mul(3)))
        .publishing_enabled(true);
    let made = request
        .send(session.channel())
        .await
        .map_err(|error| error.status())?;
    let interval = Duration::try_from_secs_f64(made.revised_publishing_interval / 1000.0);
    let interval = interval.unwrap_or(settings.publish_interval);
    debug!(
        id = made.subscription_id,
        ?interval,
        "created a subscription"
    );
    Ok(Created {
        id: made.subscription_id,
        keep_alive: interval.saturating_mul(made.revised_max_keep_alive_count.max(1)),
    })
}

/// What the server says to each tag: the item's id, or why there is none.
pub(crate) async fn create_items(
    session: &Session,
    subscription: u32,
    settings: &Settings,
    tags: &[(usize, NodeId)],
) -> Result<Vec<(usize, Result<u32>)>> {
    let item = |(tag, node): &(usize, NodeId)| MonitoredItemCreateRequest {
        item_to_monitor: value_of(node.clone()),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: handle_of(*tag),
            sampling_interval: settings.sampling_interval.as_secs_f64() * 1000.0,
            filter: ExtensionObject::from_message(DataChangeFilter {
                // A new quality is a change, and so is the same value taken anew.
                trigger: DataChangeTrigger::StatusValueTimestamp,
                deadband_type: DeadbandType::None as u32,
                deadband_value: 0.0,
            }),
            queue_size: settings.queue,
            discard_oldest: true,
        },
    };
    let request = CreateMonitoredItems::new(subscription, session)
        .timestamps_to_return(TimestampsToReturn::Both)
        .items_to_create(tags.iter().map(item).collect());
    let made = request
        .send(session.channel())
        .await
        .map_err(|error| error.status())?;
    if made.results.len() != tags.len() {
        return Err(StatusCode::BadUnexpectedError);
    }
    let each = tags.iter().zip(made.results).map(|((tag, _), made)| {
        let status = made.result.status_code;
        let id = status.is_good().then_some(made.result.monitored_item_id);
        (*tag, id.ok_or(status))
    });
    Ok(each.collect())
}

/// 0 would be replaced by the library.
fn handle_of(tag: usize) -> u32 {
    u32::try_from(tag + 1).unwrap_or(u32::MAX)
}

pub(crate) fn tag_of(handle: u32) -> Option<usize> {
    usize::try_from(handle).ok()?.checked_sub(1)
}

/// A notification again; `None` when the server does not have it any more.
pub(crate) async fn republish(
    session: &Session,
    subscription: u32,
    number: u32,
) -> Result<Option<NotificationMessage>> {
    let request = Republish::new(subscription, number, session);
    match request.send(session.channel()).await {
        // Some servers answer with an empty message instead of an error.
        Ok(answer) => {
            Ok(Some(answer.notification_message)
                .filter(|message| message.sequence_number == number))
        }
        Err(error) => unless_lost(error.status(), None),
    }
}

/// Takes a subscription over from a session of ours that is gone; whether the server did it.
pub(crate) async fn transfer(session: &Session, subscription: u32) -> Result<bool> {
    let request = TransferSubscriptions::new(session)
        .subscription(subscription)
        .send_initial_values(false);
    match request.send(session.channel()).await {
        Ok(answer) => {
            let results = answer.results.unwrap_or_default();
            Ok(results
                .first()
                .is_some_and(|result| result.status_code.is_good()))
        }
        Err(error) => unless_lost(error.status(), false),
    }
}

/// A server that does not do it, for whatever reason, would not the next time either: the caller
/// goes on without. Only where the connection may be lost is it worth asking again.
fn unless_lost<T>(status: StatusCode, without: T) -> Result<T> {
    if is_lost(status) {
        return Err(status);
    }
    debug!(%status, "the server does not do it");
    Ok(without)
}

/// Best effort: what is not deleted ends by itself.
pub(crate) async fn delete_subscription(session: &Session, subscription: u32) {
    let request = DeleteSubscriptions::new(session).subscription(subscription);
    if let Err(error) = request.send(session.channel()).await {
        debug!(%error, "an old subscription was not deleted");
    }
}

/// Best effort too.
pub(crate) async fn delete_item(session: &Session, subscription: u32, item: u32) {
    let request = DeleteMonitoredItems::new(subscription, session).item(item);
    if let Err(error) = request.send(session.channel()).await {
        debug!(%error, "an item without a node was not deleted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_connection_is_worth_asking_again() {
        for (status, expected) in [
            (StatusCode::BadMessageNotAvailable, Ok(None)),
            (StatusCode::BadSubscriptionIdInvalid, Ok(None)),
            (StatusCode::BadServiceUnsupported, Ok(None)),
            (StatusCode::BadUserAccessDenied, Ok(None)),
            (StatusCode::BadInternalError, Ok(None)),
            (StatusCode::BadTimeout, Err(StatusCode::BadTimeout)),
            (
                StatusCode::BadSessionIdInvalid,
                Err(StatusCode::BadSessionIdInvalid),
            ),
            (
                StatusCode::BadConnectionClosed,
                Err(StatusCode::BadConnectionClosed),
            ),
        ] {
            assert_eq!(unless_lost(status, None::<u32>), expected, "{status}");
        }
    }
}
