//! Takes the fields of one map: knows every key that was asked for, and so which ones nobody knows.
//!
//! The same calls that read a bundle also describe it ([`Fields::describing`]): documentation and JSON Schema come from the
//! code that reads, and cannot differ from it.
//!
//! Invariant: a problem names its line, column and path, and reading goes on, so that one check reports all of them.

use std::cell::{Cell, RefCell};

use wire::api::BundleProblem;
use wire::reading::Unit;

use super::did_you_mean;
use super::tree::{Key, Node, Place, Style, Value};
use super::units;

/// Most problems that one check reports; a person fixes a page at a time.
const MAX_PROBLEMS: usize = 50;

/// All that is wrong with one text.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    all: RefCell<Vec<BundleProblem>>,
    /// Whether one of them keeps the text from being read at all.
    is_broken: Cell<bool>,
}

impl Problems {
    /// Notes a problem: the text cannot be read as it stands.
    pub fn add(&self, place: Place, field: &str, message: impl Into<String>) {
        self.is_broken.set(true);
        self.note(place, field, message);
    }

    /// Notes what can be read and cannot have been meant: it is refused while people write it, not once they have signed it.
    pub fn doubt(&self, place: Place, field: &str, message: impl Into<String>) {
        self.note(place, field, message);
    }

    fn note(&self, place: Place, field: &str, message: impl Into<String>) {
        let mut list = self.all.borrow_mut();
        if list.len() < MAX_PROBLEMS {
            list.push(BundleProblem {
                line: place.line,
                column: place.column,
                field: field.to_owned(),
                message: message.into(),
            });
        }
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.all.borrow().is_empty()
    }

    /// Whether the text cannot be read as it stands.
    pub fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Whether no more are taken.
    pub fn is_full(&self) -> bool {
        self.all.borrow().len() >= MAX_PROBLEMS
    }

    /// The problems, in the order of the text.
    pub fn into_vec(self) -> Vec<BundleProblem> {
        let mut list = self.all.into_inner();
        list.sort_by_key(|problem| (problem.line, problem.column));
        list
    }
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Free text.
    Text,
    /// A whole number between two bounds.
    Number(i64, i64),
    /// A duration.
    Duration,
    /// A value with a unit; `None` when the unit is the quantity's.
    Amount(Option<Unit>),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(Vec<&'static str>),
    /// A list of words, from these if there are any.
    Words(Vec<&'static str>),
    /// A map of the fields below it.
    Map(Vec<Described>),
    /// A list of such maps.
    Maps(Vec<Described>),
}

/// A field, described by the code that reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub doc: &'static str,
}

/// The fields of one map while they are read.
pub(crate) struct Fields<'a> {
    entries: &'a [(Key, Node)],
    path: String,
    place: Place,
    problems: &'a Problems,
    known: Vec<&'static str>,
    described: Option<Vec<Described>>,
    lenient: bool,
}

