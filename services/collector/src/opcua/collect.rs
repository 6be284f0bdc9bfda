//! The loop over one connection after the other.

mod publish;
mod subscribe;

use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use opcua::types::{DateTime, PublishResponse, StatusCode};
use proto::Nanos;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::Settings;
use super::connection::{self, Connection, REQUEST, State, is_lost, is_transient};
use super::items::Items;
use super::services::{self, About, Created};
use super::tracker::Tracker;
use crate::error::Fault;
use crate::link::Link;
use crate::protocol::{Protocol, Reading};

/// Publish requests that wait at the server, so that it can answer while one is on its way.
const PARALLEL: usize = 3;
/// Notifications that are not durable yet; then no more are asked for, and the server's queues fill
/// instead of our memory.
const UNDER_WAY: usize = 200;
/// The same in bytes: what the answers that are asked for already bring comes on top.
const BYTES_UNDER_WAY: usize = 32 << 20;
/// What is asked for again of a gap; the rest of a larger one is given up.
const MOST_REPUBLISHED: usize = 1000;
/// After a Publish that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// For the event loop to notice what we have, or to do anything at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// For the last samples to become durable, so that their notifications need not come again.
const DRAIN: Duration = Duration::from_secs(3);

pub(crate) struct Opcua {
    settings: Settings,
    items: Items,
    /// Lives on at the server while a connection is lost.
    subscription: Option<Subscription>,
    /// Counts subscriptions.
    generation: u64,
    connections: u64,
    /// When the last values were received.
    heard: Option<Nanos>,
}

#[derive(Debug)]
struct Subscription {
    made: Created,
    tracker: Tracker,
    generation: u64,
    /// Start of the server that made it.
    started: Option<DateTime>,
    /// Every tag was asked for, and every request answered. Otherwise the server may watch a tag
    /// that we don't know of, or none: only another subscription helps.
    complete: bool,
}

impl Opcua {
    pub(crate) fn new(settings: Settings) -> Opcua {
        let items = Items::new(settings.tags.len());
        Opcua {
            settings,
            items,
            subscription: None,
            generation: 0,
            connections: 0,
            heard: None,
        }
    }
}

impl Protocol for Opcua {
    async fn run(&mut self, link: &mut Link) -> Fault {
        let shutdown = link.shutdown.clone();
        let opened = tokio::select! {
            opened = Connection::open(&self.settings) => opened,
            () = shutdown.cancelled() => return Fault::Shutdown,
        };
        let mut active = match opened {
            Ok(connection) => Active::new(self, link, connection),
            Err(fault) => return fault,
        };
        let ended = tokio::select! {
            ended = active.collect() => ended,
            () = shutdown.cancelled() => Err(Fault::Shutdown),
        };
        let Active {
            link, connection, ..
        } = active;
        if shutdown.is_cancelled() {
            let _ = timeout(DRAIN, link.all_durable()).await;
            connection.close().await;
            return Fault::Shutdown;
        }
        match ended {
            Err(fault) => fault,
            Ok(never) => match never {},
        }
    }

    async fn read_once(&mut self) -> Result<Vec<Reading>, Fault> {
        super::read::once(&self.settings).await
    }
}

/// The connection as long as it lives, through all reconnects of its session.
struct Active<'a> {
    opcua: &'a mut Opcua,
    link: &'a mut Link,
    connection: Connection,
    /// Of the session's activation that everything here belongs to.
    epoch: u64,
    about: Option<About>,
    in_flight: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Those of this epoch.
    waiting: usize,
    parallel: usize,
    /// While false nothing is sent: the session is to be activated again first.
    joined: bool,
    /// The subscription must be made anew, and why.
    resubscribe: Option<&'static str>,
    /// No Publish before.
    pause: Option<Instant>,
    /// The last sign of life of the subscription, or of the event loop while not joined.
    alive: Instant,
    /// A subscription that says nothing was made anew, and says nothing again.
    struck: bool,
    overflow_told: bool,
}

/// What became of a Publish.
struct Answer {
    epoch: u64,
    generation: u64,
    acknowledged: Vec<u32>,
    result: Result<PublishResponse, StatusCode>,
}

/// What the loop wakes up for.
enum Event {
    Answer(Box<Answer>),
    State(State),
    Durable,
    Retry,
    Silence,
    Resume,
}

/// Why a step did not come to its end.
enum Stop {
    /// The connection or session may be gone; its next state will tell.
    Wait(StatusCode),
    End(Fault),
}

impl From<StatusCode> for Stop {
    fn from(status: StatusCode) -> Stop {
        Stop::Wait(status)
    }
}

type Step = Result<(), Stop>;

