//! Reading a file of TOML key by key, so that one bad value hides no other, and each is told with its key, what stands there and what may.

use serde::Deserialize;

use super::FILE;

/// What is wrong with a file.
#[derive(Default)]
pub(super) struct Problems {
    /// Values that cannot be read: nobody knows what they were meant to forbid.
    pub invalid: Vec<String>,
    /// Keys that are not known.
    pub unknown: Vec<String>,
}

impl Problems {
    pub fn unknown(&mut self, key: &str) {
        self.unknown.push(format!("{key} is no key of {FILE}"));
    }

    pub fn invalid(&mut self, what: String) {
        self.invalid.push(what);
    }
}

/// A value of the type that is wanted; another one is told, and what stands stays.
pub(super) fn take<'de, T: Deserialize<'de>>(key: &str, value: toml::Value, into: &mut T, problems: &mut Problems) {
    let shown = value.to_string();
    match value.try_into() {
        Ok(read) => *into = read,
        Err(cause) => problems.invalid(format!("{key} is {shown}: {}", cause.message().trim_end())),
    }
}

pub(super) fn some<'de, T: Deserialize<'de>>(
    key: &str,
    value: toml::Value,
    into: &mut Option<T>,
    problems: &mut Problems,
) {
    let shown = value.to_string();
    match value.try_into() {
        Ok(read) => *into = Some(read),
        Err(cause) => problems.invalid(format!("{key} is {shown}: {}", cause.message().trim_end())),
    }
}

pub(super) fn each(
    key: &str,
    value: toml::Value,
    problems: &mut Problems,
    mut take: impl FnMut(&str, toml::Value, &mut Problems),
) {
    match value {
        toml::Value::Table(table) => table.into_iter().for_each(|(name, value)| take(&name, value, problems)),
        other => problems.invalid(format!("{key} is {other}, it must be a table")),
    }
}

pub(super) fn tables(key: &str, value: toml::Value, problems: &mut Problems) -> Vec<(String, toml::Table)> {
    let mut all = Vec::new();
    each(key, value, problems, |name, value, problems| match value {
        toml::Value::Table(table) => all.push((name.to_owned(), table)),
        other => problems.invalid(format!("{key}.{name} is {other}, it must be a table")),
    });
    all
}

/// A list whose every entry is a table with these keys, all of them texts.
pub(super) fn rows<const N: usize>(
    key: &str,
    value: toml::Value,
    names: [&str; N],
    problems: &mut Problems,
) -> Vec<[Option<String>; N]> {
    let toml::Value::Array(all) = value else {
        let shape = names.map(|name| format!("{name} = \"…\"")).join(", ");
        problems.invalid(format!("{key} is {value}, it must be a list of {{ {shape} }}"));
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (place, value) in all.into_iter().enumerate() {
        let full = format!("{key}[{place}]");
        let mut row = std::array::from_fn(|_| None);
        each(&full, value, problems, |name, value, problems| {
            match names.iter().position(|known| *known == name) {
                Some(at) => some(&format!("{full}.{name}"), value, &mut row[at], problems),
                None => problems.unknown(&format!("{full}.{name}")),
            }
        });
        rows.push(row);
    }
    rows
}
