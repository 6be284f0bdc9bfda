//! What a tag's address means: `holding.100.FLOAT32:order=CDAB:scale=0.1`.
//!
//! ```text
//! [name.]table.offset.TYPE[:option=value…]     offset from 0
//! [name.]4xxxxx.TYPE[:option=value…]           register numbers from 1, as in manuals
//!
//! table    coil, discrete, input, holding      4xxxxx holding, 3xxxxx input, 1xxxxx discrete
//! TYPE     BOOL (of coils and discrete inputs), INT16 UINT16 INT32 UINT32 INT64 UINT64 FLOAT32
//!          FLOAT64, STRING (array=n registers)
//! options  scale=0.1  offset=-40  order=ABCD|CDAB|BADC|DCBA  array=n
//! ```

use std::fmt;

/// Which of a device's four tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    Coil,
    Discrete,
    Input,
    Holding,
}

impl Table {
    const ALL: [Table; 4] = [Table::Coil, Table::Discrete, Table::Input, Table::Holding];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Coil => "coil",
            Table::Discrete => "discrete",
            Table::Input => "input",
            Table::Holding => "holding",
        }
    }

    pub(crate) fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::Discrete)
    }

    /// What one request may ask for (Modbus Application Protocol V1.1b3 §6.1 to §6.4).
    pub(crate) fn max_read(self) -> u16 {
        if self.is_bits() { 2000 } else { 125 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float32,
    Float64,
    String,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Bool,
        Kind::Int16,
        Kind::Uint16,
        Kind::Int32,
        Kind::Uint32,
        Kind::Int64,
        Kind::Uint64,
        Kind::Float32,
        Kind::Float64,
        Kind::String,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bool => "BOOL",
            Kind::Int16 => "INT16",
            Kind::Uint16 => "UINT16",
            Kind::Int32 => "INT32",
            Kind::Uint32 => "UINT32",
            Kind::Int64 => "INT64",
            Kind::Uint64 => "UINT64",
            Kind::Float32 => "FLOAT32",
            Kind::Float64 => "FLOAT64",
            Kind::String => "STRING",
        }
    }

    /// Registers, or bits, of one value.
    pub(crate) fn width(self) -> u16 {
        match self {
            Kind::Bool | Kind::Int16 | Kind::Uint16 | Kind::String => 1,
            Kind::Int32 | Kind::Uint32 | Kind::Float32 => 2,
            Kind::Int64 | Kind::Uint64 | Kind::Float64 => 4,
        }
    }
}

/// How the bytes ABCD of a value lie in two registers; of four, accordingly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    #[default]
    Abcd,
    Cdab,
    Badc,
    Dcba,
}

