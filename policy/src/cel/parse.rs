//! Tokens to checked nodes, in one pass: a node is made only once the types of its parts are known to fit.
//!
//! Recursive descent by precedence; each bracket, prefix and `?` costs a level of [`limits::DEPTH`].
//!
//! Read next: `members.rs` (what follows a value: fields, brackets, methods), `build.rs` (nodes and their limits).

use wire::reading::Unit;

use super::build::{Builder, Part};
use super::lex::{Token, tokens};
use super::names::{FUNCTIONS, RESERVED, ROOTS};
use super::{Arithmetic, CelError, Comparison, Expression, Op, Scalar, Type, limits};
use crate::text::did_you_mean;
use crate::text::units;

const COMPARISONS: &[(&str, Comparison)] = &[
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
];
const SUMS: &[(&str, Arithmetic)] = &[("+", Arithmetic::Add), ("-", Arithmetic::Subtract)];
const PRODUCTS: &[(&str, Arithmetic)] = &[
    ("*", Arithmetic::Multiply),
    ("/", Arithmetic::Divide),
    ("%", Arithmetic::Remainder),
];

pub(super) type Parsed = Result<Part, CelError>;

/// A variable of a quantifier that is in scope.
pub(super) struct Variable {
    pub name: String,
    pub kind: Scalar,
    pub unit: Option<Unit>,
}

pub(super) struct Parser {
    tokens: Vec<(Token, usize, usize)>,
    at: usize,
    depth: usize,
    pub scope: Vec<Variable>,
    pub build: Builder,
}

/// Compiles a text that must be a yes-or-no question.
pub(super) fn compile(text: &str) -> Result<Expression, CelError> {
    if text.len() > limits::TEXT {
        let message = format!("{} bytes; a condition has at most {}", text.len(), limits::TEXT);
        return Err(CelError { at: 0, message });
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
        scope: Vec::new(),
        build: Builder::default(),
    };
    let root = parser.expression()?;
    if *parser.peek() != Token::End {
        return parser.fail(format!("{} does not continue the condition", parser.shown()));
    }
    if root.kind != Type::One(Scalar::Bool) {
        return Err(CelError {
            at: usize::from(root.span.0),
            message: format!("a condition is true or false, and this is {}", root.kind.name()),
        });
    }
    Ok(parser.build.finish(text, &root))
}

impl Parser {
    pub fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    /// The byte at which the next token begins.
    pub fn start(&self) -> usize {
        self.tokens[self.at].1
    }

