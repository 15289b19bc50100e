//! Nodes to a value: the whole of CEL's semantics that we support, on the stack.
//!
//! Invariant: never allocates, never panics, and the depth of its calls is the depth that the parser allowed.

use jiff::Timestamp;

use super::{Arithmetic, CalendarField, Comparison, Expression, Field, Id, Op, Quantifier, Search, limits};
use crate::ledger::Numbers;
use crate::rule::{Asked, CLASSES};

/// A value while it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Text(&'a str),
    /// Milliseconds.
    Duration(i64),
    /// Milliseconds since 1970.
    Time(i64),
    /// The list that this node writes out.
    List(Id),
    Labels,
    Resources,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something that was looked at is not there.
    Missing,
    /// An overflow, or a division by zero.
    Arithmetic,
    /// No such item, or more than the limits allow.
    Range,
}

/// A fault and the node where it showed.
pub(super) type Outcome<'a> = Result<Value<'a>, (Fault, Id)>;

/// What an evaluation looks at.
pub(super) struct Scene<'a> {
    pub expression: &'a Expression,
    pub asked: &'a Asked<'a>,
    pub numbers: &'a Numbers,
    /// Values of the variables of the quantifiers around.
    pub variables: [Value<'a>; limits::NESTING],
}

impl<'a> Scene<'a> {
    pub fn new(expression: &'a Expression, asked: &'a Asked<'a>, numbers: &'a Numbers) -> Self {
        Self {
            expression,
            asked,
            numbers,
            variables: [Value::Bool(false); limits::NESTING],
        }
    }

