//! The way of a batch through the hubs, as spans of OpenTelemetry.
//!
//! Nothing travels with a batch for this: whoever has its digest knows its trace.
//!
//! ```text
//! digest   0         16          24        32
//!          | trace id | parent id | unused |
//! ```
//! So the stages that one batch went through stand in one trace, whichever process and hub they
//! were seen in, and everybody who traces the same share of all batches traces the same ones. The
//! parent is no span of its own. Without an exporter (`telemetry.otlp`) a stage costs next to
//! nothing.
//!
//! | stage | where | from, to |
//! |---|---|---|
//! | `publish` | log client | first record queued, batch acknowledged |
//! | `append` | log, leader | received, committed and applied |
//! | `commit` | log, every node | proposed, about to be applied |
//! | `apply` | log, every node | in the state machine |
//! | `forward` | forwarder | read from the log, acknowledged by the parent |
//! | `relay` | log of the parent, leader | received, committed and applied |
//! | `write` | writer | transaction begun, transaction committed |

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{
    Span, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};

const DIGEST_BYTES: usize = 32;

/// A batch on one stage of its way.
#[derive(Clone, Debug)]
pub struct Stage {
    digest: [u8; DIGEST_BYTES],
    began: Instant,
}

impl Stage {
    /// A digest of another length, which no valid envelope has, is nowhere shown.
    pub fn begin(digest: &[u8]) -> Stage {
        Stage::began(digest, Instant::now())
    }

    pub fn began(digest: &[u8], at: Instant) -> Stage {
        Stage {
            digest: digest.try_into().unwrap_or_default(),
            began: at,
        }
    }

    /// The batch has left the stage now.
    pub fn end(&self, name: &'static str, attributes: impl IntoIterator<Item = KeyValue>) {
        emit(
            name,
            &self.digest,
            Duration::ZERO,
            self.began.elapsed(),
            attributes,
        );
    }
}

/// A stage that ended `ago` and took `took`.
pub(crate) fn emit(
    name: &'static str,
    digest: &[u8; DIGEST_BYTES],
    ago: Duration,
    took: Duration,
    attributes: impl IntoIterator<Item = KeyValue>,
) {
    let Some(parent) = parent(digest) else { return };
    let end = SystemTime::now().checked_sub(ago);
    let start = end.and_then(|end| end.checked_sub(took));
    let (Some(start), Some(end)) = (start, end) else {
        return;
    };
    let tracer = tracer();
    let builder = tracer
        .span_builder(name)
        .with_start_time(start)
        .with_attributes(attributes);
    let mut span = tracer.build_with_context(builder, &parent);
    span.end_with_timestamp(end);
}

/// Found once: whoever exports is set up before a service runs.
fn tracer() -> &'static BoxedTracer {
    static TRACER: OnceLock<BoxedTracer> = OnceLock::new();
    TRACER.get_or_init(|| global::tracer("updraft"))
}

/// `None` for the digest that stands for none.
fn parent(digest: &[u8; DIGEST_BYTES]) -> Option<Context> {
    let (trace, rest) = digest.split_first_chunk::<16>()?;
    let (span, _) = rest.split_first_chunk::<8>()?;
    let context = SpanContext::new(
        TraceId::from_bytes(*trace),
        SpanId::from_bytes(*span),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    context
        .is_valid()
        .then(|| Context::new().with_remote_span_context(context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_told_by_the_digest_alone() {
        let digest: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let context = parent(&digest).unwrap();
        let span = context.span().span_context().clone();
        assert_eq!(
            span.trace_id().to_string(),
            "000102030405060708090a0b0c0d0e0f"
        );
        assert_eq!(span.span_id().to_string(), "1011121314151617");
        assert!(span.is_remote() && span.is_sampled());
        assert!(parent(&Stage::begin(b"too short").digest).is_none());
    }
}
