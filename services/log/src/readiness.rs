//! When this node counts as ready: it has what the hub has, and can do its part for the next
//! commit.
//!
//! Whoever restarts the nodes of a hub one after the other waits for this before the next one. A
//! node that only answers may lack everything that was committed while it was away: with it and the
//! one that is restarted next, the hub would be without its quorum.

use std::time::Duration;

use kit::ready::Part;
use raft_log::Node;
use raft_log::node::{Progress, Standing};
use tokio::time::{MissedTickBehavior, interval};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A node that nobody leads asks the others why, every so many looks.
const ASK_EVERY: u32 = 4;

/// Says how the node stands, for as long as it runs.
pub(crate) async fn tell(
    node: &Node,
    ready: &Part,
    patience: Duration,
) -> std::convert::Infallible {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut target = None;
    let mut standing = Standing::Unknown;
    for look in 0_u32.. {
        looks.tick().await;
        let progress = node.progress();
        if let Some(reason) = node.not_serving() {
            ready.not_ready(reason);
            continue;
        }
        let is_formed = node.hub().is_some();
        match judge(&progress, target, patience) {
            Ok(()) if is_formed => {
                standing = Standing::Unknown;
                ready.ready();
            }
            judged => {
                if progress.led {
                    standing = Standing::Unknown;
                } else if look % ASK_EVERY == 0 {
                    standing = asked(node, standing).await;
                }
                ready.not_ready(why(&standing, is_formed, judged));
            }
        }
        target = progress.committed;
    }
    std::future::pending().await
}

/// What the node is to the hub; said once in the log when it is for a person to act.
async fn asked(node: &Node, before: Standing) -> Standing {
    let standing = node.standing().await;
    if standing != before && is_for_a_person(&standing) {
        tracing::info!("{standing}");
    }
    standing
}

fn is_for_a_person(standing: &Standing) -> bool {
    !matches!(standing, Standing::Member | Standing::Unknown)
}

fn why(standing: &Standing, is_formed: bool, judged: Result<(), String>) -> String {
    match judged {
        _ if is_for_a_person(standing) => standing.to_string(),
        Err(reason) if is_formed => reason,
        _ => "the hub is not formed yet".into(),
    }
}

/// `target` is what was committed at the last look: under load something newer is always on its
/// way. `patience` is how long a leader may go without an answer of the majority.
fn judge(progress: &Progress, target: Option<u64>, patience: Duration) -> Result<(), String> {
    if !progress.led {
        return Err("no node of the hub leads".into());
    }
    if progress
        .unanswered
        .is_some_and(|silence| silence > patience)
    {
        return Err("leads, but the majority of the hub does not answer".into());
    }
    let Some(target) = target else {
        return Err("has not heard from a leader yet".into());
    };
    match target.saturating_sub(progress.applied.unwrap_or_default()) {
        0 => Ok(()),
        behind => Err(format!("is {behind} entries behind the hub")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[test]
    fn ready_is_who_is_led_heard_and_has_what_was_committed() {
        let fine = Progress {
            led: true,
            unanswered: None,
            committed: Some(9),
            applied: Some(7),
        };
        let leads = |silence| Progress {
            unanswered: Some(silence),
            ..fine
        };
        let table = [
            (fine, Some(7), Ok(())),
            (leads(PATIENCE), Some(7), Ok(())),
            (fine, Some(9), Err("is 2 entries behind the hub")),
            (
                Progress {
                    applied: None,
                    ..fine
                },
                Some(9),
                Err("is 9 entries behind the hub"),
            ),
            (fine, None, Err("has not heard from a leader yet")),
            (
                Progress { led: false, ..fine },
                Some(7),
                Err("no node of the hub leads"),
            ),
            (
                leads(PATIENCE + Duration::from_millis(1)),
                Some(7),
                Err("leads, but the majority of the hub does not answer"),
            ),
        ];
        for (progress, target, expected) in table {
            let judged = judge(&progress, target, PATIENCE);
            assert_eq!(judged, expected.map_err(str::to_owned), "{progress:?}");
        }
    }
}
