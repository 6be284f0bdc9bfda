//! What the tests have in common.

use std::time::Duration;

use raft_log::client::LogClient;

/// The command line with all services, built with this package's features.
pub(crate) const NODE: &str = env!("CARGO_BIN_EXE_updraft-node");
/// Everything that is waited for comes much sooner, but two cores may be busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// `http://` URLs for `parent.uplink`.
pub(crate) fn urls(addresses: &[std::net::SocketAddr]) -> Vec<String> {
    addresses.iter().map(|at| format!("http://{at}")).collect()
}

/// How many records the log holds; 0 while it does not answer.
pub(crate) async fn next_offset(client: &LogClient) -> u64 {
    client.status().await.map_or(0, |status| status.next_offset)
}

/// Where the cursor of this name stands.
pub(crate) async fn cursor(client: &LogClient, name: &str) -> Result<u64, String> {
    let cursors = client.cursors().await.map_err(|error| error.to_string())?;
    let cursor = cursors.into_iter().find(|cursor| cursor.name == name);
    let cursor = cursor.ok_or_else(|| format!("no cursor {name}"))?;
    Ok(cursor.next_offset)
}
