//! Turns a bundle's text into a tree in which every node knows its line and column.
//!
//! Scalars stay text: `on`, `0123` and `1e3` mean nothing here. Anchors, aliases, tags and several documents are refused, so
//! no short text unfolds into a long one.
//!
//! Invariant: at most [`MAX_NODES`] nodes and [`MAX_DEPTH`] levels are ever built, whatever the text.

use granit_parser::{Event, Options, Parser, Span};

/// Most nodes of one bundle: 256 rules of about 40 fields, twice.
pub(crate) const MAX_NODES: usize = 20_000;
/// Deepest nesting; a rule needs 5.
pub(crate) const MAX_DEPTH: usize = 12;

/// Where something stands in the text, both from 1; 0 if it has no place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: u32,
    pub column: u32,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub place: Place,
    pub value: Value,
    pub style: Style,
}

/// How a scalar is written, which says where its first letter stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is; also what is no scalar.
    #[default]
    Plain,
    /// Between quotes.
    Quoted,
    /// In lines of its own, after `|` or `>`.
    Block,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing after the colon, `~` or `null`.
    Nothing,
    /// A scalar, as it was written.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text; keys are distinct.
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub place: Place,
    pub name: String,
}

impl Value {
    /// What it is, for error texts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Why a text is not a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub place: Place,
    pub message: String,
}

/// Reads one YAML document.
pub(crate) fn yaml(text: &str) -> Result<Node, SyntaxError> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    for event in parser {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                return Err(SyntaxError {
                    place: place(error.marker().line(), error.marker().col()),
                    message: format!("this is not YAML: {}", error.kind()),
                });
            }
        }
    }
    builder.root.ok_or_else(|| SyntaxError {
        place: Place { line: 1, column: 1 },
        message: "the text is empty; a bundle needs at least `bundle: NAME`".to_owned(),
    })
}

fn place(line: usize, column_from_zero: usize) -> Place {
    Place {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column_from_zero.saturating_add(1)).unwrap_or(u32::MAX),
    }
}

/// A map or list that is still open.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<(Key, Node)>, Option<Key>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let here = place(span.start.line(), span.start.col());
        let refuse = |message: &str| {
            Err(SyntaxError {
                place: here,
                message: message.to_owned(),
            })
        };
        match event {
            Event::Scalar(_, _, anchor, tag) if anchor != 0 || tag.is_some() => {
                refuse("anchors and tags are not allowed; write the value out")
            }
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                refuse("anchors and tags are not allowed; write the value out")
            }
            Event::Scalar(text, style, _, _) => {
                let plain = style == granit_parser::ScalarStyle::Plain;
                let value = match &*text {
                    "" | "~" | "null" if plain => Value::Nothing,
                    _ => Value::Text(text.into_owned()),
                };
                let style = match style {
                    granit_parser::ScalarStyle::Plain => Style::Plain,
                    granit_parser::ScalarStyle::Literal | granit_parser::ScalarStyle::Folded => Style::Block,
                    granit_parser::ScalarStyle::SingleQuoted | granit_parser::ScalarStyle::DoubleQuoted => {
                        Style::Quoted
                    }
                };
                self.put(Node {
                    place: here,
                    value,
                    style,
                })
            }
            Event::SequenceStart(..) => self.descend(Open::List(here, Vec::new()), here),
            Event::MappingStart(..) => self.descend(Open::Map(here, Vec::new(), None), here),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(place, items)) => self.put(Node {
                    place,
                    value: Value::List(items),
                    style: Style::Plain,
                }),
                Some(Open::Map(place, entries, _)) => self.put(Node {
                    place,
                    value: Value::Map(entries),
                    style: Style::Plain,
                }),
                None => refuse("a map or list ends that was not begun"),
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                refuse("a second document begins here; a bundle is one document")
            }
            Event::Alias(_) => refuse("aliases are not allowed; write the value out"),
            _ => Ok(()),
        }
    }

    fn descend(&mut self, open: Open, here: Place) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(SyntaxError {
                place: here,
                message: format!("nested deeper than {MAX_DEPTH} levels"),
            });
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), SyntaxError> {
        self.nodes += 1;
        let here = node.place;
        let refuse = |message: String| Err(SyntaxError { place: here, message });
        if self.nodes > MAX_NODES {
            return refuse(format!("more than {MAX_NODES} values; a bundle is at most 256 rules"));
        }
        match self.open.last_mut() {
            None => {
                self.root = Some(node);
                Ok(())
            }
            Some(Open::List(_, items)) => {
                items.push(node);
                Ok(())
            }
            Some(Open::Map(_, entries, waiting @ None)) => match node.value {
                Value::Text(name) if entries.iter().any(|(key, _)| key.name == name) => {
                    refuse(format!("`{name}` is there twice"))
                }
                // Our widest map has about 30 keys; this keeps the search above from becoming quadratic.
                Value::Text(_) if entries.len() >= 64 => refuse("more than 64 keys in one map".to_owned()),
                Value::Text(name) => {
                    *waiting = Some(Key { place: here, name });
                    Ok(())
                }
                other => refuse(format!("a key must be a word, this is {}", other.kind())),
            },
            Some(Open::Map(_, entries, waiting)) => {
                if let Some(key) = waiting.take() {
                    entries.push((key, node));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match yaml(text) {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{}:{} {}", error.place.line, error.place.column, error.message),
        };
        assert!(
            found.contains(expected),
            "{text:?}: expected {expected:?}, found {found:?}"
        );
    }

    #[test]
    fn trees_know_their_places() {
        let Ok(Node {
            value: Value::Map(entries),
            ..
        }) = yaml("a: 1\nrules:\n  - id: x\n")
        else {
            panic!("a map");
        };
        assert_eq!(entries[1].0.place, Place { line: 2, column: 1 });
        let Value::List(items) = &entries[1].1.value else {
            panic!("a list")
        };
        assert_eq!(items[0].place, Place { line: 3, column: 5 });
    }

    #[test]
    fn what_is_not_a_plain_tree_is_refused_with_its_place() {
        check("a: [1, 2", "this is not YAML");
        check("a: &x 1\nb: *x\n", "1:");
        check("a: !!int 3\n", "anchors and tags");
        check("a: 1\na: 2\n", "2:1 `a` is there twice");
        check("a: 1\n---\nb: 2\n", "second document");
        check("? [1]\n: 2\n", "a key must be a word");
        check("", "empty");
        check(&format!("{}{}", "[".repeat(100), "]".repeat(100)), "nested deeper");
        check(&format!("a: [{}]", "1,".repeat(30_000)), "more than 20000 values");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}|[\\[\\]{}:,\\- \n&*!|>'\"a]{0,80}") {
            let _ = yaml(&text);
        }
    }
}
