//! Switches that break a promise on purpose, so that the tests that guard it can be seen to go
//! red. Only under the cargo feature `sabotage`, which no release enables.

#[cfg(not(debug_assertions))]
compile_error!("sabotage is for debug builds of the tests alone");

use std::sync::LazyLock;

static SWITCHES: LazyLock<String> =
    LazyLock::new(|| std::env::var("UPDRAFT_SABOTAGE").unwrap_or_default());

/// Whether `UPDRAFT_SABOTAGE`, a list with commas, names this switch.
#[must_use]
pub fn active(name: &str) -> bool {
    SWITCHES.split(',').any(|switch| switch.trim() == name)
}
