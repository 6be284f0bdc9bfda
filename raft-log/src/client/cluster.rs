//! Who the nodes of the hub are, changing that, and noticing that another one leads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use proto::rpc::change_request::Change;
use proto::rpc::{ChangeProgress, ChangeRequest, MembersRequest, MembersResponse};
use tokio::time::{Instant, sleep, timeout};

use super::{ClientError, LogClient, RETRY_PAUSE, is_transient, refusal_of, unavailable};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader that leaves a request without an answer for so long may have been cut off.
const DOUBT_AFTER: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a change waits for a leader that takes it.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);

/// Since when a node owes an answer.
#[derive(Debug)]
pub(super) struct Silence(Mutex<Instant>);

impl Silence {
    pub(super) fn begun() -> Silence {
        Silence(Mutex::new(Instant::now()))
    }

    pub(super) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Until it is long.
    fn left(&self) -> Duration {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        DOUBT_AFTER.saturating_sub(since.elapsed())
    }
}

/// A replaced node is taken out before it is taken in again. Whoever goes on in between must still
/// know where it is.
fn with_address(change: Change, known: &MembersResponse) -> Change {
    match change {
        Change::Replace(mut replace) if replace.address.is_empty() => {
            let mut members = known.members.iter();
            let member = members.find(|member| member.node_id == replace.node_id);
            replace.address = member.map(|it| it.address.clone()).unwrap_or_default();
            Change::Replace(replace)
        }
        change => change,
    }
}

impl LogClient {
    /// The members as the leader knows them, or as another node does while none leads.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] when no node answers.
    pub async fn members(&self) -> Result<MembersResponse, ClientError> {
        let known = self.channels.len();
        let answer = self.best_members().await?;
        // Those that were not known until now may include the leader.
        if !answer.leads && self.channels.len() > known {
            return self.best_members().await;
        }
        Ok(answer)
    }

    async fn best_members(&self) -> Result<MembersResponse, ClientError> {
        let answers: Vec<_> = self.ask_members(None).collect().await;
        let best = answers.into_iter().max_by_key(|(_, answer)| {
            let formed = !answer.members.is_empty();
            (answer.leads, formed, answer.last_index)
        });
        match best {
            Some((_, answer)) => {
                for member in &answer.members {
                    self.channels.learn(&member.address);
                }
                Ok(answer)
            }
            None => Err(unavailable("no node of the hub answers")),
        }
    }

    /// Changes the members; goes on with another leader when the one that works on it goes away.
    /// Each step is told as it comes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for what can't be done as it was asked for;
    /// [`ClientError::Unavailable`] when nobody takes it for 20 s.
    pub async fn change_members(
        &self,
        change: Change,
        mut told: impl FnMut(&ChangeProgress),
    ) -> Result<(), ClientError> {
        // It knows more nodes than the configuration of this client may.
        let known = self.members().await.unwrap_or_default();
        let request = ChangeRequest {
            group: self.group,
            change: Some(with_address(change, &known)),
        };
        let mut deadline = Instant::now() + CHANGE_TIMEOUT;
        let mut begun = false;
        loop {
            let leader = self.channels.leader().index;
            let mut heard = |progress: &ChangeProgress| {
                deadline = Instant::now() + CHANGE_TIMEOUT;
                begun = true;
                told(progress);
            };
            let Err(status) = self.change_at(leader, &request, &mut heard).await else {
                return Ok(());
            };
            let refusal = refusal_of(&status);
            if !is_transient(&refusal) {
                // Also when it was asked twice, because no node could say so in between.
                return match begun && self.is_removed(&request).await {
                    true => Ok(()),
                    false => Err(ClientError::Refused(refusal)),
                };
            }
            if Instant::now() > deadline {
                return Err(unavailable(refusal.message));
            }
            self.channels.follow(leader, &refusal);
            sleep(RETRY_PAUSE).await;
            // Its answer may have been lost, and a second time it would be an error.
            if begun && self.is_removed(&request).await {
                return Ok(());
            }
        }
    }

    async fn is_removed(&self, request: &ChangeRequest) -> bool {
        let (Some(Change::Remove(remove)), Ok(hub)) = (&request.change, self.members().await)
        else {
            return false;
        };
        let is_member = hub.members.iter().any(|m| m.node_id == remove.node_id);
        hub.leads && !is_member
    }

    async fn change_at(
        &self,
        node: usize,
        request: &ChangeRequest,
        told: &mut impl FnMut(&ChangeProgress),
    ) -> Result<(), tonic::Status> {
        let mut cluster = self.channels.cluster(node);
        let mut stream = cluster.change(request.clone()).await?.into_inner();
        loop {
            let next = tokio::select! {
                next = stream.message() => next?,
                () = self.displaced(node) => None,
            };
            let Some(progress) = next else {
                return Err(tonic::Status::unavailable("the node stopped working on it"));
            };
            told(&progress);
            if progress.step() == proto::rpc::ChangeStep::Done {
                return Ok(());
            }
        }
    }

    /// Resolves when another node says that it leads: from a node that was cut off nothing comes,
    /// not even an end.
    pub(super) async fn displaced(&self, node: usize) {
        self.displaced_when(node, &Silence::begun()).await;
    }

    /// The same, asked only while the node owes an answer for long.
    pub(super) async fn displaced_when(&self, node: usize, silence: &Silence) {
        loop {
            sleep(silence.left().max(LOOK_EVERY)).await;
            if !silence.left().is_zero() {
                continue;
            }
            let answers = self.ask_members(Some(node));
            let leaders = answers.filter_map(async |(index, hub)| hub.leads.then_some(index));
            if let Some(leader) = std::pin::pin!(leaders).next().await {
                self.channels.leads(leader);
                return;
            }
        }
    }

    /// Asks who the hub's nodes are now and then, beside what is under way: a hub that got more of
    /// them shall be found when those that were configured have gone.
    pub(super) fn learn_members(&self) {
        if self.channels.is_to_learn() {
            let client = self.clone();
            tokio::spawn(async move { client.members().await });
        }
    }

    /// All at once; the answers in the order they come.
    fn ask_members(
        &self,
        except: Option<usize>,
    ) -> impl Stream<Item = (usize, MembersResponse)> + use<'_> {
        let nodes = (0..self.channels.len()).filter(move |index| Some(*index) != except);
        let asked = nodes.map(|index| async move {
            let request = MembersRequest { group: self.group };
            let mut cluster = self.channels.cluster(index);
            let answer = timeout(ANSWER_TIMEOUT, cluster.members(request)).await;
            Some((index, answer.ok()?.ok()?.into_inner()))
        });
        let asked: FuturesUnordered<_> = asked.collect();
        asked.filter_map(futures::future::ready)
    }
}