impl<'a> Fields<'a> {
    /// The fields of `node`, which should be a map.
    pub fn new(node: &'a Node, path: impl Into<String>, problems: &'a Problems) -> Self {
        let path = path.into();
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            other => {
                problems.add(
                    node.place,
                    &path,
                    format!("this should be a map of fields, it is {}", other.kind()),
                );
                &[]
            }
        };
        Self {
            entries,
            path,
            place: node.place,
            problems,
            known: Vec::new(),
            described: None,
            lenient: false,
        }
    }

    /// No text: notes what is asked for.
    pub fn describing(problems: &'a Problems) -> Self {
        Self {
            entries: &[],
            path: String::new(),
            place: Place::default(),
            problems,
            known: Vec::new(),
            described: Some(Vec::new()),
            lenient: false,
        }
    }

    /// What was asked for, when describing.
    pub fn into_described(self) -> Vec<Described> {
        self.described.unwrap_or_default()
    }

    /// Whether this describes instead of reading.
    pub fn is_describing(&self) -> bool {
        self.described.is_some()
    }

    /// Where the map begins.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The path of the map.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Notes a problem with a field of this map.
    pub fn problem(&self, name: &str, message: impl Into<String>) {
        if !self.is_describing() {
            self.problems.add(self.place_of(name), &self.at(name), message);
        }
    }

    /// Notes that a field of this map cannot have been meant as it stands.
    pub fn doubt(&self, name: &str, message: impl Into<String>) {
        if !self.is_describing() {
            self.problems.doubt(self.place_of(name), &self.at(name), message);
        }
    }

    fn place_of(&self, name: &str) -> Place {
        let found = self.entries.iter().find(|(key, _)| key.name == name);
        found.map_or(self.place, |(_, node)| node.place)
    }

    /// Notes that a list is there and empty; `instead` says what to write.
    pub fn doubt_if_empty(&self, name: &'static str, instead: &str) {
        let found = self.entries.iter().find(|(key, _)| key.name == name);
        let is_empty = found.is_some_and(|(_, node)| matches!(&node.value, Value::List(items) if items.is_empty()));
        if is_empty {
            self.doubt(name, format!("the list is empty: {instead}"));
        }
    }

    /// Notes a problem at a place below this map.
    pub fn problem_at(&self, place: Place, path: &str, message: impl Into<String>) {
        self.problems.add(place, path, message);
    }

    /// Whether the text has this field.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.name == name)
    }

    /// Takes every field as known: what should be here cannot be told.
    pub fn accept_all(&mut self) {
        self.lenient = true;
    }

    /// Reports every field that was not asked for.
    pub fn finish(self) {
        if self.is_describing() || self.lenient {
            return;
        }
        for (key, _) in self.entries {
            if self.known.iter().any(|name| *name == key.name) {
                continue;
            }
            let hint = match did_you_mean(&key.name, self.known.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.problems.add(
                key.place,
                &self.at(&key.name),
                format!("unknown field `{}`; {hint}", key.name),
            );
        }
    }

    /// Free text.
    pub fn text(&mut self, name: &'static str, doc: &'static str) -> Option<String> {
        let node = self.ask(name, Shape::Text, false, doc)?;
        self.scalar(name, node).map(str::to_owned)
    }

    /// Free text that must be there.
    pub fn need_text(&mut self, name: &'static str, doc: &'static str) -> String {
        let node = self.ask(name, Shape::Text, true, doc);
        node.and_then(|node| self.scalar(name, node))
            .unwrap_or_default()
            .to_owned()
    }

    /// A text that is a small language of its own and must be there: `read` takes it, and its error names a byte of the text.
    pub fn need_program<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        read: impl FnOnce(&str) -> Result<T, (usize, String)>,
    ) -> Option<T> {
        let node = self.ask(name, Shape::Text, true, doc)?;
        let text = self.scalar(name, node)?;
        match read(text) {
            Ok(value) => Some(value),
            Err((at, message)) => {
                self.problems
                    .add(self.place_inside(name, node, text, at), &self.at(name), message);
                None
            }
        }
    }

    /// Where a byte of a scalar stands. Lines of a block are taken to be indented by two more than their key.
    fn place_inside(&self, name: &str, node: &Node, text: &str, at: usize) -> Place {
        let before = text.get(..at).unwrap_or(text);
        let lines = before.bytes().filter(|byte| *byte == b'\n').count();
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match node.style {
            Style::Block => {
                let key = self.entries.iter().find(|(key, _)| key.name == name);
                let key = key.map_or(node.place, |(key, _)| key.place);
                Place {
                    line: key.line.saturating_add(1).saturating_add(number(lines)),
                    column: key.column.saturating_add(2).saturating_add(number(column)),
                }
            }
            Style::Plain | Style::Quoted => Place {
                line: node.place.line.saturating_add(number(lines)),
                column: number(column)
                    .saturating_add(if lines == 0 { node.place.column } else { 1 })
                    .saturating_add(u32::from(node.style == Style::Quoted && lines == 0)),
            },
        }
    }

    /// A whole number.
    pub fn number(&mut self, name: &'static str, low: i64, high: i64, doc: &'static str) -> Option<i64> {
        let node = self.ask(name, Shape::Number(low, high), false, doc)?;
        self.read_number(name, node, low, high)
    }

    /// A whole number that must be there.
    pub fn need_number(&mut self, name: &'static str, low: i64, high: i64, doc: &'static str) -> i64 {
        let node = self.ask(name, Shape::Number(low, high), true, doc);
        node.and_then(|node| self.read_number(name, node, low, high))
            .unwrap_or(low)
    }

    /// A duration in milliseconds.
    pub fn duration(&mut self, name: &'static str, doc: &'static str) -> Option<u64> {
        let node = self.ask(name, Shape::Duration, false, doc)?;
        self.read_duration(name, node)
    }

    /// A duration that must be there and be longer than nothing.
    pub fn need_duration(&mut self, name: &'static str, doc: &'static str) -> u64 {
        let node = self.ask(name, Shape::Duration, true, doc);
        let read = node.and_then(|node| self.read_duration(name, node));
        if read == Some(0) {
            self.problem(name, "must be longer than 0");
        }
        read.unwrap_or(1).max(1)
    }

    /// A value in `unit`; with `None` the unit is not known because the quantity is not.
    pub fn amount(&mut self, name: &'static str, unit: Option<Unit>, doc: &'static str) -> Option<i64> {
        let node = self.ask(name, Shape::Amount(unit), false, doc)?;
        let text = self.scalar(name, node)?;
        match units::amount(text, unit?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(name, message);
                None
            }
        }
    }

    /// A value that must be there.
    pub fn need_amount(&mut self, name: &'static str, unit: Option<Unit>, doc: &'static str) -> i64 {
        let value = self.amount(name, unit, doc);
        self.require(name, unit.map_or("85 °C", units::example));
        value.unwrap_or_default()
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&mut self, name: &'static str, doc: &'static str) -> bool {
        let Some(node) = self.ask(name, Shape::Flag, false, doc) else {
            return false;
        };
        match self.scalar(name, node) {
            Some("true" | "yes") => true,
            Some("false" | "no") | None => false,
            Some(other) => {
                self.problem(name, format!("`{other}` is neither true nor false"));
                false
            }
        }
    }

    /// One of `words`; its index.
    pub fn choice(&mut self, name: &'static str, words: &[&'static str], doc: &'static str) -> Option<usize> {
        let node = self.ask(name, Shape::Choice(words.to_vec()), false, doc)?;
        let text = self.scalar(name, node)?;
        self.word(name, node.place, text, words)
    }

    /// One of `words`, which must be there.
    pub fn need_choice(&mut self, name: &'static str, words: &[&'static str], doc: &'static str) -> Option<usize> {
        let index = self.choice(name, words, doc);
        self.require(name, words.first().copied().unwrap_or("word"));
        index
    }

    /// A list of words out of `words`; a single word is a list of one. Returns indices.
    pub fn choices(&mut self, name: &'static str, words: &[&'static str], doc: &'static str) -> Option<Vec<usize>> {
        let node = self.ask(name, Shape::Words(words.to_vec()), false, doc)?;
        let mut found = Vec::new();
        for (place, text) in self.list_of_text(name, node) {
            found.extend(self.word(name, place, text, words));
        }
        Some(found)
    }

    /// A list of free words; a single word is a list of one.
    pub fn words(&mut self, name: &'static str, doc: &'static str) -> Option<Vec<String>> {
        let node = self.ask(name, Shape::Words(Vec::new()), false, doc)?;
        let list = self.list_of_text(name, node);
        Some(list.into_iter().map(|(_, text)| text.to_owned()).collect())
    }

    /// A map below this one, read by `read`.
    pub fn map<T>(
        &mut self,
        name: &'static str,
        required: bool,
        doc: &'static str,
        read: impl Fn(&mut Fields<'a>) -> T,
    ) -> Option<T> {
        if self.describe_below(name, required, doc, &read, Shape::Map) {
            return None;
        }
        let node = self.ask(name, Shape::Map(Vec::new()), required, doc)?;
        Some(self.read_map(node, self.at(name), &read))
    }

    /// A list of maps below this one; a single map is a list of one.
    pub fn maps<T>(
        &mut self,
        name: &'static str,
        required: bool,
        doc: &'static str,
        read: impl Fn(&mut Fields<'a>) -> T,
    ) -> Vec<T> {
        if self.describe_below(name, required, doc, &read, Shape::Maps) {
            return Vec::new();
        }
        let Some(node) = self.ask(name, Shape::Maps(Vec::new()), required, doc) else {
            return Vec::new();
        };
        let path = self.at(name);
        match &node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .take_while(|_| !self.problems.is_full())
                .map(|(index, item)| self.read_map(item, format!("{path}[{index}]"), &read))
                .collect(),
            _ => vec![self.read_map(node, path, &read)],
        }
    }

    /// The words of a map with free keys, such as labels.
    pub fn pairs(&mut self, name: &'static str, doc: &'static str) -> Vec<(String, String)> {
        let Some(node) = self.ask(name, Shape::Map(Vec::new()), false, doc) else {
            return Vec::new();
        };
        let Value::Map(entries) = &node.value else {
            self.problem(name, "this should be a map of words");
            return Vec::new();
        };
        entries
            .iter()
            .filter_map(|(key, node)| Some((key.name.clone(), self.scalar(name, node)?.to_owned())))
            .collect()
    }

    fn read_map<T>(&self, node: &'a Node, path: String, read: &impl Fn(&mut Fields<'a>) -> T) -> T {
        let mut fields = Fields::new(node, path, self.problems);
        let value = read(&mut fields);
        fields.finish();
        value
    }

    fn describe_below<T>(
        &mut self,
        name: &'static str,
        required: bool,
        doc: &'static str,
        read: &impl Fn(&mut Fields<'a>) -> T,
        shape: impl Fn(Vec<Described>) -> Shape,
    ) -> bool {
        if !self.is_describing() {
            return false;
        }
        let mut below = Fields::describing(self.problems);
        read(&mut below);
        let shape = shape(below.into_described());
        self.ask(name, shape, required, doc);
        true
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn ask(&mut self, name: &'static str, shape: Shape, required: bool, doc: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        if let Some(described) = &mut self.described {
            described.push(Described {
                name,
                shape,
                required,
                doc,
            });
            return None;
        }
        let node = self
            .entries
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, node)| node)
            .filter(|node| node.value != Value::Nothing);
        if node.is_none() && required {
            self.missing(name, doc);
        }
        node
    }

    fn require(&mut self, name: &'static str, _example: &str) {
        if let Some(described) = &mut self.described {
            if let Some(last) = described.iter_mut().rev().find(|field| field.name == name) {
                last.required = true;
            }
        } else if !self.has(name) {
            self.missing(name, "");
        }
    }

    fn missing(&self, name: &str, doc: &str) {
        let what = if doc.is_empty() {
            String::new()
        } else {
            format!(": {doc}")
        };
        self.problem(name, format!("`{name}` is missing{what}"));
    }

    fn scalar(&self, name: &str, node: &'a Node) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) => Some(text),
            other => {
                self.problems.add(
                    node.place,
                    &self.at(name),
                    format!("this should be a single value, it is {}", other.kind()),
                );
                None
            }
        }
    }

    fn list_of_text(&self, name: &str, node: &'a Node) -> Vec<(Place, &'a str)> {
        match &node.value {
            Value::List(items) => items
                .iter()
                .filter_map(|item| Some((item.place, self.scalar(name, item)?)))
                .collect(),
            _ => self
                .scalar(name, node)
                .map(|text| (node.place, text))
                .into_iter()
                .collect(),
        }
    }

    fn read_number(&self, name: &str, node: &'a Node, low: i64, high: i64) -> Option<i64> {
        let text = self.scalar(name, node)?;
        match text.replace('_', "").parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Some(number),
            Ok(number) => {
                self.problem(name, format!("{number} is outside {low}..={high}"));
                None
            }
            Err(_) => {
                self.problem(name, format!("`{text}` is not a whole number"));
                None
            }
        }
    }

    fn read_duration(&self, name: &str, node: &'a Node) -> Option<u64> {
        let text = self.scalar(name, node)?;
        units::duration_ms(text)
            .map_err(|message| self.problem(name, message))
            .ok()
    }

    fn word(&self, name: &str, place: Place, text: &str, words: &[&'static str]) -> Option<usize> {
        let index = words.iter().position(|word| *word == text);
        if index.is_none() {
            let hint = match did_you_mean(text, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None if words.len() > 12 => "see `sentinel policy explain`".to_owned(),
                None => format!("one of {}", words.join(", ")),
            };
            self.problems
                .add(place, &self.at(name), format!("unknown `{text}`; {hint}"));
        }
        index
    }
}