    /// The byte at which the last token ended.
    pub fn end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |last| self.tokens[last].2)
    }

    pub fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    pub fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        if found {
            self.advance();
        }
        found
    }

    pub fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        if self.takes(sign) {
            return Ok(());
        }
        self.fail(format!("`{sign}` should stand here, not {}", self.shown()))
    }

    /// The next token for people.
    pub fn shown(&self) -> String {
        match self.peek() {
            Token::Number(text) | Token::Word(text) => format!("`{text}`"),
            Token::Text(text) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        }
    }

    /// Fails at the next token.
    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T, CelError> {
        fail_at(self.start(), message)
    }

    pub fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(next) if next == word)
    }

    /// Runs one reader a level deeper.
    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= limits::DEPTH {
            return self.fail(format!("nested deeper than {} levels", limits::DEPTH));
        }
        self.depth += 1;
        let part = read(self);
        self.depth -= 1;
        part
    }

    /// A whole expression: `a ? b : c`, or what binds tighter.
    pub fn expression(&mut self) -> Parsed {
        self.nested(|parser| {
            let condition = parser.logical(true)?;
            if !parser.takes("?") {
                return Ok(condition);
            }
            need(&condition, Scalar::Bool, "the condition before `?`")?;
            let yes = parser.nested(|parser| parser.logical(true))?;
            parser.expect(":")?;
            let no = parser.expression()?;
            let kind = match (yes.kind, no.kind) {
                (Type::List(None), other @ Type::List(_)) | (other @ Type::List(_), Type::List(None)) => other,
                (a, b) if a == b => a,
                (a, b) => {
                    let message = format!("`:` chooses between {} and {}", a.name(), b.name());
                    return fail_at(usize::from(no.span.0), message);
                }
            };
            let unit = same_unit(&yes, &no)?;
            parser.build.branch(condition, yes, no, kind, unit)
        })
    }

    /// `||` over `&&` over comparisons.
    fn logical(&mut self, or: bool) -> Parsed {
        let sign = if or { "||" } else { "&&" };
        let next = |parser: &mut Self| {
            if or { parser.logical(false) } else { parser.relation() }
        };
        let first = next(self)?;
        let mut parts = vec![first];
        while self.takes(sign) {
            parts.push(next(self)?);
        }
        if parts.len() == 1 {
            return Ok(first);
        }
        for part in &parts {
            need(part, Scalar::Bool, &format!("each side of `{sign}`"))?;
        }
        self.build.junction(or, &parts)
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            if self.is_word("in") {
                self.advance();
                left = self.membership(left)?;
                continue;
            }
            let found = COMPARISONS
                .iter()
                .find(|(sign, _)| matches!(self.peek(), Token::Sign(next) if next == sign));
            let Some((sign, comparison)) = found else {
                return Ok(left);
            };
            self.advance();
            let right = self.sum()?;
            let comparable = matches!((left.kind, right.kind), (Type::One(a), Type::One(b)) if a == b);
            if !comparable {
                let message = format!("`{sign}` compares {} with {}", left.kind.name(), right.kind.name());
                return fail_at(usize::from(right.span.0), message);
            }
            same_unit(&left, &right)?;
            let op = Op::Compare(*comparison, left.id, right.id);
            left = self.build.two(op, left, right, Type::One(Scalar::Bool), None)?;
        }
    }

    /// Sums of products: what comparisons compare.
    pub fn sum(&mut self) -> Parsed {
        self.arithmetic(SUMS, |parser| parser.arithmetic(PRODUCTS, Self::unary))
    }

    fn arithmetic(&mut self, signs: &[(&str, Arithmetic)], mut next: impl FnMut(&mut Self) -> Parsed) -> Parsed {
        let mut left = next(self)?;
        loop {
            let found = signs
                .iter()
                .find(|(sign, _)| matches!(self.peek(), Token::Sign(next) if next == sign));
            let Some((sign, arithmetic)) = found else {
                return Ok(left);
            };
            self.advance();
            let right = next(self)?;
            let Some(kind) = arithmetic_type(*arithmetic, left.kind, right.kind) else {
                let message = format!("`{sign}` cannot join {} and {}", left.kind.name(), right.kind.name());
                return fail_at(usize::from(right.span.0), message);
            };
            let unit = match arithmetic {
                Arithmetic::Add | Arithmetic::Subtract => same_unit(&left, &right)?,
                Arithmetic::Multiply => left.unit.or(right.unit),
                Arithmetic::Divide if right.unit.is_some() => None,
                Arithmetic::Divide | Arithmetic::Remainder => left.unit,
            };
            let op = Op::Arithmetic(*arithmetic, left.id, right.id);
            left = self.build.two(op, left, right, kind, unit)?;
        }
    }

    fn unary(&mut self) -> Parsed {
        let start = self.start();
        if self.takes("!") {
            let of = self.nested(Self::unary)?;
            need(&of, Scalar::Bool, "what `!` turns round")?;
            return self.build.one(Op::Not(of.id), start, of, Type::One(Scalar::Bool), None);
        }
        if self.takes("-") {
            if let Token::Number(text) = self.peek() {
                let number = read_number(&format!("-{text}"));
                let Some(number) = number else {
                    return self.fail(format!("`-{text}` is no whole number of 64 bits"));
                };
                self.advance();
                let end = self.end();
                let literal = self
                    .build
                    .leaf(Op::Int(number), start, end, Type::One(Scalar::Int), None)?;
                return self.members(literal);
            }
            let of = self.nested(Self::unary)?;
            if !matches!(of.kind, Type::One(Scalar::Int | Scalar::Duration)) {
                return fail_at(start, format!("`-` cannot turn {}", of.kind.name()));
            }
            return self.build.one(Op::Negate(of.id), start, of, of.kind, of.unit);
        }
        let first = self.primary()?;
        self.members(first)
    }

    fn primary(&mut self) -> Parsed {
        let start = self.start();
        let token = self.peek().clone();
        let (op, kind) = match token {
            Token::Number(text) => match read_number(&text) {
                Some(number) => (Op::Int(number), Scalar::Int),
                None => return self.fail(format!("`{text}` is no whole number of 64 bits")),
            },
            Token::Text(text) => (Op::Text(text.into_boxed_str()), Scalar::Text),
            Token::Word(word) if word == "true" || word == "false" => (Op::Bool(word == "true"), Scalar::Bool),
            Token::Word(word) => return self.word(word),
            Token::Sign("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => return self.list(),
            Token::Sign("{") => return self.fail("maps cannot be written out; use a list, or `labels`"),
            Token::Sign(_) | Token::End => {
                return self.fail(format!("a value should stand here, not {}", self.shown()));
            }
        };
        self.advance();
        let end = self.end();
        self.build.leaf(op, start, end, Type::One(kind), None)
    }

    fn list(&mut self) -> Parsed {
        let start = self.start();
        self.expect("[")?;
        let mut parts: Vec<Part> = Vec::new();
        while !self.takes("]") {
            if !parts.is_empty() {
                self.expect(",")?;
                if self.takes("]") {
                    break;
                }
            }
            let part = self.expression()?;
            if !matches!(part.kind, Type::One(_)) {
                return fail_at(usize::from(part.span.0), "a list holds single values only");
            }
            if let Some(first) = parts.first().filter(|first| first.kind != part.kind) {
                let message = format!(
                    "this list began with {}, and here is {}",
                    first.kind.name(),
                    part.kind.name()
                );
                return fail_at(usize::from(part.span.0), message);
            }
            parts.push(part);
        }
        let end = self.end();
        self.build.list(&parts, start, end)
    }

    /// A name that no dot precedes.
    fn word(&mut self, word: String) -> Parsed {
        if let Some(slot) = self.scope.iter().rposition(|variable| variable.name == word) {
            let (start, variable) = (self.start(), &self.scope[slot]);
            let (kind, unit) = (Type::One(variable.kind), variable.unit);
            self.advance();
            let end = self.end();
            return self.build.leaf(Op::Variable(slot as u8), start, end, kind, unit);
        }
        if FUNCTIONS.contains(&word.as_str()) {
            return self.function(&word);
        }
        if ROOTS.contains(&word.as_str()) {
            return self.root(&word);
        }
        if RESERVED.contains(&word.as_str()) {
            return self.fail(format!("`{word}` is a word that CEL keeps for itself"));
        }
        let variables = self.scope.iter().map(|variable| variable.name.as_str());
        let known = ROOTS.iter().chain(FUNCTIONS).copied().chain(variables);
        match did_you_mean(&word, known) {
            Some(near) => self.fail(format!("unknown name `{word}`; did you mean `{near}`?")),
            None => self.fail(format!("unknown name `{word}`; there are {}", ROOTS.join(", "))),
        }
    }
}