impl<'a> Active<'a> {
    fn new(opcua: &'a mut Opcua, link: &'a mut Link, connection: Connection) -> Active<'a> {
        Active {
            opcua,
            link,
            connection,
            epoch: 0,
            about: None,
            in_flight: FuturesUnordered::new(),
            waiting: 0,
            parallel: PARALLEL,
            joined: false,
            resubscribe: None,
            pause: None,
            alive: Instant::now(),
            struck: false,
            overflow_told: false,
        }
    }

    async fn collect(&mut self) -> Result<std::convert::Infallible, Fault> {
        // The state of now is the first event.
        self.connection.states.mark_changed();
        loop {
            let event = self.event().await;
            let mut step = self.handle(event).await;
            if step.is_ok()
                && self.joined
                && let Some(why) = self.resubscribe.take()
            {
                step = self.subscribe(why).await;
            }
            match step {
                Ok(()) => self.publish(),
                Err(Stop::Wait(status)) => self.doubt(status).await?,
                Err(Stop::End(fault)) => return Err(fault),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let silence = self.alive + self.patience();
        let retry = self.opcua.items.next_due().filter(|_| self.joined);
        let waiting = self.waiting > 0 || !self.joined;
        tokio::select! {
            Ok(()) = self.connection.states.changed() => {
                Event::State(self.connection.states.borrow_and_update().clone())
            }
            Some(answer) = self.in_flight.next() => Event::Answer(Box::new(answer)),
            () = self.link.more_durable() => Event::Durable,
            () = until(retry) => Event::Retry,
            () = until(self.pause) => Event::Resume,
            () = sleep_until(silence), if waiting => Event::Silence,
        }
    }

    /// How long nothing may be heard.
    fn patience(&self) -> Duration {
        match &self.opcua.subscription {
            Some(subscription) if self.joined => 3 * subscription.made.keep_alive + REQUEST,
            _ => PATIENCE,
        }
    }

    async fn handle(&mut self, event: Event) -> Step {
        match event {
            Event::Answer(answer) => self.answered(*answer).await,
            Event::State(state) => self.changed(state).await,
            Event::Durable => {
                let ticket = self.link.durable();
                if let Some(subscription) = &mut self.opcua.subscription {
                    subscription.tracker.durable(ticket);
                }
                Ok(())
            }
            Event::Retry => {
                // The connection can be another one before its state was heard of.
                if !self.make_complete() {
                    self.watch_tags().await?;
                }
                Ok(())
            }
            Event::Resume => {
                self.pause = None;
                Ok(())
            }
            Event::Silence => self.silence(),
        }
    }

    /// Nobody answers though the connection stands: the subscription is dead, or the session.
    fn silence(&mut self) -> Step {
        self.alive = Instant::now();
        if !self.joined || std::mem::replace(&mut self.struck, true) {
            return Err(Stop::End(self.fault(StatusCode::BadNoCommunication)));
        }
        self.resubscribe = Some("the server did not answer any Publish");
        Ok(())
    }

    fn fault(&self, status: StatusCode) -> Fault {
        connection::fault(&self.opcua.settings, status)
    }

    async fn changed(&mut self, state: State) -> Step {
        if state.ended {
            return Err(Stop::End(self.fault(StatusCode::BadConnectionClosed)));
        }
        if state.connected && state.epoch != self.epoch {
            return self.join(&state).await;
        }
        if state.connected && state.silent >= 2 {
            info!("the server does not answer; connecting again");
            self.leave(StatusCode::BadNoCommunication);
            self.connection.drop_transport().await;
        } else if !state.connected {
            let status = state.refused.unwrap_or(StatusCode::BadConnectionClosed);
            if !is_transient(status) {
                return Err(Stop::End(self.fault(status)));
            }
            self.leave(status);
        }
        Ok(())
    }

    /// The connection is gone, the session perhaps not.
    fn leave(&mut self, status: StatusCode) {
        self.joined = false;
        self.alive = Instant::now();
        let fault = self.fault(status);
        self.link.failed(&fault);
    }

    /// Something failed that only a lost connection explains: if its state does not say so, it is
    /// made to.
    async fn doubt(&mut self, status: StatusCode) -> Result<(), Fault> {
        let state = self.connection.states.borrow().clone();
        if !state.connected || state.epoch != self.epoch {
            return Ok(());
        }
        debug!(%status, "a request failed");
        if !is_lost(status) {
            return Err(self.fault(status));
        }
        self.leave(status);
        self.connection.drop_transport().await;
        Ok(())
    }

    /// The session was activated: goes on where the subscription was left.
    async fn join(&mut self, state: &State) -> Step {
        self.epoch = state.epoch;
        self.waiting = 0;
        self.parallel = PARALLEL;
        self.alive = Instant::now();
        self.overflow_told = false;
        let about = services::about(&self.connection.session).await?;
        let known = self.opcua.subscription.as_ref();
        let started = known.map(|known| {
            let same = known.started.is_some() && known.started == about.started;
            (known.made.id, same)
        });
        let started_anew = started.is_some_and(|(_, same)| !same);
        self.about = Some(about);
        let kept = match started {
            None => false,
            Some(_) if state.reactivated => true,
            // The ids of a server that was started anew are somebody else's.
            Some((id, true)) => services::transfer(&self.connection.session, id).await?,
            Some((_, false)) => false,
        };
        if kept {
            self.rescue().await?;
            self.make_complete();
        } else {
            let why = if started_anew {
                "the server was started anew"
            } else {
                "the server does not know the session any more"
            };
            self.subscribe(why).await?;
        }
        self.joined = true;
        self.opcua.connections += 1;
        if self.opcua.connections > 1 {
            self.link.metrics.reconnected();
        }
        self.link.connected();
        Ok(())
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