impl Order {
    const ALL: [Order; 4] = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];

    fn name(self) -> &'static str {
        match self {
            Order::Abcd => "ABCD",
            Order::Cdab => "CDAB",
            Order::Badc => "BADC",
            Order::Dcba => "DCBA",
        }
    }

    pub(crate) fn swaps_registers(self) -> bool {
        matches!(self, Order::Cdab | Order::Dcba)
    }

    pub(crate) fn swaps_bytes(self) -> bool {
        matches!(self, Order::Badc | Order::Dcba)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    pub(crate) table: Table,
    /// From 0.
    pub(crate) offset: u16,
    pub(crate) kind: Kind,
    pub(crate) order: Order,
    /// Value × scale + shift, when one of the two is given.
    pub(crate) linear: Option<Linear>,
    /// Values one after the other, given as one array; of a STRING its registers.
    pub(crate) array: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Linear {
    pub(crate) scale: f64,
    pub(crate) shift: f64,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        let mut options = text.split(':');
        let place = options.next().unwrap_or_default();
        let mut address = place_of(place).map_err(|why| format!("address {text:?}: {why}"))?;
        for option in options {
            address
                .set(option)
                .map_err(|why| format!("address {text:?}: {why}"))?;
        }
        address
            .check()
            .map_err(|why| format!("address {text:?}: {why}"))?;
        Ok(address)
    }

    /// Registers, or bits, that it covers.
    pub(crate) fn len(&self) -> u16 {
        self.kind.width().saturating_mul(self.array.unwrap_or(1))
    }

    /// One past its last register.
    pub(crate) fn end(&self) -> u32 {
        u32::from(self.offset) + u32::from(self.len())
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| format!("expected option=value, found {option:?}"))?;
        let number = || {
            let number = value
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite());
            number.ok_or_else(|| format!("{key}: expected a number, found {value:?}"))
        };
        let linear = self.linear.unwrap_or(Linear {
            scale: 1.0,
            shift: 0.0,
        });
        match key {
            "scale" => {
                let scale = number()?;
                self.linear = Some(Linear { scale, ..linear });
            }
            "offset" => {
                let shift = number()?;
                self.linear = Some(Linear { shift, ..linear });
            }
            "order" => {
                let known = Order::ALL.into_iter().find(|order| order.name() == value);
                self.order = known.ok_or_else(|| {
                    format!("order: expected ABCD, CDAB, BADC or DCBA, found {value:?}")
                })?;
            }
            "array" => {
                let count = value.parse().ok().filter(|count: &u16| *count > 0);
                self.array =
                    Some(count.ok_or_else(|| format!("array: expected a count, found {value:?}"))?);
            }
            _ => {
                return Err(format!(
                    "unknown option {key:?}; known are scale, offset, order and array"
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let (table, kind) = (self.table.name(), self.kind.name());
        if self.table.is_bits() != (self.kind == Kind::Bool) {
            return Err(format!("the table {table} holds no {kind}"));
        }
        let numeric = !matches!(self.kind, Kind::Bool | Kind::String);
        if self.linear.is_some() && !numeric {
            return Err(format!("a {kind} has no scale and no offset"));
        }
        if self.kind == Kind::String && self.array.is_none() {
            return Err("a STRING needs array=n, its length in registers".into());
        }
        let most = self.table.max_read();
        let fits = self.kind.width().checked_mul(self.array.unwrap_or(1));
        if fits.is_none_or(|len| len > most) {
            return Err(format!(
                "is longer than the {most} that one request can read"
            ));
        }
        if self.end() > 1 << 16 {
            return Err("goes beyond the last address, 65535".into());
        }
        Ok(())
    }
}

/// Everything before the options.
fn place_of(place: &str) -> Result<Address, String> {
    let parts: Vec<&str> = place.split('.').collect();
    let (table, offset, kind) = match parts.as_slice() {
        [table, offset, kind] | [_, table, offset, kind] if table_of(table).is_some() => {
            let offset = offset
                .parse()
                .map_err(|_| format!("expected an offset from 0 to 65535, found {offset:?}"))?;
            (
                table_of(table).unwrap_or(Table::Holding),
                offset,
                Some(*kind),
            )
        }
        [number, kind] | [_, number, kind] if is_number(number) => {
            let (table, offset) = reference(number)?;
            (table, offset, Some(*kind))
        }
        [number] if is_number(number) => {
            let (table, offset) = reference(number)?;
            (table, offset, None)
        }
        _ => {
            return Err(
                "expected table.offset.TYPE such as holding.100.FLOAT32, with the table \
                        coil, discrete, input or holding"
                    .into(),
            );
        }
    };
    let kind = match kind {
        Some(name) => kind_of(name)?,
        None if table.is_bits() => Kind::Bool,
        None => Kind::Uint16,
    };
    Ok(Address {
        table,
        offset,
        kind,
        order: Order::default(),
        linear: None,
        array: None,
    })
}

fn table_of(name: &str) -> Option<Table> {
    Table::ALL.into_iter().find(|table| table.name() == name)
}

fn kind_of(name: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.into_iter().map(Kind::name).collect();
        format!("unknown type {name:?}; known are {}", names.join(", "))
    })
}

