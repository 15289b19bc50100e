//! Names, functions and what follows a value: `action.kind`, `facts["rack.members"]`, `labels.team`, `has(…)`, `.exists(x, …)`.

use wire::Quantity;

use super::build::Part;
use super::lex::Token;
use super::names::{ACTION, CALENDAR, FILTER, LISTS, MATCHES, QUANTIFIERS, SEARCHES};
use super::parse::{Parsed, Parser, Variable, fail_at, need};
use super::{CelError, Op, Origin, Scalar, Type, limits};
use crate::text::did_you_mean;
use crate::text::units;

/// Units in which `value("…")` is tried; a suffix belongs to one of them.
const UNITS: [wire::Unit; 8] = [
    wire::Unit::MilliCelsius,
    wire::Unit::Milliwatt,
    wire::Unit::BasisPoints,
    wire::Unit::Bytes,
    wire::Unit::BytesPerSecond,
    wire::Unit::MilliPerSecond,
    wire::Unit::Megahertz,
    wire::Unit::Count,
];

const TEXT: Type = Type::One(Scalar::Text);
const INT: Type = Type::One(Scalar::Int);
const BOOL: Type = Type::One(Scalar::Bool);

impl Parser {
    /// One of [`super::names::ROOTS`], with the field that it needs.
    pub fn root(&mut self, name: &str) -> Parsed {
        let start = self.start();
        self.advance();
        match name {
            "now" => self
                .build
                .leaf(Op::Now, start, self.end(), Type::One(Scalar::Time), None),
            "labels" => self.build.leaf(Op::Labels, start, self.end(), Type::Labels, None),
            "resources" => self.build.leaf(Op::Resources, start, self.end(), Type::Resources, None),
            "action" => {
                let (field, at) = self.field("action")?;
                let (_, field, kind, _) = *find_field(&field, at)?;
                self.build
                    .leaf(Op::Action(field), start, self.end(), Type::One(kind), None)
            }
            _ => {
                let (key, at) = self.field(name)?;
                let (slot, kind, unit) = self.number(name, &key, at)?;
                self.build.leaf(Op::Number(slot), start, self.end(), kind, unit)
            }
        }
    }

    /// The field after a name that is no value by itself: `.kind` or `["kind"]`.
    fn field(&mut self, of: &str) -> Result<(String, usize), CelError> {
        if self.takes(".") {
            let at = self.start();
            if let Token::Word(word) = self.peek().clone() {
                self.advance();
                return Ok((word, at));
            }
        } else if of != "action" && self.takes("[") {
            let at = self.start();
            if let Token::Text(text) = self.peek().clone() {
                self.advance();
                self.expect("]")?;
                return Ok((text, at));
            }
        }
        let example = match of {
            "action" => "`action.kind`",
            "facts" => "`facts[\"rack.members\"]`",
            "readings" => "`readings[\"gpu.temperature\"]`",
            _ => "`ages[\"gpu.temperature\"]`",
        };
        self.fail(format!(
            "`{of}` is named with one of its fields, written out: {example}"
        ))
    }

    /// The slot, type and unit of a fact, reading or age.
    fn number(&mut self, root: &str, key: &str, at: usize) -> Result<(u8, Type, Option<wire::Unit>), CelError> {
        if root == "facts" {
            let slot = self.build.number(Origin::Fact(key.to_owned()), at)?;
            return Ok((slot, INT, None));
        }
        let Ok(quantity) = key.parse::<Quantity>() else {
            let hint = match did_you_mean(key, Quantity::ALL.iter().map(|quantity| quantity.name())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "one is `gpu.temperature`".to_owned(),
            };
            return fail_at(at, format!("unknown quantity `{key}`; {hint}"));
        };
        let name = format!("{root}.{key}");
        if root == "readings" {
            let slot = self.build.number(Origin::Reading(quantity, name), at)?;
            return Ok((slot, INT, Some(quantity.unit())));
        }
        let slot = self.build.number(Origin::Age(quantity, name), at)?;
        Ok((slot, Type::One(Scalar::Duration), None))
    }

