//! Publish requests and what comes of them.

use futures::FutureExt;
use opcua::client::UARequest;
use opcua::client::services::Publish;
use opcua::types::{
    DataChangeNotification, MonitoredItemNotification, NotificationMessage,
    StatusChangeNotification, StatusCode, SubscriptionAcknowledgement,
};
use proto::{Nanos, Quality};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Active, Answer, BYTES_UNDER_WAY, MOST_REPUBLISHED, PAUSE, Step, UNDER_WAY};
use crate::opcua::connection::REQUEST;
use crate::opcua::items::{Notified, is_unknown};
use crate::opcua::tracker::{Arrival, Missing};
use crate::opcua::{services, value};
use crate::sample::Sample;

impl Active<'_> {
    /// Fetches what the server has sent and we have not received.
    pub(super) async fn rescue(&mut self) -> Step {
        while let Some(subscription) = &self.opcua.subscription {
            let (id, number) = (subscription.made.id, subscription.tracker.next());
            match services::republish(&self.connection.session, id, number).await? {
                Some(message) => self.republished(message).await,
                None => break,
            }
        }
        Ok(())
    }

    async fn republished(&mut self, message: NotificationMessage) {
        self.link.metrics.republished();
        self.take(message).await;
    }

    /// Keeps enough Publish requests at the server, with what it may forget.
    pub(super) fn publish(&mut self) {
        if !self.joined || self.pause.is_some() {
            return;
        }
        if self.link.bytes_under_way() > BYTES_UNDER_WAY {
            return;
        }
        let Some(subscription) = &mut self.opcua.subscription else {
            return;
        };
        while self.waiting < self.parallel && subscription.tracker.under_way() < UNDER_WAY {
            if self.waiting == 0 {
                // What did not wait can't have been answered.
                self.alive = Instant::now();
            }
            let acknowledged = subscription.tracker.acknowledge();
            let acknowledge = |number: &u32| SubscriptionAcknowledgement {
                subscription_id: subscription.made.id,
                sequence_number: *number,
            };
            let request = Publish::new(&self.connection.session)
                .acks(acknowledged.iter().map(acknowledge).collect())
                .timeout(4 * subscription.made.keep_alive + REQUEST);
            let (epoch, generation) = (self.epoch, subscription.generation);
            let session = self.connection.session.clone();
            self.waiting += 1;
            let answer = async move {
                let result = request.send(session.channel()).await;
                Answer {
                    epoch,
                    generation,
                    acknowledged,
                    result: result.map_err(|error| error.status()),
                }
            };
            self.in_flight.push(answer.boxed());
        }
    }

    pub(super) async fn answered(&mut self, answer: Answer) -> Step {
        let current = answer.epoch == self.epoch;
        if current {
            self.waiting = self.waiting.saturating_sub(1);
        }
        let Some(subscription) = &mut self.opcua.subscription else {
            return Ok(());
        };
        let ours = answer.generation == subscription.generation;
        match answer.result {
            // An old subscription may still answer, if it could not be deleted.
            Ok(response) if response.subscription_id != subscription.made.id => Ok(()),
            Ok(response) => {
                self.alive = Instant::now();
                self.struck = false;
                self.notification(response.notification_message).await
            }
            Err(status) => {
                if ours {
                    subscription.tracker.unsaid(answer.acknowledged);
                }
                if current && self.joined {
                    self.publish_failed(status, ours)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn publish_failed(&mut self, status: StatusCode, ours: bool) -> Step {
        debug!(%status, "a Publish failed");
        self.pause = Some(Instant::now() + PAUSE);
        match status {
            StatusCode::BadTooManyPublishRequests => {
                self.parallel = (self.parallel - 1).max(1);
                Ok(())
            }
            StatusCode::BadNoSubscription => {
                if ours {
                    self.resubscribe = Some("the server does not know the subscription any more");
                }
                Ok(())
            }
            // The watch on silence decides.
            StatusCode::BadTimeout | StatusCode::BadRequestTimeout => Ok(()),
            status => Err(status.into()),
        }
    }

    async fn notification(&mut self, message: NotificationMessage) -> Step {
        let Some(subscription) = &self.opcua.subscription else {
            return Ok(());
        };
        let number = message.sequence_number;
        if message.notification_data.as_ref().is_none_or(Vec::is_empty) {
            return match subscription.tracker.keep_alive(number) {
                Some(missing) => self.recover(missing).await,
                None => Ok(()),
            };
        }
        match subscription.tracker.arrived(number) {
            Arrival::Again => {
                debug!(number, "a notification came again");
                return Ok(());
            }
            Arrival::Next => {}
            Arrival::After(missing) => self.recover(missing).await?,
        }
        self.take(message).await;
        Ok(())
    }

    /// Asks for what was lost on the way.
    async fn recover(&mut self, missing: Missing) -> Step {
        let mut lost = 0_u32;
        for (asked, number) in missing.numbers().enumerate() {
            let Some(subscription) = &mut self.opcua.subscription else {
                return Ok(());
            };
            let id = subscription.made.id;
            let again = if asked < MOST_REPUBLISHED {
                services::republish(&self.connection.session, id, number).await?
            } else {
                None
            };
            match again {
                Some(message) => self.republished(message).await,
                None => {
                    lost += 1;
                    subscription.tracker.given_up(number);
                }
            }
        }
        if lost > 0 {
            self.gap("the server could not send a notification again");
        }
        Ok(())
    }

    /// Hands the values of a notification over.
    async fn take(&mut self, message: NotificationMessage) {
        let number = message.sequence_number;
        let mut samples = Vec::new();
        let mut gone = Vec::new();
        for data in message.notification_data.unwrap_or_default() {
            if let Some(status) = data.inner_as::<StatusChangeNotification>() {
                debug!(status = %status.status, "the subscription has another status");
                self.resubscribe = Some("the server has ended the subscription");
            } else if let Some(changes) = data.into_inner_as::<DataChangeNotification>() {
                self.samples(
                    changes.monitored_items.unwrap_or_default(),
                    &mut samples,
                    &mut gone,
                );
            }
        }
        if !samples.is_empty() {
            self.opcua.heard = Some(Nanos::now());
        }
        let ticket = self.link.deliver(samples).await;
        if let Some(subscription) = &mut self.opcua.subscription {
            subscription.tracker.taken(number, ticket);
            let id = subscription.made.id;
            for (tag, item, status) in gone {
                services::delete_item(&self.connection.session, id, item).await;
                self.opcua.items.refused(tag, status, Instant::now());
            }
        }
        self.link.metrics.bad_tags(self.opcua.items.bad());
    }

    fn samples(
        &mut self,
        changes: Vec<MonitoredItemNotification>,
        samples: &mut Vec<Sample>,
        gone: &mut Vec<(usize, u32, Quality)>,
    ) {
        let now = Nanos::now();
        let context = self.connection.session.encoding_context().read();
        let mut overflows = 0;
        for change in changes {
            let Some(tag) = services::tag_of(change.client_handle) else {
                continue;
            };
            let data = &change.value;
            overflows += u64::from(value::is_overflow(data));
            match self.opcua.items.notified(tag, data) {
                Notified::Unknown | Notified::Again => continue,
                Notified::Back => {
                    info!(address = %self.opcua.settings.tags[tag], "the server gives the tag again");
                }
                Notified::New => {}
            }
            if is_unknown(data)
                && let Some(item) = self.opcua.items.item(tag)
            {
                gone.push((tag, item, value::quality(data)));
            }
            samples.push(value::sample(tag, data, now, &context.context()));
        }
        drop(context);
        self.overflowed(overflows);
    }

    fn overflowed(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        self.link.metrics.overflows(count);
        if !std::mem::replace(&mut self.overflow_told, true) {
            warn!("the server dropped values because its queue was full; set a larger queue");
        }
    }
}