    /// The value of one node.
    pub fn eval(&mut self, id: Id) -> Outcome<'a> {
        let expression = self.expression;
        let missing = Err((Fault::Missing, id));
        match &expression.node(id).op {
            Op::Bool(flag) => Ok(Value::Bool(*flag)),
            Op::Int(number) => Ok(Value::Int(*number)),
            Op::Text(text) => Ok(Value::Text(text)),
            Op::Duration(ms) => Ok(Value::Duration(*ms)),
            Op::Time(ms) => Ok(Value::Time(*ms)),
            Op::Now => Ok(Value::Time(self.asked.now.wall.0)),
            Op::Action(field) => self.action(*field, id),
            Op::HasAction(field) => Ok(Value::Bool(self.action(*field, id).is_ok())),
            Op::Number(slot) => match self.numbers.get(usize::from(*slot)) {
                Some(number) => Ok(self.number(id, number)),
                None => missing,
            },
            Op::HasNumber(slot) => Ok(Value::Bool(self.numbers.get(usize::from(*slot)).is_some())),
            Op::Labels => Ok(Value::Labels),
            Op::Resources => Ok(Value::Resources),
            Op::Entry(map, key) => self.entry(id, *map, *key)?.ok_or((Fault::Missing, id)),
            Op::HasEntry(map, key) => Ok(Value::Bool(self.entry(id, *map, *key)?.is_some())),
            Op::Variable(slot) => Ok(self.variables[usize::from(*slot)]),
            Op::List { first, len, literal } => {
                if !literal {
                    for member in expression.list(*first, *len) {
                        self.eval(*member)?;
                    }
                }
                Ok(Value::List(id))
            }
            Op::Item(list, index) => self.item(id, *list, *index),
            Op::Not(of) => Ok(Value::Bool(!self.is_true(*of)?)),
            Op::Negate(of) => match self.eval(*of)? {
                Value::Int(number) => number.checked_neg().map(Value::Int).ok_or((Fault::Arithmetic, id)),
                Value::Duration(ms) => ms.checked_neg().map(Value::Duration).ok_or((Fault::Arithmetic, id)),
                _ => Err((Fault::Range, id)),
            },
            Op::Arithmetic(sign, a, b) => {
                let (a, b) = (self.eval(*a)?, self.eval(*b)?);
                arithmetic(*sign, a, b).ok_or((Fault::Arithmetic, id))
            }
            Op::Compare(sign, a, b) => {
                let (a, b) = (self.eval(*a)?, self.eval(*b)?);
                Ok(Value::Bool(compare(*sign, a, b)))
            }
            Op::And { first, len } => self.fold(expression.list(*first, *len), false),
            Op::Or { first, len } => self.fold(expression.list(*first, *len), true),
            Op::If(condition, yes, no) => {
                let taken = if self.is_true(*condition)? { *yes } else { *no };
                self.eval(taken)
            }
            Op::In(value, list) => self.contains(id, *value, *list),
            Op::Size(of) => match self.eval(*of)? {
                Value::Text(text) => Ok(Value::Int(text.chars().count() as i64)),
                over => Ok(Value::Int(self.len(over) as i64)),
            },
            Op::Search(search, text, part) => match (self.eval(*text)?, self.eval(*part)?) {
                (Value::Text(text), Value::Text(part)) => Ok(Value::Bool(match search {
                    Search::StartsWith => text.starts_with(part),
                    Search::EndsWith => text.ends_with(part),
                    Search::Contains => text.contains(part),
                })),
                _ => Err((Fault::Range, id)),
            },
            Op::Matches(text, slot) => match (self.eval(*text)?, expression.patterns.get(usize::from(*slot))) {
                (Value::Text(text), Some(pattern)) => Ok(Value::Bool(pattern.is_found_in(text))),
                _ => Err((Fault::Range, id)),
            },
            Op::Calendar(field, of, zone) => match self.eval(*of)? {
                Value::Time(ms) => self.calendar(*field, ms, *zone).ok_or((Fault::Range, id)),
                _ => Err((Fault::Range, id)),
            },
            Op::Quantify {
                quantifier,
                over,
                body,
                variable,
            } => self.quantify(id, *quantifier, *over, *body, usize::from(*variable)),
        }
    }

    /// The value of a yes-or-no node.
    pub fn is_true(&mut self, id: Id) -> Result<bool, (Fault, Id)> {
        match self.eval(id)? {
            Value::Bool(flag) => Ok(flag),
            _ => Err((Fault::Range, id)),
        }
    }

    /// `&&` (which `false` decides) and `||` (which `true` decides): what decides absorbs every error.
    fn fold(&mut self, members: &[Id], deciding: bool) -> Outcome<'a> {
        let mut fault = None;
        for member in members {
            match self.is_true(*member) {
                Ok(flag) if flag == deciding => return Ok(Value::Bool(deciding)),
                Ok(_) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        fault.map_or(Ok(Value::Bool(!deciding)), Err)
    }

    fn quantify(&mut self, id: Id, quantifier: Quantifier, over: Id, body: Id, variable: usize) -> Outcome<'a> {
        let over = self.eval(over)?;
        let len = self.len(over);
        if len > limits::ENTRIES.max(limits::NODES) {
            return Err((Fault::Range, id));
        }
        let (mut fault, mut matching) = (None, 0);
        for index in 0..len {
            let value = self.nth(over, index).ok_or((Fault::Range, id))?;
            self.variables[variable] = value;
            match (self.is_true(body), quantifier) {
                (Ok(false), Quantifier::All) => return Ok(Value::Bool(false)),
                (Ok(true), Quantifier::Exists) => return Ok(Value::Bool(true)),
                (Ok(true), Quantifier::ExistsOne) => matching += 1,
                (Ok(_), _) => {}
                (Err(error), Quantifier::ExistsOne) => return Err(error),
                (Err(error), _) => fault = fault.or(Some(error)),
            }
        }
        match (fault, quantifier) {
            (Some(fault), _) => Err(fault),
            (None, Quantifier::All) => Ok(Value::Bool(true)),
            (None, Quantifier::Exists) => Ok(Value::Bool(false)),
            (None, Quantifier::ExistsOne) => Ok(Value::Bool(matching == 1)),
        }
    }

    /// How many items a list or map has.
    fn len(&self, over: Value<'a>) -> usize {
        match over {
            Value::List(id) => match self.expression.node(id).op {
                Op::List { len, .. } => usize::from(len),
                _ => 0,
            },
            Value::Labels => self.asked.labels.len(),
            Value::Resources => self.asked.details.resources.len(),
            _ => 0,
        }
    }

    /// An item of a list, or a key of a map.
    fn nth(&mut self, over: Value<'a>, index: usize) -> Option<Value<'a>> {
        match over {
            Value::List(id) => match self.expression.node(id).op {
                Op::List { first, len, .. } => {
                    let member = *self.expression.list(first, len).get(index)?;
                    self.eval(member).ok()
                }
                _ => None,
            },
            Value::Labels => Some(Value::Text(&self.asked.labels.get(index)?.0)),
            Value::Resources => Some(Value::Text(&self.asked.details.resources.get(index)?.0)),
            _ => None,
        }
    }

    fn item(&mut self, id: Id, list: Id, index: Id) -> Outcome<'a> {
        let list = self.eval(list)?;
        match self.eval(index)? {
            Value::Int(index) => usize::try_from(index)
                .ok()
                .and_then(|index| self.nth(list, index))
                .ok_or((Fault::Range, id)),
            _ => Err((Fault::Range, id)),
        }
    }

    fn contains(&mut self, id: Id, value: Id, list: Id) -> Outcome<'a> {
        let value = self.eval(value)?;
        let list = self.eval(list)?;
        let len = self.len(list);
        if len > limits::ENTRIES.max(limits::NODES) {
            return Err((Fault::Range, id));
        }
        let found = (0..len).any(|index| self.nth(list, index) == Some(value));
        Ok(Value::Bool(found))
    }

    fn entry(&mut self, id: Id, map: Id, key: Id) -> Result<Option<Value<'a>>, (Fault, Id)> {
        let Value::Text(key) = self.eval(key)? else {
            return Err((Fault::Range, id));
        };
        let map = self.eval(map)?;
        if self.len(map) > limits::ENTRIES {
            return Err((Fault::Range, id));
        }
        let asked = self.asked;
        match map {
            Value::Labels => match asked.labels.iter().find(|(name, _)| name == key) {
                Some((_, value)) if value.len() > limits::STRING => Err((Fault::Range, id)),
                found => Ok(found.map(|(_, value)| Value::Text(value.as_str()))),
            },
            _ => Ok(asked.details.resource(key).flatten().map(Value::Int)),
        }
    }

    fn action(&self, field: Field, id: Id) -> Outcome<'a> {
        let asked = self.asked;
        let info = asked.info();
        let found = match field {
            Field::Kind => Some(Value::Text(info.name)),
            Field::Source => Some(Value::Text(asked.source.name())),
            Field::Class => CLASSES.get(info.class as usize).map(|name| Value::Text(name)),
            Field::Target if asked.target.len() > limits::STRING => return Err((Fault::Range, id)),
            Field::Target => Some(Value::Text(asked.target)),
            Field::Amount => asked.amount.map(|(value, _)| Value::Int(value)),
            Field::Lasts => asked.details.lasts_ms.map(Value::Duration),
            Field::Rollback => Some(Value::Duration(asked.details.rollback_ms)),
            Field::CostDelta => asked.details.cost_delta_micros_per_h.map(Value::Int),
            Field::Earlier => Some(Value::Int(asked.earlier)),
            Field::IsUndo => Some(Value::Bool(asked.is_undo)),
            Field::Reversible => Some(Value::Bool(info.reversible)),
            Field::Disruptive => Some(Value::Bool(info.disruptive)),
            Field::Protective => Some(Value::Bool(info.protective)),
        };
        found.ok_or((Fault::Missing, id))
    }

    /// A number as what its node says it is.
    fn number(&self, id: Id, number: i64) -> Value<'a> {
        match self.expression.node(id).kind {
            super::Type::One(super::Scalar::Duration) => Value::Duration(number),
            _ => Value::Int(number),
        }
    }

    fn calendar(&self, field: CalendarField, ms: i64, zone: u8) -> Option<Value<'a>> {
        let zone = self.expression.zones.get(usize::from(zone))?;
        let local = zone.to_datetime(Timestamp::from_millisecond(ms).ok()?);
        Some(Value::Int(match field {
            CalendarField::FullYear => i64::from(local.year()),
            // Months, days of a month and days of a week count from 0 (Sunday) in CEL; `getDate` counts from 1.
            CalendarField::Month => i64::from(local.month()) - 1,
            CalendarField::Date => i64::from(local.day()),
            CalendarField::DayOfMonth => i64::from(local.day()) - 1,
            CalendarField::DayOfWeek => i64::from(local.weekday().to_sunday_zero_offset()),
            CalendarField::Hours => i64::from(local.hour()),
            CalendarField::Minutes => i64::from(local.minute()),
        }))
    }
}

fn arithmetic<'a>(sign: Arithmetic, a: Value<'a>, b: Value<'a>) -> Option<Value<'a>> {
    let number = |a: i64, b: i64| match sign {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => number(a, b).map(Value::Int),
        (Value::Time(a), Value::Time(b)) => number(a, b).map(Value::Duration),
        (Value::Time(a), Value::Duration(b)) | (Value::Duration(a), Value::Time(b)) => number(a, b).map(Value::Time),
        (Value::Duration(a), Value::Duration(b)) => number(a, b).map(Value::Duration),
        _ => None,
    }
}

pub(super) fn compare(sign: Comparison, a: Value<'_>, b: Value<'_>) -> bool {
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b))
        | (Value::Duration(a), Value::Duration(b))
        | (Value::Time(a), Value::Time(b)) => a.cmp(&b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(&b),
        // The checker lets nothing else meet.
        _ => return false,
    };
    match sign {
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
    }
}
