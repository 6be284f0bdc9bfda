//! `${NAME}` in the values of the file.
//!
//! Substitution happens in one scalar at a time, after YAML has been parsed: whatever a variable
//! holds (quotes, colons, line breaks) stays inside that scalar and can't add a key or a section.

use std::cell::RefCell;

type Lookup = Box<dyn Fn(&str) -> Option<String>>;

thread_local! {
    /// The environment of the file that this thread is reading: `Deserialize` can't be handed one.
    static LOOKUP: RefCell<Option<Lookup>> = const { RefCell::new(None) };
}

/// Calls `read` with `lookup` as the environment of [`expand`].
pub(super) fn with<R>(
    lookup: impl Fn(&str) -> Option<String> + 'static,
    read: impl FnOnce() -> R,
) -> R {
    LOOKUP.set(Some(Box::new(lookup)));
    let result = read();
    LOOKUP.set(None);
    result
}

/// `raw` with every `${NAME}` replaced; `$${` stands for a literal `${`.
///
/// A `$` that no brace follows is left alone: MQTT topics such as `$SYS/…` need it.
pub(super) fn expand(raw: &str) -> Result<String, String> {
    LOOKUP.with_borrow(|lookup| {
        let lookup = lookup.as_deref();
        expand_with(raw, |name| lookup.and_then(|lookup| lookup(name)))
    })
}

fn expand_with(raw: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = &reference[2..];
            continue;
        }
        let (name, after) = variable(reference)?;
        let value = lookup(name)
            .ok_or_else(|| format!("the environment variable \"{name}\" is not set"))?;
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Splits `${NAME}rest` into name and rest.
fn variable(reference: &str) -> Result<(&str, &str), String> {
    let (name, rest) = reference[2..]
        .split_once('}')
        .ok_or("\"${\" without a closing brace; write \"$${\" for the characters themselves")?;
    let mut characters = name.chars();
    let starts = characters
        .next()
        .is_some_and(|first| first == '_' || first.is_ascii_alphabetic());
    if starts && characters.all(|next| next == '_' || next.is_ascii_alphanumeric()) {
        Ok((name, rest))
    } else {
        Err(format!(
            "\"${{{name}}}\" is no environment variable; write \"$${{\" for the characters themselves"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".into()),
            "_b2" => Some("${A}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn expands() {
        let table = [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("x${A}y${EMPTY}z${A}", "xalphayzalpha"),
            ("${_b2}", "${A}"), // a value is never expanded again
            ("$SYS/#", "$SYS/#"),
            ("$$SYS", "$$SYS"),
            ("$A", "$A"),
            ("$${A}", "${A}"),
            ("$${A}${A}", "${A}alpha"),
            ("$$${A}", "$${A}"),
            ("a$", "a$"),
            ("}${A}{", "}alpha{"),
        ];
        for (raw, expected) in table {
            assert_eq!(expand_with(raw, lookup).unwrap(), expected, "{raw}");
        }
    }

    #[test]
    fn refuses() {
        let table = [
            ("${B}", "the environment variable \"B\" is not set"),
            ("${a b}", "\"${a b}\" is no environment variable"),
            ("${}", "\"${}\" is no environment variable"),
            ("${1}", "\"${1}\" is no environment variable"),
            ("${A", "\"${\" without a closing brace"),
        ];
        for (raw, expected) in table {
            let error = expand_with(raw, lookup).unwrap_err();
            assert!(error.starts_with(expected), "{raw}: {error}");
        }
    }
}
