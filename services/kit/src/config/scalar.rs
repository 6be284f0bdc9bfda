//! A value of the file together with where it stands.

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::environment;
use super::schema::Shape;

/// A value and its place in the file. Its environment variables are substituted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Placed<T> {
    pub value: T,
    pub place: Place,
}

/// Line and column, both from 1; the default stands for a value that the file does not give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// What one YAML scalar can be parsed into.
///
/// The error shows what stands in the file and never what a variable holds, so a parser says only
/// what it wants.
pub trait Scalar: Sized {
    /// Completes "expected …".
    const EXPECTED: &'static str;

    /// What an editor can check of it.
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Option<Self>;

    /// As a file says it, for an editor to show what the default is. `None` is not shown.
    fn written(&self) -> Option<Value> {
        None
    }
}

impl<T> Placed<T> {
    /// A default: a value without a place.
    pub(super) fn unplaced(value: T) -> Self {
        Self {
            value,
            place: Place::default(),
        }
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Debug> Debug for Placed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Parsed<T>>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value.0,
            place: spanned.referenced.into(),
        })
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

/// A scalar alone: inside [`Spanned`], so that the parser still knows where it is on an error.
struct Parsed<T>(T);

impl<'de, T: Scalar> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ScalarVisitor(PhantomData))
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = Parsed<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, raw: &str) -> Result<Self::Value, E> {
        parse(raw).map(Parsed).map_err(E::custom)
    }
}

fn parse<T: Scalar>(raw: &str) -> Result<T, String> {
    let text = environment::expand(raw)?;
    T::parse(&text).ok_or_else(|| format!("expected {}, found {raw:?}", T::EXPECTED))
}

/// One value or a list of values, never an empty list.
#[derive(Debug, Clone)]
pub struct OneOrMany<T>(pub Vec<Placed<T>>);

impl<'de, T: Scalar> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value, referenced, ..
        } = Spanned::<Many<T>>::deserialize(deserializer)?;
        Ok(Self(match value {
            Many::One(value) => vec![Placed {
                value,
                place: referenced.into(),
            }],
            Many::List(values) => values,
        }))
    }
}

enum Many<T> {
    One(T),
    List(Vec<Placed<T>>),
}

impl<'de, T: Scalar> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for ManyVisitor<T> {
    type Value = Many<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, or a list", T::EXPECTED)
    }

    fn visit_str<E: Error>(self, raw: &str) -> Result<Self::Value, E> {
        parse(raw).map(Many::One).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        match list.is_empty() {
            true => Err(A::Error::custom(format!(
                "expected {}, found an empty list",
                T::EXPECTED
            ))),
            false => Ok(Many::List(list)),
        }
    }
}

/// A section that is there or not. Without this an empty `tls:` would read as no section at all.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Like [`given`], for a section whose keys all have defaults: `broker:` alone is a broker.
pub(super) fn given_or_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(|section| Some(section.unwrap_or_default()))
}

/// A value of any shape with its place.
pub(super) fn placed<'de, D, T>(deserializer: D) -> Result<Option<Placed<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let Spanned {
        value, referenced, ..
    } = Spanned::<T>::deserialize(deserializer)?;
    Ok(Some(Placed {
        value,
        place: referenced.into(),
    }))
}

impl Scalar for String {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn written(&self) -> Option<Value> {
        Some(self.clone().into())
    }
}

impl Scalar for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";
    const SHAPE: Shape = Shape::Flag;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn written(&self) -> Option<Value> {
        Some((*self).into())
    }
}

impl Scalar for u64 {
    const EXPECTED: &'static str = "a whole number";
    const SHAPE: Shape = Shape::Whole(0);

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn written(&self) -> Option<Value> {
        Some((*self).into())
    }
}

impl Scalar for usize {
    const EXPECTED: &'static str = "a whole number";
    const SHAPE: Shape = Shape::Whole(0);

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn written(&self) -> Option<Value> {
        Some((*self).into())
    }
}

impl Scalar for SocketAddr {
    const EXPECTED: &'static str = "an IP address and port such as 127.0.0.1:7400";
    const SHAPE: Shape =
        Shape::Pattern(r"([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}");

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn written(&self) -> Option<Value> {
        Some(self.to_string().into())
    }
}

impl Scalar for ByteSize {
    const EXPECTED: &'static str = "a size such as 64MiB";
    const SHAPE: Shape = Shape::Size;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|size: &Self| size.as_u64() > 0)
    }

    fn written(&self) -> Option<Value> {
        Some(self.to_string().replace(' ', "").replace(".0", "").into())
    }
}

impl Scalar for Duration {
    const EXPECTED: &'static str = "a duration such as 250ms";
    const SHAPE: Shape = Shape::Duration;

    fn parse(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }

    fn written(&self) -> Option<Value> {
        Some(humantime::format_duration(*self).to_string().into())
    }
}
