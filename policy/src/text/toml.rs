//! The TOML twin: the same bundle in TOML, read into the same tree.
//!
//! Numbers and truth values become the text that they were written as, so both spellings go through the same readers.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::{Key, MAX_DEPTH, MAX_NODES, Node, Place, Style, SyntaxError, Value};

/// Whether a text is TOML: its first line that is neither empty nor a comment is `name = …` or `[…]`.
pub(crate) fn is_toml(text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let first = lines
        .filter(|line| !line.is_empty())
        .find(|line| !line.starts_with('#'));
    first.is_some_and(|line| {
        let word = line
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            .unwrap_or(line.len());
        let is_table = line.starts_with('[') && line.ends_with(']') && !line.contains(',');
        is_table || word > 0 && line[word..].trim_start().starts_with('=')
    })
}

/// Most signs that begin a value; strings may hold such signs too, so twice the values. The reader below would build them all
/// before the first could be counted.
const MAX_SIGNS: usize = 2 * MAX_NODES;

/// Reads one TOML document.
pub(crate) fn tree(text: &str) -> Result<Node, SyntaxError> {
    let places = Places::new(text);
    let mut signs = text
        .bytes()
        .enumerate()
        .filter(|(_, b)| matches!(b, b'=' | b',' | b'['));
    if let Some((at, _)) = signs.nth(MAX_SIGNS) {
        return Err(SyntaxError {
            place: places.of(at),
            message: format!("more than {MAX_NODES} values; a bundle is at most 256 rules"),
        });
    }
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        place: places.of(error.span().map_or(0, |span| span.start)),
        message: format!("this is not TOML: {}", error.message()),
    })?;
    let mut nodes = 0;
    let at = places.of(table.span().start);
    Ok(Node {
        place: at,
        value: read_table(table.get_ref(), &places, 0, &mut nodes)?,
        style: Style::Plain,
    })
}

fn read_table(table: &DeTable<'_>, places: &Places<'_>, depth: usize, nodes: &mut usize) -> Result<Value, SyntaxError> {
    let mut entries = Vec::new();
    for (name, value) in table.iter() {
        let key = Key {
            place: places.of(name.span().start),
            name: name.get_ref().to_string(),
        };
        entries.push((key, read_value(value, places, depth + 1, nodes)?));
    }
    // In the order of the text, as people read it.
    entries.sort_by_key(|(key, _)| (key.place.line, key.place.column));
    Ok(Value::Map(entries))
}

fn read_value(
    value: &Spanned<DeValue<'_>>,
    places: &Places<'_>,
    depth: usize,
    nodes: &mut usize,
) -> Result<Node, SyntaxError> {
    let place = places.of(value.span().start);
    *nodes += 1;
    if *nodes > MAX_NODES || depth > MAX_DEPTH {
        let message = format!("more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH} levels");
        return Err(SyntaxError { place, message });
    }
    let style = if let DeValue::String(_) = value.get_ref() {
        Style::Quoted
    } else {
        Style::Plain
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Text(number.as_str().to_owned()),
        DeValue::Float(number) => Value::Text(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Value::Text(flag.to_string()),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| read_value(item, places, depth + 1, nodes));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => read_table(table, places, depth, nodes)?,
    };
    Ok(Node { place, value, style })
}

/// Where each line begins.
struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    fn of(&self, byte: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= byte).saturating_sub(1);
        let before = self.text.get(self.starts[line]..byte).unwrap_or_default();
        let number = |value: usize| u32::try_from(value + 1).unwrap_or(u32::MAX);
        Place {
            line: number(line),
            column: number(before.chars().count()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Bundle;

    #[test]
    fn the_same_bundle_in_toml() {
        let yaml = "bundle: twin\nrules:\n  - id: hot\n    kind: threshold\n    quantity: gpu.temperature\n    above: 85 °C\n    for: 3 s\n    then: { action: power_cap, to: 220 W }\n  - { id: few, kind: budget, limit: 3, window: 1 h, selector: { kinds: [restart] } }\n";
        let toml = "bundle = \"twin\"\n\n[[rules]]\nid = \"hot\"\nkind = \"threshold\"\nquantity = \"gpu.temperature\"\nabove = \"85 °C\"\nfor = \"3 s\"\nthen = { action = \"power_cap\", to = \"220 W\" }\n\n[[rules]]\nid = \"few\"\nkind = \"budget\"\nlimit = 3\nwindow = \"1 h\"\nselector.kinds = [\"restart\"]\n";
        let (a, b) = (Bundle::parse(yaml.as_bytes()), Bundle::parse(toml.as_bytes()));
        assert!(a.is_ok(), "{a:?}");
        assert_eq!(a, b);
    }

    #[test]
    fn a_toml_problem_has_its_place() {
        let problems =
            Bundle::parse(b"bundle = \"x\"\n[[rules]]\nid = \"a\"\nkind = \"budget\"\nlimt = 3\nwindow = \"1 h\"\n")
                .expect_err("a misspelt field");
        assert!(
            problems
                .iter()
                .any(|p| (p.line, p.column) == (5, 1) && p.message.contains("did you mean `limit`")),
            "{problems:?}"
        );
        let problems = Bundle::parse(b"bundle = \"x\"\nrules = [\n").expect_err("no TOML");
        assert!(problems[0].message.contains("not TOML"), "{problems:?}");
    }
}
