//! Switches that break a promise on purpose, so that the tests that guard it can be seen to go
//! red. Only under the cargo feature `sabotage`, which no release enables.

#[cfg(not(debug_assertions))]
compile_error!("sabotage is for debug builds of the tests alone");

/// Rows are committed first and the cursor after them, as a writer without I4 would do it.
pub(crate) fn cursor_outside_transaction() -> bool {
    let switches = std::env::var("UPDRAFT_SABOTAGE").unwrap_or_default();
    switches
        .split(',')
        .any(|switch| switch.trim() == "cursor-outside-transaction")
}
