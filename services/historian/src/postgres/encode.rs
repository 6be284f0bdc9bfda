//! Rows in the binary format of COPY.
//!
//! ```text
//! "PGCOPY\n\xff\r\n\0", flags i32 = 0, length of the header extension i32 = 0
//! per row: number of fields i16, per field: length i32 (-1 is NULL), bytes
//! -1 i16
//! ```
//! All numbers big endian (PostgreSQL, "COPY", File Formats).

use bytes::{BufMut, Bytes, BytesMut};
use proto::Nanos;

use crate::row::{DeadLetter, Table};
use crate::{Body, NewRow};

use super::time;

/// A row with its ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready<'a> {
    pub(super) new: &'a NewRow,
    pub(super) src: i32,
    /// Of no meaning for a dead letter.
    pub(super) tag_id: i32,
}

/// The columns of a table in the order in which [`encode`] writes them.
pub(super) fn columns(table: Table) -> &'static str {
    match table {
        Table::Value => "time, ns_rem, src, seq, sub, tag_id, quality, value, value_int, original",
        Table::Text => "time, ns_rem, src, seq, sub, tag_id, quality, value",
        Table::Wave => {
            "time, ns_rem, src, seq, sub, tag_id, quality, first_sample, rate_num, rate_den, \
             scale, value_offset, unit, sample_type, count, samples"
        }
        Table::Message => "time, ns_rem, src, seq, sub, tag_id, payload, problem",
        Table::DeadLetter => {
            "time, ns_rem, src, seq, sub, topic, key, log_offset, count, sqlstate, reason, payload"
        }
    }
}

/// What COPY is sent for rows of one table.
pub(super) fn encode(rows: &[Ready<'_>]) -> Bytes {
    let size: usize = rows.iter().map(|ready| ready.new.size_bytes() + 64).sum();
    let mut out = Copy(BytesMut::with_capacity(size + 64));
    out.0.put_slice(b"PGCOPY\n\xff\r\n\0");
    out.0.put_i32(0);
    out.0.put_i32(0);
    for ready in rows {
        out.row(ready);
    }
    out.0.put_i16(-1);
    out.0.freeze()
}

struct Copy(BytesMut);

impl Copy {
    fn row(&mut self, ready: &Ready<'_>) {
        let row = &ready.new.row;
        let fields = columns(row.body.table()).split(',').count();
        self.0.put_i16(i16::try_from(fields).unwrap_or(i16::MAX));
        self.time(row.time);
        self.i32(ready.src);
        self.i64(row.sequence.0.cast_signed());
        self.option((row.sub != 0).then_some(row.sub.cast_signed()), Copy::i32);
        match &row.body {
            Body::Dead(dead) => {
                self.bytes(row.topic.as_bytes());
                self.bytes(row.key.as_bytes());
                self.dead_letter(dead);
            }
            body => {
                self.i32(ready.tag_id);
                self.body(body);
            }
        }
    }

    fn body(&mut self, body: &Body) {
        let quality = body.quality_column().map(|quality| i64::from(quality.0));
        match body {
            Body::Number { .. } | Body::Bool { .. } | Body::Null { .. } => {
                let number = body.number();
                self.option(quality, Copy::i64);
                self.option(number.value, Copy::f64);
                self.option(number.exact, Copy::i64);
                self.option(number.original.as_deref(), Copy::text);
            }
            Body::Text { value, .. } => {
                self.option(quality, Copy::i64);
                self.text(value);
            }
            Body::Wave { block, .. } => {
                self.option(quality, Copy::i64);
                self.i64(block.first_sample.cast_signed());
                self.i64(block.rate.0.into());
                self.i64(block.rate.1.into());
                self.f64(block.scale);
                self.f64(block.offset);
                self.text(&block.unit);
                self.i16(block.sample_type as i16);
                self.i64(block.count() as i64);
                self.bytes(&block.samples);
            }
            Body::Message { payload, problem } => {
                self.bytes(payload);
                self.option(problem.as_deref(), Copy::text);
            }
            Body::Dead(_) => {}
        }
    }

    fn dead_letter(&mut self, dead: &DeadLetter) {
        self.i64(dead.offset.0.cast_signed());
        self.i64(dead.count.into());
        self.option(dead.sqlstate.as_deref(), Copy::text);
        self.text(&dead.reason);
        self.bytes(&dead.payload);
    }

    fn time(&mut self, time: Nanos) {
        let (micros, rest) = time::split(time);
        self.i64(micros);
        self.option((rest != 0).then_some(rest), Copy::i16);
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Copy, T)) {
        match value {
            Some(value) => put(self, value),
            None => self.0.put_i32(-1),
        }
    }

    fn i16(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    fn f64(&mut self, value: f64) {
        self.bytes(&value.to_be_bytes());
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).expect("a batch is far below 2 GiB");
        self.0.put_i32(length);
        self.0.put_slice(value);
    }
}