    /// `value in list`, `"key" in labels`, `"name" in facts`.
    pub fn membership(&mut self, value: Part) -> Parsed {
        let root = match self.peek() {
            Token::Word(word) if ["facts", "readings", "ages"].contains(&word.as_str()) => Some(word.clone()),
            _ => None,
        };
        if let Some(root) = root {
            let Some(key) = self.build.literal_text(&value).map(str::to_owned) else {
                let message = format!("what is looked for in `{root}` must be written out");
                return fail_at(usize::from(value.span.0), message);
            };
            let (slot, ..) = self.number(&root, &key, usize::from(value.span.0))?;
            self.advance();
            let (start, end) = (usize::from(value.span.0), self.end());
            return self.build.leaf(Op::HasNumber(slot), start, end, BOOL, None);
        }
        let right = self.sum()?;
        let op = match (right.kind, value.kind) {
            (Type::Labels | Type::Resources, TEXT) => Op::HasEntry(right.id, value.id),
            (Type::List(None), Type::One(_)) => Op::In(value.id, right.id),
            (Type::List(Some(item)), Type::One(kind)) if item == kind => Op::In(value.id, right.id),
            _ => {
                let message = format!("{} is never in {}", value.kind.name(), right.kind.name());
                return fail_at(usize::from(value.span.0), message);
            }
        };
        self.build.two(op, value, right, BOOL, None)
    }

    /// Everything that can follow a value.
    pub fn members(&mut self, mut of: Part) -> Parsed {
        loop {
            if self.takes("[") {
                let key = self.expression()?;
                self.expect("]")?;
                of = self.index(of, key)?;
            } else if self.takes(".") {
                let at = self.start();
                let Token::Word(word) = self.peek().clone() else {
                    return self.fail(format!("a name should stand after the dot, not {}", self.shown()));
                };
                self.advance();
                of = if self.takes("(") {
                    self.method(of, &word, at)?
                } else {
                    self.select(of, word, at)?
                };
            } else {
                return Ok(of);
            }
        }
    }

    fn index(&mut self, of: Part, key: Part) -> Parsed {
        let (op, kind) = match (of.kind, key.kind) {
            (Type::List(Some(item)), INT) => (Op::Item(of.id, key.id), Type::One(item)),
            (Type::Labels, TEXT) => (Op::Entry(of.id, key.id), TEXT),
            (Type::Resources, TEXT) => (Op::Entry(of.id, key.id), INT),
            (a, b) => {
                let message = format!("{} has nothing at {}", a.name(), b.name());
                return fail_at(usize::from(key.span.0), message);
            }
        };
        let part = self.build.two(op, of, key, kind, None)?;
        self.build.stretch(part, self.end())
    }

    fn select(&mut self, of: Part, word: String, at: usize) -> Parsed {
        let kind = match of.kind {
            Type::Labels => TEXT,
            Type::Resources => INT,
            other => return fail_at(at, format!("{} has no field `{word}`", other.name())),
        };
        let end = self.end();
        let key = self.build.leaf(Op::Text(word.into_boxed_str()), at, end, TEXT, None)?;
        self.build.two(Op::Entry(of.id, key.id), of, key, kind, None)
    }

    /// A method; its bracket is open.
    fn method(&mut self, of: Part, name: &str, at: usize) -> Parsed {
        if let Some((_, quantifier)) = QUANTIFIERS.iter().find(|(known, _)| *known == name) {
            return self.quantifier(of, *quantifier);
        }
        if LISTS.contains(&name) {
            return self.each(of, name == FILTER);
        }
        if let Some((_, search)) = SEARCHES.iter().find(|(known, _)| *known == name) {
            let part = self.expression()?;
            self.expect(")")?;
            need(&of, Scalar::Text, "what is searched")?;
            need(&part, Scalar::Text, "what is searched for")?;
            let found = self
                .build
                .two(Op::Search(*search, of.id, part.id), of, part, BOOL, None)?;
            return self.build.stretch(found, self.end());
        }
        if name == MATCHES {
            let pattern_at = self.start();
            let Token::Text(pattern) = self.peek().clone() else {
                return self.fail("`matches` takes a pattern that is written out: `.matches(\"^gpu[0-9]+$\")`");
            };
            self.advance();
            self.expect(")")?;
            need(&of, Scalar::Text, "what is searched")?;
            return self.build.matches(of, &pattern, pattern_at, self.end());
        }
        if let Some((_, field)) = CALENDAR.iter().find(|(known, _)| *known == name) {
            need(&of, Scalar::Time, "what has a calendar")?;
            let zone_at = self.start();
            let zone = match self.peek().clone() {
                Token::Text(text) => {
                    self.advance();
                    text
                }
                _ => "UTC".to_owned(),
            };
            self.expect(")")?;
            let zone = self.build.zone(&zone, zone_at)?;
            let op = Op::Calendar(*field, of.id, zone);
            let found = self.build.one(op, usize::from(of.span.0), of, INT, None)?;
            return self.build.stretch(found, self.end());
        }
        if name == "size" {
            self.expect(")")?;
            return self.size(of, usize::from(of.span.0));
        }
        let all = QUANTIFIERS.iter().map(|(name, _)| *name).chain(LISTS.iter().copied());
        let all = all.chain(SEARCHES.iter().map(|(name, _)| *name));
        let all = all
            .chain(CALENDAR.iter().map(|(name, _)| *name))
            .chain(["size", MATCHES]);
        match did_you_mean(name, all.clone()) {
            Some(near) => fail_at(at, format!("unknown method `{name}`; did you mean `{near}`?")),
            None => {
                let all: Vec<_> = all.collect();
                fail_at(at, format!("unknown method `{name}`; there are {}", all.join(", ")))
            }
        }
    }

