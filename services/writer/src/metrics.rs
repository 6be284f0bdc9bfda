//! What the writer counts.

use opentelemetry::metrics::{Counter, Gauge};
use proto::Nanos;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// `updraft_writer_rows_total`: rows committed, dead letters included.
    rows: Counter<u64>,
    /// `updraft_writer_dead_letters_total`: rows that could not be stored as what they are.
    dead_letters: Counter<u64>,
    /// `updraft_writer_transactions_total`: transactions committed.
    transactions: Counter<u64>,
    /// `updraft_writer_lost_records_total`: records that neither log nor historian has any more.
    lost: Counter<u64>,
    /// `updraft_writer_cursor_offset`: offset of the next record to write.
    cursor: Gauge<u64>,
    /// `updraft_writer_delay_seconds`: age, when it was committed, of the newest record written.
    delay: Gauge<f64>,
    /// `updraft_writer_writing`: 1 while this node writes, 0 while another does or none can.
    writing: Gauge<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = kit::telemetry::meter("updraft_writer");
        Metrics {
            rows: meter.u64_counter("updraft_writer_rows_total").build(),
            dead_letters: meter
                .u64_counter("updraft_writer_dead_letters_total")
                .build(),
            transactions: meter
                .u64_counter("updraft_writer_transactions_total")
                .build(),
            lost: meter
                .u64_counter("updraft_writer_lost_records_total")
                .build(),
            cursor: meter.u64_gauge("updraft_writer_cursor_offset").build(),
            delay: meter.f64_gauge("updraft_writer_delay_seconds").build(),
            writing: meter.u64_gauge("updraft_writer_writing").build(),
        }
    }

    pub(crate) fn written(&self, written: &historian::Written, newest: Nanos) {
        self.transactions.add(1, &[]);
        self.rows.add(written.rows, &[]);
        self.dead_letters.add(written.dead_letters, &[]);
        self.cursor.record(written.claim.next_offset.0, &[]);
        let delay_nanos = Nanos::now().0.saturating_sub(newest.0).max(0);
        self.delay.record(delay_nanos as f64 / 1e9, &[]);
    }

    pub(crate) fn lost(&self, records: u64) {
        self.lost.add(records, &[]);
    }

    pub(crate) fn writing(&self, writing: bool) {
        self.writing.record(u64::from(writing), &[]);
    }
}
