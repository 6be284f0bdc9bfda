//! Who keeps its data in this directory: a random number made with it. The hub's membership knows
//! it, so that a node that lost its data is not taken for the one that had it.

use std::io;

use proto::ids::NodeIdentity;

use super::NodeError;
use crate::segment::{Disk, read_file, replace_file};

const NAME: &str = "identity";

/// Made durably before anything else is in the directory.
pub(super) fn load_or_create(disk: &dyn Disk) -> Result<NodeIdentity, NodeError> {
    let problem = |problem: String| NodeError::Identity {
        path: disk.path(NAME),
        problem,
    };
    match read_file(disk, NAME) {
        Ok(content) => parse(&content).ok_or_else(|| problem("not 32 hexadecimal digits".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = NodeIdentity::random();
            replace_file(disk, NAME, format!("{identity}\n").as_bytes())
                .map_err(|error| problem(error.to_string()))?;
            Ok(identity)
        }
        Err(error) => Err(problem(error.to_string())),
    }
}

fn parse(content: &[u8]) -> Option<NodeIdentity> {
    let text = std::str::from_utf8(content).ok()?;
    u128::from_str_radix(text.trim(), 16).ok().map(NodeIdentity)
}