pub(super) fn fail_at<T>(at: usize, message: impl Into<String>) -> Result<T, CelError> {
    Err(CelError {
        at,
        message: message.into(),
    })
}

/// Refuses a part that is not of this type.
pub(super) fn need(part: &Part, kind: Scalar, what: &str) -> Result<(), CelError> {
    if part.kind == Type::One(kind) {
        return Ok(());
    }
    let message = format!(
        "{what} must be {}, and this is {}",
        Type::One(kind).name(),
        part.kind.name()
    );
    fail_at(usize::from(part.span.0), message)
}

/// The unit of two numbers that are compared or added: °C and W never meet.
pub(super) fn same_unit(a: &Part, b: &Part) -> Result<Option<Unit>, CelError> {
    match (a.unit, b.unit) {
        (Some(one), Some(other)) if one != other => {
            let message = format!(
                "one side is written as `{}`, this side as `{}`",
                units::example(one),
                units::example(other)
            );
            fail_at(usize::from(b.span.0), message)
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn arithmetic_type(sign: Arithmetic, a: Type, b: Type) -> Option<Type> {
    use Scalar::{Duration, Int, Time};
    let (Type::One(a), Type::One(b)) = (a, b) else {
        return None;
    };
    let kind = match (sign, a, b) {
        (_, Int, Int) => Int,
        (Arithmetic::Add | Arithmetic::Subtract, Duration, Duration) => Duration,
        (Arithmetic::Add | Arithmetic::Subtract, Time, Duration) | (Arithmetic::Add, Duration, Time) => Time,
        (Arithmetic::Subtract, Time, Time) => Duration,
        _ => return None,
    };
    Some(Type::One(kind))
}

fn read_number(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with(['+', '-']) => i64::from_str_radix(&format!("{sign}{hex}"), 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}
