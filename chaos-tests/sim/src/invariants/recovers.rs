//! Whatever a power cut leaves on a disk, the log opens it: nothing is taken for corruption that a
//! crash can leave.

use super::Invariant;
use crate::look::Look;

#[derive(Debug)]
pub(super) struct Recovers;

impl Invariant for Recovers {
    fn name(&self) -> &'static str {
        "recovers"
    }

    fn check(&mut self, look: &Look<'_>) -> Result<(), String> {
        for node in &look.nodes {
            if let Some(problem) = &node.durable.unreadable {
                return Err(format!("node {} would not open: {problem}", node.id));
            }
            let purged = node.durable.purged;
            if purged > 0 && node.durable.checkpoints.range(purged..).next().is_none() {
                return Err(format!(
                    "node {} has dropped its log up to {purged}, but has no checkpoint from there",
                    node.id
                ));
            }
        }
        Ok(())
    }
}
