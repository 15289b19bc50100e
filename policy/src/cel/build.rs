//! Makes nodes and holds them to their limits: how many, how deep, how many steps an evaluation can cost.

use jiff::tz::TimeZone;
use wire::reading::Unit;

use super::{CelError, Expression, Id, Node, Op, Origin, Pattern, Scalar, Type, limits};

/// A node that was made, with what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub id: Id,
    pub kind: Type,
    pub unit: Option<Unit>,
    pub span: (u16, u16),
    /// Most items, if it is a list or map.
    pub len: u32,
    depth: usize,
    /// Steps to compute it; of a list, with one look at each item.
    cost: u32,
    /// Of a list or map: steps of a look at each item alone.
    pass: u32,
}

#[derive(Default)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    members: Vec<Id>,
    numbers: Vec<Origin>,
    zones: Vec<(String, TimeZone)>,
    patterns: Vec<Pattern>,
    uses_labels: bool,
    uses_resources: bool,
}

impl Type {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::One(Scalar::Bool) => "a yes or no",
            Self::One(Scalar::Int) => "a number",
            Self::One(Scalar::Text) => "a text",
            Self::One(Scalar::Duration) => "a duration",
            Self::One(Scalar::Time) => "a time",
            Self::List(_) => "a list",
            Self::Labels | Self::Resources => "a map",
        }
    }
}

impl Builder {
    pub fn finish(self, text: &str, root: &Part) -> Expression {
        Expression {
            text: text.to_owned(),
            nodes: self.nodes,
            members: self.members,
            numbers: self.numbers,
            zones: self.zones.into_iter().map(|(_, zone)| zone).collect(),
            patterns: self.patterns,
            root: root.id,
            uses_labels: self.uses_labels,
            uses_resources: self.uses_resources,
            #[cfg(test)]
            cost: root.cost,
        }
    }

    fn add(&mut self, node: Node, len: u32, depth: usize, cost: u32) -> Result<Part, CelError> {
        let refuse = |message: String| {
            Err(CelError {
                at: usize::from(node.span.0),
                message,
            })
        };
        if self.nodes.len() >= limits::NODES {
            return refuse(format!("more than {} names, values and operators", limits::NODES));
        }
        if depth > limits::DEPTH {
            return refuse(format!("nested deeper than {} levels", limits::DEPTH));
        }
        if cost > limits::COST {
            return refuse(format!(
                "could take {cost} steps; a condition takes at most {}",
                limits::COST
            ));
        }
        self.uses_labels |= matches!(node.op, Op::Labels);
        self.uses_resources |= matches!(node.op, Op::Resources);
        let part = Part {
            id: self.nodes.len() as Id,
            kind: node.kind,
            unit: node.unit,
            span: node.span,
            len,
            depth,
            cost,
            pass: len,
        };
        self.nodes.push(node);
        Ok(part)
    }

    pub fn leaf(&mut self, op: Op, start: usize, end: usize, kind: Type, unit: Option<Unit>) -> Result<Part, CelError> {
        let len = match op {
            Op::Labels | Op::Resources => limits::ENTRIES as u32,
            _ => 0,
        };
        let span = (start as u16, end as u16);
        self.add(Node { op, kind, unit, span }, len, 1, 1)
    }

    /// A node over one other that begins at `start`.
    pub fn one(&mut self, op: Op, start: usize, of: Part, kind: Type, unit: Option<Unit>) -> Result<Part, CelError> {
        let span = (start as u16, of.span.1);
        self.add(
            Node { op, kind, unit, span },
            0,
            of.depth + 1,
            of.cost.saturating_add(1),
        )
    }

    /// A node over two others.
    pub fn two(&mut self, op: Op, a: Part, b: Part, kind: Type, unit: Option<Unit>) -> Result<Part, CelError> {
        let cost = a.cost.saturating_add(b.cost).saturating_add(1 + a.len.max(b.len));
        let span = (a.span.0, b.span.1.max(a.span.1));
        self.add(Node { op, kind, unit, span }, 0, a.depth.max(b.depth) + 1, cost)
    }

    pub fn branch(&mut self, c: Part, a: Part, b: Part, kind: Type, unit: Option<Unit>) -> Result<Part, CelError> {
        let cost = c.cost.saturating_add(a.cost.max(b.cost)).saturating_add(1);
        let span = (c.span.0, b.span.1);
        let depth = c.depth.max(a.depth).max(b.depth) + 1;
        let op = Op::If(c.id, a.id, b.id);
        let part = self.add(Node { op, kind, unit, span }, a.len.max(b.len), depth, cost)?;
        let pass = c.cost.saturating_add(a.pass.max(b.pass));
        Ok(Part { pass, ..part })
    }

    /// The same node, whose text goes on to `end`.
    pub fn stretch(&mut self, part: Part, end: usize) -> Result<Part, CelError> {
        self.restart(part, usize::from(part.span.0), end)
    }

    /// The same node with another place in the text.
    pub fn restart(&mut self, mut part: Part, start: usize, end: usize) -> Result<Part, CelError> {
        part.span = (start as u16, end as u16);
        self.nodes[usize::from(part.id)].span = part.span;
        Ok(part)
    }

    /// `&&` or `||` of several.
    pub fn junction(&mut self, or: bool, parts: &[Part]) -> Result<Part, CelError> {
        let (first, len) = self.take_members(parts)?;
        let op = if or {
            Op::Or { first, len }
        } else {
            Op::And { first, len }
        };
        let span = (parts[0].span.0, parts[parts.len() - 1].span.1);
        let kind = Type::One(Scalar::Bool);
        let node = Node {
            op,
            kind,
            unit: None,
            span,
        };
        self.add(node, 0, deepest(parts) + 1, cost_of(parts))
    }

