//! One row: what is stored for one sample, wave or message.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use proto::wave::WaveBlock;
use proto::{Nanos, Offset, Origin, Quality, Sequence};

use crate::Number;

/// A row of one origin, the same before it is written and after it is read: what the audit
/// compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub sequence: Sequence,
    /// Which sample of the record, in the order of its payload.
    pub sub: u32,
    pub time: Nanos,
    pub topic: Arc<str>,
    /// Tag group and name within the payload; empty for the one value of a topic.
    pub key: Arc<str>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Number {
        quality: Quality,
        number: Number,
    },
    Bool {
        quality: Quality,
        value: bool,
    },
    /// A sample without a value; stored under whatever kind its tag has.
    Null {
        quality: Quality,
    },
    Text {
        quality: Quality,
        value: String,
    },
    Wave {
        quality: Quality,
        block: WaveBlock,
    },
    Message {
        payload: Bytes,
        problem: Option<String>,
    },
    Dead(DeadLetter),
}

/// What could not be stored as what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Position in the log it came from.
    pub offset: Offset,
    /// How many records it stands for, from the row's sequence on; more than one for a batch that
    /// does not decode.
    pub count: u32,
    /// The database's own code, where the database refused it.
    pub sqlstate: Option<String>,
    pub reason: String,
    pub payload: Bytes,
}

/// A row on its way into the database.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRow {
    pub origin: Arc<Origin>,
    pub offset: Offset,
    /// The record's payload, should the row become a dead letter; absent for a typed value.
    pub original: Option<Bytes>,
    pub row: Row,
}

/// What a tag holds. A tag whose kind changes goes on under another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Number,
    Bool,
    Text,
    Wave,
    Message,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::Number,
        Kind::Bool,
        Kind::Text,
        Kind::Wave,
        Kind::Message,
    ];

    /// As the column `tag.kind` has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Bool => "bool",
            Kind::Text => "text",
            Kind::Wave => "wave",
            Kind::Message => "message",
        }
    }

    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a row is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Table {
    Value,
    Text,
    Wave,
    Message,
    DeadLetter,
}

impl Table {
    pub(crate) const ALL: [Table; 5] = [
        Table::Value,
        Table::Text,
        Table::Wave,
        Table::Message,
        Table::DeadLetter,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Value => "value",
            Table::Text => "value_text",
            Table::Wave => "wave",
            Table::Message => "message",
            Table::DeadLetter => "dead_letter",
        }
    }

    pub(crate) fn of(kind: Kind) -> Table {
        match kind {
            Kind::Number | Kind::Bool => Table::Value,
            Kind::Text => Table::Text,
            Kind::Wave => Table::Wave,
            Kind::Message => Table::Message,
        }
    }
}

impl Body {
    /// The kinds of tag it may be stored under, the first when the tag is new; none for a dead
    /// letter, which is no tag's.
    pub(crate) fn kinds(&self) -> &'static [Kind] {
        match self {
            Body::Number { .. } => &[Kind::Number],
            Body::Bool { .. } => &[Kind::Bool],
            Body::Null { .. } => &[Kind::Number, Kind::Bool, Kind::Text],
            Body::Text { .. } => &[Kind::Text],
            Body::Wave { .. } => &[Kind::Wave],
            Body::Message { .. } => &[Kind::Message],
            Body::Dead(_) => &[],
        }
    }

    pub(crate) fn table(&self) -> Table {
        match self {
            Body::Number { .. } | Body::Bool { .. } | Body::Null { .. } => Table::Value,
            Body::Text { .. } => Table::Text,
            Body::Wave { .. } => Table::Wave,
            Body::Message { .. } => Table::Message,
            Body::Dead(_) => Table::DeadLetter,
        }
    }

    /// As the columns have it: nothing is good.
    pub(crate) fn quality_column(&self) -> Option<Quality> {
        Some(self.quality()).filter(|quality| *quality != Quality::GOOD)
    }

    /// A message has none of its own, and counts as good.
    pub fn quality(&self) -> Quality {
        match self {
            Body::Number { quality, .. }
            | Body::Bool { quality, .. }
            | Body::Null { quality }
            | Body::Text { quality, .. }
            | Body::Wave { quality, .. } => *quality,
            Body::Message { .. } | Body::Dead(_) => Quality::GOOD,
        }
    }

    /// The columns `value`, `value_int` and `original`.
    pub(crate) fn number(&self) -> Number {
        match self {
            Body::Number { number, .. } => number.clone(),
            Body::Bool { value, .. } => Number {
                value: Some(f64::from(u8::from(*value))),
                exact: None,
                original: None,
            },
            _ => Number {
                value: None,
                exact: None,
                original: None,
            },
        }
    }

    /// The reverse of [`Body::number`].
    pub(crate) fn of_number(quality: Quality, number: Number, kind: Kind) -> Body {
        match (kind, number.value) {
            (_, None) if number.original.is_none() => Body::Null { quality },
            (Kind::Bool, Some(value)) => Body::Bool {
                quality,
                value: value != 0.0,
            },
            _ => Body::Number { quality, number },
        }
    }
}

impl NewRow {
    /// The same row as a dead letter, with what it was made of.
    pub(crate) fn into_dead(mut self, sqlstate: Option<&str>, reason: &str) -> NewRow {
        let payload = self
            .original
            .clone()
            .unwrap_or_else(|| match &self.row.body {
                Body::Text { value, .. } => Bytes::copy_from_slice(value.as_bytes()),
                Body::Wave { block, .. } => block.encode().unwrap_or_default(),
                Body::Message { payload, .. } => payload.clone(),
                body => body.number().to_string().into(),
            });
        self.row.body = Body::Dead(DeadLetter {
            offset: self.offset,
            count: 1,
            sqlstate: sqlstate.map(str::to_owned),
            reason: printable(reason).to_string(),
            payload,
        });
        self.row.topic = printable(&self.row.topic);
        self.row.key = printable(&self.row.key);
        self
    }

    /// Roughly what it takes in memory and on its way to the database.
    pub fn size_bytes(&self) -> usize {
        let body = match &self.row.body {
            Body::Text { value, .. } => value.len(),
            Body::Wave { block, .. } => block.samples.len() + block.unit.len(),
            Body::Message { payload, .. } | Body::Dead(DeadLetter { payload, .. }) => payload.len(),
            _ => 0,
        };
        body + 64
    }
}

/// Without NUL, so that every database can hold it.
pub(crate) fn printable(text: &str) -> Arc<str> {
    text.replace('\0', "\u{2400}").into()
}
