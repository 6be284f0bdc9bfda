//! Measurements, side by side in one run: `cargo bench -p updraft-benches --bench append`.