    pub fn list(&mut self, parts: &[Part], start: usize, end: usize) -> Result<Part, CelError> {
        let (first, len) = self.take_members(parts)?;
        let literal = parts.iter().all(|part| {
            matches!(
                self.nodes[usize::from(part.id)].op,
                Op::Bool(_) | Op::Int(_) | Op::Text(_) | Op::Duration(_) | Op::Time(_)
            )
        });
        let kind = match parts.first().map(|part| part.kind) {
            Some(Type::One(scalar)) => Type::List(Some(scalar)),
            _ => Type::List(None),
        };
        let node = Node {
            op: Op::List { first, len, literal },
            kind,
            unit: None,
            span: (start as u16, end as u16),
        };
        // Each item is computed once to see that it can be, and once when it is looked at.
        let pass = cost_of(parts);
        let part = self.add(node, parts.len() as u32, deepest(parts) + 1, pass.saturating_mul(2))?;
        Ok(Part { pass, ..part })
    }

    /// `filter` or `map`: what is kept and what is made of it is computed once an item, when the items are looked at.
    pub fn each(&mut self, op: Op, over: Part, bodies: &[Part], kind: Type, end: usize) -> Result<Part, CelError> {
        let rounds = over.len.saturating_mul(cost_of(bodies));
        let pass = over.pass.saturating_add(rounds);
        let cost = pass.saturating_add(1);
        let node = Node {
            op,
            kind,
            unit: None,
            span: (over.span.0, end as u16),
        };
        let part = self.add(node, over.len, over.depth.max(deepest(bodies)) + 1, cost)?;
        Ok(Part { pass, ..part })
    }

    /// A quantifier: its body runs once an item.
    pub fn quantify(&mut self, op: Op, over: Part, body: Part, end: usize) -> Result<Part, CelError> {
        let rounds = over.len.saturating_mul(body.cost.saturating_add(1));
        let cost = over.cost.saturating_add(rounds).saturating_add(1);
        let node = Node {
            op,
            kind: Type::One(Scalar::Bool),
            unit: None,
            span: (over.span.0, end as u16),
        };
        self.add(node, 0, over.depth.max(body.depth) + 1, cost)
    }

    fn take_members(&mut self, parts: &[Part]) -> Result<(u16, u8), CelError> {
        let first = self.members.len() as u16;
        let Ok(len) = u8::try_from(parts.len()) else {
            return Err(CelError {
                at: usize::from(parts[0].span.0),
                message: "more than 255 parts".to_owned(),
            });
        };
        self.members.extend(parts.iter().map(|part| part.id));
        Ok((first, len))
    }

    /// The slot of a number; the same one for the same number.
    pub fn number(&mut self, origin: Origin, at: usize) -> Result<u8, CelError> {
        if let Some(slot) = self.numbers.iter().position(|known| *known == origin) {
            return Ok(slot as u8);
        }
        if self.numbers.len() >= limits::NUMBERS {
            let message = format!("more than {} facts, readings and ages; split the rule", limits::NUMBERS);
            return Err(CelError { at, message });
        }
        self.numbers.push(origin);
        Ok(self.numbers.len() as u8 - 1)
    }

    /// The slot of a zone.
    pub fn zone(&mut self, name: &str, at: usize) -> Result<u8, CelError> {
        if let Some(slot) = self.zones.iter().position(|(known, _)| known == name) {
            return Ok(slot as u8);
        }
        let Some(zone) = crate::calendar::find_zone(name) else {
            let message = format!("unknown zone `{name}`; write it as `Europe/Berlin`");
            return Err(CelError { at, message });
        };
        self.zones.push((name.to_owned(), zone));
        Ok(self.zones.len() as u8 - 1)
    }

    /// A pattern in a text; `at` is the pattern's place. The same pattern has one table.
    pub fn matches(&mut self, of: Part, pattern: &str, at: usize, end: usize) -> Result<Part, CelError> {
        let known = self.patterns.iter().position(|known| known.text() == pattern);
        let slot = match known {
            Some(slot) => slot,
            None if self.patterns.len() >= limits::PATTERNS => {
                let message = format!("more than {} patterns; split the rule", limits::PATTERNS);
                return Err(CelError { at, message });
            }
            None => {
                let made = Pattern::compile(pattern).map_err(|(offset, message)| {
                    let place = pattern.get(..offset).map_or(0, |before| before.chars().count());
                    CelError {
                        at,
                        message: format!(
                            "the pattern `{pattern}` is not accepted: {message} (character {})",
                            place + 1
                        ),
                    }
                })?;
                self.patterns.push(made);
                self.patterns.len() - 1
            }
        };
        let node = Node {
            op: Op::Matches(of.id, slot as u8),
            kind: Type::One(Scalar::Bool),
            unit: None,
            span: (of.span.0, end as u16),
        };
        self.add(node, 0, of.depth + 1, of.cost.saturating_add(limits::SEARCH_COST))
    }

    /// The text of a node that is a text, and the node's place.
    pub fn literal_text(&self, part: &Part) -> Option<&str> {
        match &self.nodes[usize::from(part.id)].op {
            Op::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn deepest(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.depth).max().unwrap_or(0)
}

fn cost_of(parts: &[Part]) -> u32 {
    parts.iter().fold(1, |sum: u32, part| sum.saturating_add(part.cost))
}
