//! Where the demo tells what happens.

use std::io::Write;

/// Lines for people: to stdout, or to stderr when stdout is kept for the JSON object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Console {
    json: bool,
}

impl Console {
    pub(super) fn new(json: bool) -> Console {
        Console { json }
    }

    /// A reader that is gone is no reason to leave the processes alone.
    pub(super) fn line(self, text: impl std::fmt::Display) {
        let _ = if self.json {
            writeln!(std::io::stderr(), "{text}")
        } else {
            writeln!(std::io::stdout(), "{text}")
        };
    }
}
