//! The subscription and the tags in it.

use std::time::{Duration, UNIX_EPOCH};

use opcua::types::{NodeId, StatusCode};
use proto::{Nanos, Quality};
use tokio::time::Instant;
use tracing::warn;

use super::{Active, Step, Subscription};
use crate::opcua::services;
use crate::opcua::tracker::Tracker;
use crate::sample::{Sample, quality};

impl Active<'_> {
    /// A subscription with all tags. The one of before is lost, with what the server has not sent.
    pub(super) async fn subscribe(&mut self, why: &'static str) -> Step {
        if let Some(old) = self.opcua.subscription.as_ref().map(|old| old.made.id) {
            if self.joined {
                // The same session: what it has sent may still be had.
                self.rescue().await?;
                services::delete_subscription(&self.connection.session, old).await;
            }
            self.opcua.subscription = None;
            self.gap(why);
        }
        let (session, settings) = (&self.connection.session, &self.opcua.settings);
        let made = services::create_subscription(session, settings).await?;
        self.opcua.generation += 1;
        self.opcua.subscription = Some(Subscription {
            made,
            tracker: Tracker::new(),
            generation: self.opcua.generation,
            started: self.about.as_ref().and_then(|about| about.started),
            complete: false,
        });
        self.opcua.items.reset();
        self.resubscribe = None;
        self.alive = Instant::now();
        self.watch_tags().await
    }

    /// Whether the subscription must be made anew, because a request for tags was not answered.
    pub(super) fn make_complete(&mut self) -> bool {
        let known = self.opcua.subscription.as_ref();
        let incomplete = known.is_some_and(|known| !known.complete);
        if incomplete {
            self.resubscribe = Some("the server did not answer which tags it watches");
        }
        incomplete
    }

    fn complete(&mut self, complete: bool) {
        if let Some(subscription) = &mut self.opcua.subscription {
            subscription.complete = complete;
        }
    }

    pub(super) fn gap(&self, why: &str) {
        self.link.metrics.gap();
        let time = |at: Nanos| {
            let after = Duration::from_nanos(u64::try_from(at.0).unwrap_or_default());
            humantime::format_rfc3339_millis(UNIX_EPOCH + after).to_string()
        };
        let from = self.opcua.heard.map_or("the start".into(), time);
        let to = time(Nanos::now());
        warn!(from, to, why, "values of this time may be missing");
    }

    /// Asks the server to watch the tags that it does not watch yet and that are due.
    pub(super) async fn watch_tags(&mut self) -> Step {
        let Some(subscription) = self.opcua.subscription.as_ref().map(|known| known.made.id) else {
            return Ok(());
        };
        let due = self.opcua.items.due(Instant::now());
        let (mut nodes, unknown) = self.nodes(&due).await?;
        for tag in unknown {
            self.refused(tag, quality::NODE_UNKNOWN).await;
        }
        self.complete(false);
        while !nodes.is_empty() {
            let limit = self.about.as_ref().map_or(1, |about| about.limits.items);
            let batch = &nodes[..limit.min(nodes.len())];
            let (session, settings) = (&self.connection.session, &self.opcua.settings);
            let made = services::create_items(session, subscription, settings, batch).await;
            match made {
                Err(StatusCode::BadTooManyOperations) if limit > 1 => {
                    self.about
                        .iter_mut()
                        .for_each(|about| about.limits.items = limit / 2);
                    continue;
                }
                Err(StatusCode::BadSubscriptionIdInvalid) => {
                    self.resubscribe = Some("the server does not know the subscription any more");
                    return Ok(());
                }
                made => {
                    let made = made?;
                    nodes.drain(..made.len());
                    for (tag, made) in made {
                        match made {
                            Ok(id) => self.opcua.items.watched(tag, id),
                            Err(status) => self.refused(tag, Quality(status.bits())).await,
                        }
                    }
                }
            }
        }
        self.complete(true);
        self.link.metrics.bad_tags(self.opcua.items.bad());
        Ok(())
    }

    /// The nodes of these tags on this server, and the tags of which it does not know the
    /// namespace. Namespaces may come later, so they are read again then.
    async fn nodes(
        &mut self,
        tags: &[usize],
    ) -> Result<(Vec<(usize, NodeId)>, Vec<usize>), StatusCode> {
        let settings = &self.opcua.settings;
        let split = |namespaces: &[String]| {
            let (mut nodes, mut unknown) = (Vec::new(), Vec::new());
            for tag in tags {
                match settings.tags[*tag].node(namespaces) {
                    Some(node) => nodes.push((*tag, node)),
                    None => unknown.push(*tag),
                }
            }
            (nodes, unknown)
        };
        let about = self.about.as_ref();
        let (nodes, unknown) = split(about.map_or(&[], |about| &about.namespaces));
        if unknown.is_empty() {
            return Ok((nodes, unknown));
        }
        let about = services::about(&self.connection.session).await?;
        let again = split(&about.namespaces);
        self.about = Some(about);
        Ok(again)
    }

    /// The server gives no value for a tag.
    async fn refused(&mut self, tag: usize, status: Quality) {
        if self.opcua.items.refused(tag, status, Instant::now()) {
            let address = &self.opcua.settings.tags[tag];
            let name = StatusCode::from(status.0);
            warn!(%address, status = %name, "the server refuses a tag; it is asked for again");
            self.link.metrics.error();
            self.link
                .deliver(vec![Sample::bad(tag, status, Nanos::now())])
                .await;
        }
    }
}