    fn size(&mut self, of: Part, start: usize) -> Parsed {
        if matches!(of.kind, Type::One(kind) if kind != Scalar::Text) {
            return fail_at(usize::from(of.span.0), format!("{} has no size", of.kind.name()));
        }
        let found = self.build.one(Op::Size(of.id), start, of, INT, None)?;
        self.build.stretch(found, self.end())
    }

    /// `.all(x, …)`; its bracket is open.
    fn quantifier(&mut self, over: Part, quantifier: super::Quantifier) -> Parsed {
        self.variable(&over)?;
        let body = self.expression();
        self.scope.pop();
        let body = body?;
        self.expect(")")?;
        need(&body, Scalar::Bool, "what is asked of each item")?;
        let op = Op::Quantify {
            quantifier,
            over: over.id,
            body: body.id,
            variable: self.scope.len() as u8,
        };
        self.build.quantify(op, over, body, self.end())
    }

    /// `.filter(x, …)`, `.map(x, …)` or `.map(x, …, …)`; its bracket is open.
    fn each(&mut self, over: Part, is_filter: bool) -> Parsed {
        self.variable(&over)?;
        let bodies = self.bodies(is_filter);
        self.scope.pop();
        let (keep, yields) = bodies?;
        self.expect(")")?;
        if let Some(keep) = &keep {
            need(keep, Scalar::Bool, "what is asked of each item")?;
        }
        let kind = match (&yields, over.kind) {
            (None, Type::Labels | Type::Resources) => Type::List(Some(Scalar::Text)),
            (None, kind) => kind,
            (Some(yields), _) => match yields.kind {
                Type::One(scalar) => Type::List(Some(scalar)),
                _ => return fail_at(usize::from(yields.span.0), "a list holds single values only"),
            },
        };
        let op = Op::Each {
            over: over.id,
            keep: keep.map(|keep| keep.id),
            yields: yields.map(|yields| yields.id),
            variable: self.scope.len() as u8,
        };
        let parts: Vec<Part> = keep.into_iter().chain(yields).collect();
        self.build.each(op, over, &parts, kind, self.end())
    }

    /// What is asked of each item, and what is made of it.
    fn bodies(&mut self, is_filter: bool) -> Result<(Option<Part>, Option<Part>), CelError> {
        let first = self.expression()?;
        if is_filter {
            return Ok((Some(first), None));
        }
        Ok(match self.takes(",") {
            true => (Some(first), Some(self.expression()?)),
            false => (None, Some(first)),
        })
    }

    /// The name that each item has from here on, in scope until it is taken out.
    fn variable(&mut self, over: &Part) -> Result<(), CelError> {
        let kind = match over.kind {
            Type::List(item) => item.unwrap_or(Scalar::Int),
            Type::Labels | Type::Resources => Scalar::Text,
            Type::One(_) => {
                let message = format!("{} has no items", over.kind.name());
                return fail_at(usize::from(over.span.0), message);
            }
        };
        let at = self.start();
        let Token::Word(name) = self.peek().clone() else {
            return self.fail("the first part names each item: `.all(x, x > 0)`");
        };
        if super::names::RESERVED.contains(&name.as_str()) {
            return self.fail(format!("`{name}` is a word that CEL keeps for itself"));
        }
        if self.scope.len() >= limits::NESTING {
            return fail_at(
                at,
                format!(
                    "more than {} of all, exists, exists_one, filter and map in each other",
                    limits::NESTING
                ),
            );
        }
        self.advance();
        self.expect(",")?;
        self.scope.push(Variable { name, kind, unit: None });
        Ok(())
    }

