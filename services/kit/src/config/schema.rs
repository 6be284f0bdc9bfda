//! The JSON Schema of `hub.yaml`, from the types that read it: editors complete and check with it.
//!
//! It knows shapes and not what goes with what (that is in `check`), and it can't see what a
//! variable holds; so a file that it accepts can still be refused.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::HubConfig;
use super::scalar::{OneOrMany, Placed, Scalar};
use super::sections::{HistorianBackend, HistorianConfig};

/// What one scalar may look like in the file, beside `${NAME}`.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Any text that is not empty.
    Text,
    /// A text that the regular expression (of ECMA 262) matches from its start to its end.
    Pattern(&'static str),
    /// One of these words.
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number, this or more.
    Whole(i64),
    /// Any number.
    Number,
    /// Bytes, with or without a unit.
    Size,
    /// A number with a unit of time.
    Duration,
}

/// The JSON Schema (draft 7) of the whole file.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(tidy));
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<HubConfig>();
    schema.insert("title".into(), "hub.yaml".into());
    schema.to_value()
}

/// [`schema`] as the text of a file.
#[must_use]
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

impl<T: Scalar> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::EXPECTED.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        scalar(T::SHAPE, T::EXPECTED)
    }
}

impl<T: Scalar> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}, or a list", T::EXPECTED).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = Placed::<T>::json_schema(generator);
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

impl JsonSchema for HistorianConfig {
    fn schema_name() -> Cow<'static, str> {
        "HistorianConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        HistorianBackend::json_schema(generator)
    }
}

/// A default, as the file would say it: for the schema alone.
impl<T: Scalar> Serialize for Placed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value.written() {
            Some(value) => value.serialize(serializer),
            None => Err(S::Error::custom("not shown")),
        }
    }
}

/// A variable anywhere in a value: what it holds is not known here.
const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";

fn scalar(shape: Shape, expected: &str) -> Schema {
    let pattern = |types: Value, pattern: &str| json!({ "type": types, "pattern": format!("^(?:{pattern})$|{VARIABLE}") });
    let mut schema = match shape {
        Shape::Text => json!({ "type": ["string", "number"], "minLength": 1 }),
        Shape::Pattern(text) => pattern(json!("string"), text),
        Shape::Words(words) => {
            json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": VARIABLE }] })
        }
        Shape::Flag => pattern(json!(["boolean", "string"]), "true|false"),
        Shape::Whole(least) => {
            let mut schema = pattern(json!(["integer", "string"]), "[+-]?[0-9]+");
            schema["minimum"] = least.into();
            schema
        }
        Shape::Number => pattern(json!(["number", "string"]), NUMBER),
        Shape::Size => {
            let mut schema = pattern(json!(["integer", "string"]), SIZE);
            schema["minimum"] = 1.into();
            schema
        }
        Shape::Duration => {
            // The only number that is a duration without a unit.
            let zero = json!({ "const": 0 });
            json!({ "anyOf": [pattern(json!("string"), DURATION), zero] })
        }
    };
    let message = format!("expected {expected}");
    schema["patternErrorMessage"] = message.into();
    schema.try_into().unwrap_or_default()
}

const NUMBER: &str = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?";

/// What the crate `bytesize` reads.
const SIZE: &str = r"[0-9]+(\.[0-9]+)?\s*([bB]|[kKmMgGtTpPeE]([iI]?[bB])?|[kKmMgGtTpPeE][iI])?";

/// What the crate `humantime` reads.
const DURATION: &str = concat!(
    r"0|(\s*[0-9]+(\.[0-9]+)?\s*",
    r"(nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds|second|secs|sec|s|minutes|minute|mins|min|m",
    r"|hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yr|y)",
    r")+\s*"
);

/// Makes the comments of the types into what an editor shows: each paragraph on one line, and with
/// it what is expected.
fn tidy(schema: &mut Schema) {
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    let text = |key| schema.get(key).and_then(Value::as_str);
    let expected = text("patternErrorMessage").map(|expected| expected.replace("expected ", ""));
    let expected = expected.filter(|expected| expected != String::EXPECTED);
    let paragraphs = text("description").unwrap_or_default().split("\n\n");
    let paragraphs = paragraphs
        .map(|lines| lines.replace('\n', " "))
        .chain(expected.map(|expected| format!("Expected: {expected}.")));
    let paragraphs: Vec<_> = paragraphs.filter(|text| !text.is_empty()).collect();
    if !paragraphs.is_empty() {
        schema.insert("description".into(), paragraphs.join("\n\n").into());
    }
}

#[cfg(test)]
mod tests;
