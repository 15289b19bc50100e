//! Why a condition came out as it did: the comparisons that decided it, as findings.
//!
//! Of `a && b` that is false the false parts are noted, of `a || b` that is false all parts, and so on down: what would have to be
//! different. Every number that is noted comes from the evaluation itself.

use super::eval::{Scene, Value, compare};
use super::{Comparison, Expression, Fault, Id, Op};
use crate::kind::scope::OnUnknown;
use crate::ledger::Numbers;
use crate::rule::{Asked, Finding};
use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

/// Findings of one condition: as many as a rule may make.
const MAX_FINDINGS: u8 = 8;

impl Expression {
    /// Evaluates, and pushes a finding for each comparison that decided the outcome. What is true passes.
    pub fn assess(&self, on_missing: OnUnknown, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let mut scene = Scene::new(self, asked, numbers);
        match scene.is_true(self.root) {
            Ok(outcome) => {
                let mut left = MAX_FINDINGS;
                trace(&mut scene, self.root, outcome, outcome, &mut left, push);
            }
            Err((Fault::Missing, id)) => push(on_missing.finding(asked, id, "=", None, Unit::Count)),
            Err((Fault::Arithmetic | Fault::Range, id)) => {
                let verdict = if asked.info().class == RiskClass::Safety {
                    Verdict::Allow
                } else {
                    Verdict::Deny
                };
                push(Finding {
                    unknown: true,
                    ..Finding::pass(id, "=", None, None, Unit::Count).fails(verdict, None)
                });
            }
        }
    }
}

/// Notes why the node is `value`. `passes` says whether the whole condition holds.
fn trace(scene: &mut Scene<'_>, id: Id, value: bool, passes: bool, left: &mut u8, push: &mut impl FnMut(Finding)) {
    let expression = scene.expression;
    let members = match &expression.node(id).op {
        Op::And { first, len } | Op::Or { first, len } => expression.list(*first, *len),
        Op::Not(of) => return trace(scene, *of, !value, passes, left, push),
        Op::If(condition, yes, no) => {
            let taken = if scene.is_true(*condition) == Ok(true) {
                *yes
            } else {
                *no
            };
            return trace(scene, taken, value, passes, left, push);
        }
        Op::Compare(sign, a, b) => return note(scene, id, *sign, (*a, *b), value, passes, left, push),
        _ => return flag(id, value, passes, left, push),
    };
    // A part decided if it is what the whole is.
    for member in members {
        if scene.is_true(*member) == Ok(value) {
            trace(scene, *member, value, passes, left, push);
        }
    }
}

/// A comparison of two numbers.
#[expect(clippy::too_many_arguments, reason = "one comparison, and where its finding goes")]
fn note(
    scene: &mut Scene<'_>,
    id: Id,
    sign: Comparison,
    (a, b): (Id, Id),
    value: bool,
    passes: bool,
    left: &mut u8,
    push: &mut impl FnMut(Finding),
) {
    let (Ok(one), Ok(other)) = (scene.eval(a), scene.eval(b)) else {
        return;
    };
    let numbers = match (one, other) {
        (Value::Int(one), Value::Int(other)) | (Value::Duration(one), Value::Duration(other)) => Some((one, other)),
        _ => None,
    };
    let Some((one, other)) = numbers else {
        return flag(id, value, passes, left, push);
    };
    debug_assert_eq!(compare(sign, Value::Int(one), Value::Int(other)), value);
    // The number that was looked at stands left, what it is held against right.
    let is_turned = scene.expression.is_constant(a) && !scene.expression.is_constant(b);
    let (part, seen, limit, sign) = if is_turned {
        (b, other, one, sign.turned())
    } else {
        (a, one, other, sign)
    };
    // As it has to be for the condition to hold.
    let needed = if value == passes { sign } else { sign.opposite() };
    let unit = scene.unit(a).or_else(|| scene.unit(b)).unwrap_or(Unit::Count);
    let finding = Finding::pass(part, needed.text(), Some(seen), Some(limit), unit);
    give(finding, passes, left, push);
}

/// Anything else that is true or false.
fn flag(id: Id, value: bool, passes: bool, left: &mut u8, push: &mut impl FnMut(Finding)) {
    let wanted = if passes { value } else { !value };
    let finding = Finding::pass(id, "=", Some(i64::from(value)), Some(i64::from(wanted)), Unit::Flag);
    give(finding, passes, left, push);
}

fn give(finding: Finding, passes: bool, left: &mut u8, push: &mut impl FnMut(Finding)) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    push(if passes {
        finding
    } else {
        finding.fails(Verdict::Deny, None)
    });
}

impl Scene<'_> {
    /// The unit of a node: as checked, or that of the action's number.
    fn unit(&self, id: Id) -> Option<Unit> {
        let node = self.expression.node(id);
        match node.op {
            Op::Action(super::Field::Amount) => self.asked.amount.map(|(_, unit)| unit),
            _ if node.kind == super::Type::One(super::Scalar::Duration) => Some(Unit::Milliseconds),
            _ => node.unit,
        }
    }
}

impl Expression {
    fn is_constant(&self, id: Id) -> bool {
        matches!(self.node(id).op, Op::Int(_) | Op::Duration(_))
    }
}

impl Comparison {
    /// The same with its sides exchanged.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
        }
    }

    /// True exactly where this is false.
    fn opposite(self) -> Self {
        match self {
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "=",
            Self::NotEqual => "!=",
        }
    }
}