    /// One of [`super::names::FUNCTIONS`].
    pub fn function(&mut self, name: &str) -> Parsed {
        let start = self.start();
        self.advance();
        self.expect("(")?;
        if name == "has" {
            return self.has(start);
        }
        if name == "size" {
            let of = self.expression()?;
            self.expect(")")?;
            return self.size(of, start);
        }
        let at = self.start();
        let Token::Text(text) = self.peek().clone() else {
            return self.fail(format!("`{name}` takes a text that is written out"));
        };
        self.advance();
        self.expect(")")?;
        let (op, kind, unit) = constant(name, &text, at)?;
        self.build.leaf(op, start, self.end(), Type::One(kind), unit)
    }

    /// Whether a field is there; its bracket is open.
    fn has(&mut self, start: usize) -> Parsed {
        let name = match self.peek().clone() {
            Token::Word(name) if super::names::ROOTS.contains(&name.as_str()) && name != "now" => name,
            _ => return self.fail("`has` asks for a field: `has(labels.team)`, `has(action.amount)`, `has(facts.x)`"),
        };
        let root_at = self.start();
        self.advance();
        let root_end = self.end();
        self.expect(".")?;
        let at = self.start();
        let Token::Word(field) = self.peek().clone() else {
            return self.fail(format!("a name should stand after the dot, not {}", self.shown()));
        };
        self.advance();
        let field_end = self.end();
        self.expect(")")?;
        let end = self.end();
        match name.as_str() {
            "action" => {
                let op = Op::HasAction(find_field(&field, at)?.1);
                self.build.leaf(op, start, end, BOOL, None)
            }
            "labels" | "resources" => {
                let (op, kind) = if name == "labels" {
                    (Op::Labels, Type::Labels)
                } else {
                    (Op::Resources, Type::Resources)
                };
                let map = self.build.leaf(op, root_at, root_end, kind, None)?;
                let key = Op::Text(field.into_boxed_str());
                let key = self.build.leaf(key, at, field_end, TEXT, None)?;
                let part = self.build.two(Op::HasEntry(map.id, key.id), map, key, BOOL, None)?;
                self.build.restart(part, start, end)
            }
            _ => {
                let (slot, ..) = self.number(&name, &field, at)?;
                self.build.leaf(Op::HasNumber(slot), start, end, BOOL, None)
            }
        }
    }
}

fn find_field(name: &str, at: usize) -> Result<&'static (&'static str, super::Field, Scalar, bool), CelError> {
    if let Some(found) = ACTION.iter().find(|(known, ..)| *known == name) {
        return Ok(found);
    }
    let known = ACTION.iter().map(|(known, ..)| *known);
    match did_you_mean(name, known.clone()) {
        Some(near) => fail_at(at, format!("`action` has no `{name}`; did you mean `{near}`?")),
        None => {
            let known: Vec<_> = known.collect();
            fail_at(at, format!("`action` has no `{name}`; it has {}", known.join(", ")))
        }
    }
}

/// The value of `duration`, `timestamp` or `value` of a text.
fn constant(name: &str, text: &str, at: usize) -> Result<(Op, Scalar, Option<wire::Unit>), CelError> {
    match name {
        "duration" => {
            let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
            match units::duration_ms(digits).map(i64::try_from) {
                Ok(Ok(ms)) => Ok((Op::Duration(if negative { -ms } else { ms }), Scalar::Duration, None)),
                Ok(Err(_)) => fail_at(at, format!("`{text}` is too long")),
                Err(message) => fail_at(at, message),
            }
        }
        "timestamp" => match text.parse::<wire::Wall>() {
            Ok(wall) => Ok((Op::Time(wall.0), Scalar::Time, None)),
            Err(error) => fail_at(at, error.to_string()),
        },
        _ => {
            let found = UNITS
                .iter()
                .find_map(|unit| Some((*unit, units::amount(text, *unit).ok()?)));
            match found {
                Some((wire::Unit::Count, number)) => Ok((Op::Int(number), Scalar::Int, None)),
                Some((unit, number)) => Ok((Op::Int(number), Scalar::Int, Some(unit))),
                None => fail_at(
                    at,
                    format!("`{text}` is no value with a unit such as `85 °C`, `220 W`, `90 %` or `200 MiB`"),
                ),
            }
        }
    }
}
