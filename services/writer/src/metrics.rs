//! What the writer counts.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use proto::Nanos;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    rows: Counter<u64>,
    dead_letters: Counter<u64>,
    transactions: Counter<u64>,
    transaction: Histogram<f64>,
    lost: Counter<u64>,
    errors: Counter<u64>,
    cursor: Gauge<u64>,
    delay: Gauge<f64>,
    writing: Gauge<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let meter = kit::telemetry::meter("updraft_writer");
        let counter = |name, description| {
            let counter = meter.u64_counter(name);
            counter.with_description(description).build()
        };
        let metrics = Metrics {
            rows: counter(
                "updraft_writer_rows_total",
                "Rows committed, dead letters included",
            ),
            dead_letters: counter(
                "updraft_writer_dead_letters_total",
                "Rows that the database refused, or that could not be read; kept with the reason",
            ),
            transactions: counter(
                "updraft_writer_transactions_total",
                "Transactions committed",
            ),
            transaction: meter
                .f64_histogram("updraft_writer_transaction_seconds")
                .with_unit("s")
                .with_description("One transaction of the historian, from begin to commit")
                .build(),
            lost: counter(
                "updraft_writer_lost_records_total",
                "Records that neither log nor historian has any more",
            ),
            errors: counter(
                "updraft_writer_errors_total",
                "Times that writing stopped because of an error",
            ),
            cursor: meter
                .u64_gauge("updraft_writer_cursor_offset")
                .with_description("Offset of the next record to write, while this node writes")
                .build(),
            delay: meter
                .f64_gauge("updraft_writer_delay_seconds")
                .with_unit("s")
                .with_description("Age, when it was committed, of the newest record written")
                .build(),
            writing: meter
                .u64_gauge("updraft_writer_writing")
                .with_description("1 while this node writes, 0 while another does or none can")
                .build(),
        };
        metrics.begin();
        metrics
    }

    /// What alarms when it grows must have been seen at 0 before.
    fn begin(&self) {
        self.writing(false);
        self.dead_letters.add(0, &[]);
        self.lost.add(0, &[]);
        for of in ["log", "historian"] {
            self.errors.add(0, &[KeyValue::new("of", of)]);
        }
    }

    pub(crate) fn written(&self, written: &historian::Written, newest: Nanos, took: Duration) {
        self.transactions.add(1, &[]);
        self.transaction.record(took.as_secs_f64(), &[]);
        self.rows.add(written.rows, &[]);
        self.dead_letters.add(written.dead_letters, &[]);
        self.cursor.record(written.claim.next_offset.0, &[]);
        let delay_nanos = Nanos::now().0.saturating_sub(newest.0).max(0);
        self.delay.record(delay_nanos as f64 / 1e9, &[]);
    }

    pub(crate) fn lost(&self, records: u64) {
        self.lost.add(records, &[]);
    }

    /// `of` says what failed.
    pub(crate) fn error(&self, of: &'static str) {
        self.errors.add(1, &[KeyValue::new("of", of)]);
    }

    pub(crate) fn writing(&self, writing: bool) {
        self.writing.record(u64::from(writing), &[]);
    }
}