fn is_number(text: &str) -> bool {
    matches!(text.len(), 5 | 6) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `40001` and `400001` are the first holding register.
fn reference(number: &str) -> Result<(Table, u16), String> {
    let (first, rest) = number.split_at(1);
    let table = match first {
        "0" => Table::Coil,
        "1" => Table::Discrete,
        "3" => Table::Input,
        "4" => Table::Holding,
        _ => {
            return Err(format!(
                "the register number {number} begins with no 0, 1, 3 or 4"
            ));
        }
    };
    let from_1: u32 = rest.parse().map_err(|_| "no register number".to_owned())?;
    let offset = from_1
        .checked_sub(1)
        .and_then(|offset| u16::try_from(offset).ok());
    let offset =
        offset.ok_or_else(|| format!("the register number {number} is not within 1 to 65536"))?;
    Ok((table, offset))
}

/// The canonical form: what another way to write it means.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, kind) = (self.table.name(), self.kind.name());
        write!(formatter, "{table}.{}.{kind}", self.offset)?;
        if let Some(Linear { scale, shift }) = self.linear {
            write!(formatter, ":scale={scale}:offset={shift}")?;
        }
        if self.order != Order::default() {
            write!(formatter, ":order={}", self.order.name())?;
        }
        match self.array {
            Some(count) => write!(formatter, ":array={count}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_accepted_and_what_it_means() {
        for (text, meaning) in [
            ("holding.100.FLOAT32", "holding.100.FLOAT32"),
            (
                "temp.holding.100.INT16:scale=0.1",
                "holding.100.INT16:scale=0.1:offset=0",
            ),
            (
                "holding.0.INT16:offset=-40",
                "holding.0.INT16:scale=1:offset=-40",
            ),
            ("input.65535.UINT16", "input.65535.UINT16"),
            ("coil.7.BOOL", "coil.7.BOOL"),
            ("discrete.0.BOOL:array=2000", "discrete.0.BOOL:array=2000"),
            ("40001.INT16", "holding.0.INT16"),
            (
                "400101.FLOAT32:order=CDAB",
                "holding.100.FLOAT32:order=CDAB",
            ),
            ("speed.30010.UINT16", "input.9.UINT16"),
            ("465536.UINT16", "holding.65535.UINT16"),
            ("40001", "holding.0.UINT16"),
            ("00001", "coil.0.BOOL"),
            ("holding.0.STRING:array=125", "holding.0.STRING:array=125"),
            (
                "holding.holding.1.UINT64:order=DCBA",
                "holding.1.UINT64:order=DCBA",
            ),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), meaning, "{text}");
        }
    }

    #[test]
    fn what_is_refused_and_why() {
        for (text, why) in [
            ("", "expected table.offset.TYPE"),
            ("holding.100", "expected table.offset.TYPE"),
            ("temp.100.INT16", "expected table.offset.TYPE"),
            (
                "holding.-1.INT16",
                "expected an offset from 0 to 65535, found \"-1\"",
            ),
            (
                "holding.1.REAL",
                "unknown type \"REAL\"; known are BOOL, INT16",
            ),
            ("holding.1.BOOL", "the table holding holds no BOOL"),
            ("coil.1.INT16", "the table coil holds no INT16"),
            ("holding.65535.INT32", "goes beyond the last address"),
            ("holding.0.INT32:array=63", "is longer than the 125"),
            ("holding.0.INT64:array=65535", "is longer than the 125"),
            ("coil.0.BOOL:array=2001", "is longer than the 2000"),
            (
                "holding.0.INT16:scale=x",
                "scale: expected a number, found \"x\"",
            ),
            ("holding.0.INT16:scale=inf", "scale: expected a number"),
            ("holding.0.INT16:order=ACBD", "order: expected ABCD"),
            ("holding.0.INT16:array=0", "array: expected a count"),
            ("holding.0.INT16:scal=1", "unknown option \"scal\""),
            ("holding.0.INT16:x", "expected option=value"),
            ("holding.0.STRING", "a STRING needs array=n"),
            ("coil.0.BOOL:scale=2", "a BOOL has no scale"),
            ("20001.INT16", "begins with no 0, 1, 3 or 4"),
            ("40000.INT16", "not within 1 to 65536"),
            ("465537.INT16", "not within 1 to 65536"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in ".{0,40}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
            }
        }

        #[test]
        fn an_address_is_read_as_it_is_shown(
            table in 0_usize..4, offset in 0_u16..65_000, kind in 0_usize..10, order in 0_usize..4,
            scale in proptest::option::of(-1e6..1e6_f64), array in proptest::option::of(1_u16..20),
        ) {
            let address = Address {
                table: Table::ALL[table], offset, kind: Kind::ALL[kind], order: Order::ALL[order],
                linear: scale.map(|scale| Linear { scale, shift: -scale }), array,
            };
            prop_assume!(address.check().is_ok());
            prop_assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }
    }
}
