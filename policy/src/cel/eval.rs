//! Nodes to a value: the whole of CEL's semantics that we support, on the stack.
//!
//! Invariant: never allocates, never panics, and the depth of its calls is the depth that the parser allowed.

use jiff::Timestamp;

use super::{
    Arithmetic, CalendarField, Comparison, Expression, Field, Id, Op, Quantifier, Scalar, Search, Type, limits,
};
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
    /// The list that this node writes out, or makes of another.
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

/// Whether the items that were seen are enough.
type Flow = Result<bool, (Fault, Id)>;
/// What is done with each item.
type Visitor<'v, 'a> = &'v mut dyn FnMut(&mut Scene<'a>, Value<'a>) -> Flow;

const NEXT: Flow = Ok(false);
const ENOUGH: Flow = Ok(true);

/// What an evaluation looks at.
pub(super) struct Scene<'a> {
    pub expression: &'a Expression,
    pub asked: &'a Asked<'a>,
    pub numbers: &'a Numbers,
    /// Values of the variables of the quantifiers around.
    pub variables: [Value<'a>; limits::NESTING],
    /// Nodes that were computed.
    #[cfg(test)]
    pub steps: u32,
}

impl<'a> Scene<'a> {
    pub fn new(expression: &'a Expression, asked: &'a Asked<'a>, numbers: &'a Numbers) -> Self {
        Self {
            expression,
            asked,
            numbers,
            variables: [Value::Bool(false); limits::NESTING],
            #[cfg(test)]
            steps: 0,
        }
    }

    /// The value of one node.
    pub fn eval(&mut self, id: Id) -> Outcome<'a> {
        #[cfg(test)]
        {
            self.steps += 1;
        }
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
            // Whoever looks at the items computes them.
            Op::Each { .. } => Ok(Value::List(id)),
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
            Op::Size(of) => self.size(*of, id),
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
        let (mut fault, mut matching, mut decided) = (None, 0, None);
        let over = self.unseen(over)?;
        self.look(over, id, &mut |scene, value| {
            scene.variables[variable] = value;
            match (scene.is_true(body), quantifier) {
                (Ok(false), Quantifier::All) => decided = Some(Ok(false)),
                (Ok(true), Quantifier::Exists) => decided = Some(Ok(true)),
                (Ok(true), Quantifier::ExistsOne) => matching += 1,
                (Ok(_), _) => {}
                (Err(error), Quantifier::ExistsOne) => decided = Some(Err(error)),
                (Err(error), _) => fault = fault.or(Some(error)),
            }
            decided.is_some()
        })?;
        let undecided = match quantifier {
            Quantifier::All => true,
            Quantifier::Exists => false,
            Quantifier::ExistsOne => matching == 1,
        };
        let undecided = || fault.map_or(Ok(undecided), Err);
        decided.unwrap_or_else(undecided).map(Value::Bool)
    }

    /// How many items a list that is written out, or a map, has.
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

    fn size(&mut self, of: Id, id: Id) -> Outcome<'a> {
        if self.expression.node(of).kind == Type::One(Scalar::Text) {
            return match self.eval(of)? {
                Value::Text(text) => Ok(Value::Int(text.chars().count() as i64)),
                _ => Err((Fault::Range, id)),
            };
        }
        let over = self.unseen(of)?;
        if !self.is_made(over) {
            self.compute(over)?;
            return Ok(Value::Int(self.len(over) as i64));
        }
        let mut count = 0;
        self.look(over, id, &mut |_, _| {
            count += 1;
            false
        })?;
        Ok(Value::Int(count))
    }

    /// Whether it is a list that is made of another.
    fn is_made(&self, over: Value<'a>) -> bool {
        matches!(over, Value::List(id) if matches!(self.expression.node(id).op, Op::Each { .. }))
    }

    /// Gives each item of a list, or key of a map, to `visitor`, until that is enough. What cannot be computed of one item makes the
    /// whole a fault, also after it was enough. `id` is who asks.
    fn look(
        &mut self,
        over: Value<'a>,
        id: Id,
        visitor: &mut dyn FnMut(&mut Self, Value<'a>) -> bool,
    ) -> Result<(), (Fault, Id)> {
        if self.is_made(over) {
            let mut enough = false;
            self.visit(over, id, &mut |scene, value| {
                enough = enough || visitor(scene, value);
                NEXT
            })?;
            return Ok(());
        }
        self.compute(over)?;
        self.visit(over, id, &mut |scene, value| Ok(visitor(scene, value)))?;
        Ok(())
    }

    /// Computes what a list writes out: one item that cannot be makes the whole a fault.
    fn compute(&mut self, over: Value<'a>) -> Result<(), (Fault, Id)> {
        match over {
            Value::List(written) => self.eval(written).map(drop),
            _ => Ok(()),
        }
    }

    /// Gives each item of a list, or key of a map, to `visitor`; `id` is who asks.
    fn visit(&mut self, over: Value<'a>, id: Id, visitor: Visitor<'_, 'a>) -> Flow {
        let (expression, asked) = (self.expression, self.asked);
        let resources = &asked.details.resources;
        match over {
            Value::List(list) => match &expression.node(list).op {
                Op::List { first, len, .. } => {
                    for member in expression.list(*first, *len) {
                        let value = self.eval(*member)?;
                        if visitor(self, value)? {
                            return ENOUGH;
                        }
                    }
                    NEXT
                }
                Op::Each {
                    over,
                    keep,
                    yields,
                    variable,
                } => {
                    let over = self.unseen(*over)?;
                    self.visit(over, id, &mut |scene, value| {
                        scene.variables[usize::from(*variable)] = value;
                        if let Some(keep) = keep
                            && !scene.is_true(*keep)?
                        {
                            return NEXT;
                        }
                        let made = yields.map_or(Ok(value), |yields| scene.eval(yields))?;
                        visitor(scene, made)
                    })
                }
                _ => Err((Fault::Range, id)),
            },
            Value::Labels if asked.labels.len() <= limits::NODES => {
                self.visit_keys(asked.labels.iter().map(|(name, _)| name), visitor)
            }
            Value::Resources if resources.len() <= limits::NODES => {
                self.visit_keys(resources.iter().map(|(name, _)| name), visitor)
            }
            _ => Err((Fault::Range, id)),
        }
    }

    fn visit_keys(&mut self, names: impl Iterator<Item = &'a String>, visitor: Visitor<'_, 'a>) -> Flow {
        for name in names {
            if visitor(self, Value::Text(name))? {
                return ENOUGH;
            }
        }
        NEXT
    }

    /// A list or map, before any of its items is computed.
    fn unseen(&mut self, id: Id) -> Outcome<'a> {
        match &self.expression.node(id).op {
            Op::List { .. } | Op::Each { .. } => Ok(Value::List(id)),
            Op::If(condition, yes, no) => {
                let taken = if self.is_true(*condition)? { *yes } else { *no };
                self.unseen(taken)
            }
            _ => self.eval(id),
        }
    }

    fn item(&mut self, id: Id, list: Id, index: Id) -> Outcome<'a> {
        let index = self.eval(index);
        let list = self.unseen(list)?;
        let (mut at, mut found) = (0, None);
        self.look(list, id, &mut |_, value| {
            let is_it = index == Ok(Value::Int(at));
            if is_it {
                found = Some(value);
            }
            at += 1;
            is_it
        })?;
        index?;
        found.ok_or((Fault::Range, id))
    }

    fn contains(&mut self, id: Id, value: Id, list: Id) -> Outcome<'a> {
        let value = self.eval(value)?;
        let list = self.unseen(list)?;
        let mut found = false;
        self.look(list, id, &mut |_, item| {
            found = item == value;
            found
        })?;
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
