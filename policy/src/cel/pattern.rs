//! Patterns of `matches`: made into a table when the condition is checked, then looked up byte by byte.
//!
//! The language is that of RE2, which CEL names: found anywhere in the text unless `^` and `$` say otherwise; `.` is a character;
//! `\d`, `\w`, `\s` and `\b` know ASCII only. No look-around and no back references, which no table can have, and no `\p{…}`: its
//! data would grow every agent, and a program that was built without it would refuse a bundle that another one takes.
//!
//! Invariants: a search looks at each byte once, allocates nothing and cannot fail; a table that would be larger than
//! [`MAX_TABLE_BYTES`] is refused when it is made.

use std::fmt;
use std::sync::Arc;

use regex_automata::Input;
use regex_automata::dfa::dense::{Builder, Config, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson::{Compiler, Config as Steps};
use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Span, Visitor, visit};
use regex_syntax::hir::translate::TranslatorBuilder;

/// Largest table: names and versions take some hundred bytes to some KiB, all letters of Unicode more than this.
const MAX_TABLE_BYTES: usize = 64 * 1024;
/// What making it may take besides.
const MAX_WORK_BYTES: usize = 4 * MAX_TABLE_BYTES;
/// Deepest nesting of groups: as deep as a condition.
const MAX_NESTING: u32 = super::limits::DEPTH as u32;

/// A pattern that can be looked for.
#[derive(Clone)]
pub(super) struct Pattern {
    text: Box<str>,
    table: Arc<DFA<Vec<u32>>>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Makes the table, or says what is wrong: the byte of the pattern at which it shows, if it has one, and a message.
    pub fn compile(text: &str) -> Result<Self, (usize, String)> {
        let parsed = parse(text)?;
        let ascii = with_ascii_classes(text, &parsed)?;
        let tree = TranslatorBuilder::new()
            .unicode(true)
            .utf8(false)
            .build()
            .translate(&ascii, &parse(&ascii)?)
            .map_err(|error| (0, error.kind().to_string()))?;
        let too_large = |_| {
            let limit = MAX_TABLE_BYTES / 1024;
            let message = format!(
                "takes more than {limit} KiB; write out the characters, as in `[a-z0-9]`, and repeat them less often"
            );
            (0, message)
        };
        let steps = Compiler::new()
            .configure(Steps::new().nfa_size_limit(Some(MAX_WORK_BYTES)))
            .build_from_hir(&tree)
            .map_err(|_| too_large(()))?;
        let table = Builder::new()
            .configure(
                Config::new()
                    .start_kind(StartKind::Unanchored)
                    .dfa_size_limit(Some(MAX_TABLE_BYTES))
                    .determinize_size_limit(Some(MAX_WORK_BYTES)),
            )
            .build_from_nfa(&steps)
            .map_err(|_| too_large(()))?;
        Ok(Self {
            text: text.into(),
            table: Arc::new(table),
        })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is found anywhere in the text.
    pub fn is_found_in(&self, text: &str) -> bool {
        // It fails on bytes at which a table was told to give up, and none was.
        let found = self.table.try_search_fwd(&Input::new(text).earliest(true));
        found.is_ok_and(|found| found.is_some())
    }
}

fn parse(text: &str) -> Result<Ast, (usize, String)> {
    let mut parser = ParserBuilder::new().nest_limit(MAX_NESTING).build();
    parser
        .parse(text)
        .map_err(|error| (error.span().start.offset, error.kind().to_string()))
}

/// The same pattern with the classes and borders that RE2 knows for ASCII only.
fn with_ascii_classes(text: &str, tree: &Ast) -> Result<String, (usize, String)> {
    let mut places = visit(tree, Ascii::default())?;
    places.sort_by_key(|(span, _)| std::cmp::Reverse(span.start.offset));
    let mut text = text.to_owned();
    for (span, ascii) in places {
        text.replace_range(span.start.offset..span.end.offset, ascii);
    }
    Ok(text)
}

/// Finds what has another meaning in ASCII.
#[derive(Default)]
struct Ascii(Vec<(Span, &'static str)>);

impl Ascii {
    fn class(&mut self, class: &ClassPerl) {
        let ascii = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
            (ClassPerlKind::Space, false) => r"[\t\n\f\r\x20]",
            (ClassPerlKind::Space, true) => r"[^\t\n\f\r\x20]",
        };
        self.0.push((class.span, ascii));
    }
}

/// What is no part of the language here.
fn refused(span: &Span, what: &str) -> Result<(), (usize, String)> {
    Err((
        span.start.offset,
        format!("{what} is not supported; write out the characters, as in `[a-z0-9]`"),
    ))
}

impl Visitor for Ascii {
    type Output = Vec<(Span, &'static str)>;
    type Err = (usize, String);

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::ClassPerl(class) => self.class(class),
            Ast::ClassUnicode(class) => return refused(&class.span, "a class of Unicode"),
            Ast::Assertion(border) => match border.kind {
                AssertionKind::WordBoundary => self.0.push((border.span, r"(?-u:\b)")),
                AssertionKind::NotWordBoundary => self.0.push((border.span, r"(?-u:\B)")),
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText => {}
                _ => return refused(&border.span, "one side of a word"),
            },
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ClassSetItem::Perl(class) => self.class(class),
            ClassSetItem::Unicode(class) => return refused(&class.span, "a class of Unicode"),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, found: &[&str], absent: &[&str]) {
        let compiled = Pattern::compile(pattern).unwrap_or_else(|(at, message)| panic!("{pattern}: {at}: {message}"));
        for text in found {
            assert!(compiled.is_found_in(text), "`{pattern}` is in `{text}`");
        }
        for text in absent {
            assert!(!compiled.is_found_in(text), "`{pattern}` is not in `{text}`");
        }
    }

    #[test]
    fn a_pattern_is_found_anywhere_unless_it_says_where() {
        check("pu", &["gpu0", "pu"], &["", "p u"]);
        check("^gpu[0-9]+$", &["gpu0", "gpu17"], &["gpu", "xgpu0", "gpu0\n"]);
        check("", &["", "x"], &[]);
        check("a|^b$", &["xax", "b"], &["bb", ""]);
        check("(?i)web", &["WEB-1", "aWeb"], &["we"]);
    }

    #[test]
    fn classes_know_ascii_and_a_dot_is_a_character() {
        check("^.$", &["a", "ä", "€", "🦀"], &["", "aa", "\n"]);
        check(r"^\w+$", &["ab_1"], &["ä", "a b", ""]);
        check(r"^\W$", &["ä", " "], &["a"]);
        check(r"^[\w-]+$", &["web-1"], &["wéb-1"]);
        check(r"^[^\d\s]+$", &["äb"], &["1", " "]);
        check(r"^\d{1,3}$", &["0", "123"], &["", "1234", "١"]);
        check(r"\bml\b", &["a ml b", "ml", "éml"], &["mlx", "_ml"]);
        check(r"(?x) ^ \s a $ ", &[" a", "\ta"], &["a", "\u{a0}a"]);
        check("[äö]x", &["äx", "öx"], &["üx", "x"]);
    }

    #[test]
    fn what_no_table_can_have_and_what_is_too_large_is_refused() {
        for (pattern, at, message) in [
            ("gpu(", 3, "unclosed group"),
            ("a**[", 3, "unclosed character class"),
            ("(?=x)", 0, "look-around"),
            (r"(a)\1", 3, "backreferences"),
            ("(a", 0, "unclosed group"),
            (r"ä\p{Greek}", 2, "a class of Unicode is not supported"),
            (r"[a\pL]", 2, "a class of Unicode is not supported"),
            (r"a\b{start}", 1, "one side of a word"),
            ("^[ä-€]{1,400}$", 0, "more than 64 KiB"),
            ("(.*a.{30})", 0, "more than 64 KiB"),
            (
                "((((((((((((((((((((((((((a))))))))))))))))))))))))))",
                24,
                "nested parentheses",
            ),
        ] {
            let (found, told) = Pattern::compile(pattern).expect_err(pattern);
            assert!(told.contains(message), "{pattern}: {told}");
            assert_eq!(found, at, "{pattern}: {told}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_refused(pattern in any::<String>(), text in any::<String>()) {
            if let Ok(pattern) = Pattern::compile(&pattern) {
                let _ = pattern.is_found_in(&text);
            }
        }

        #[test]
        fn it_agrees_with_the_crate_regex_on_ascii(
            pattern in r"(\^)?([a-c.]|\\d|\\w|\\s|\\b|\[\^?[a-c]\\d\]|\((\?:)?[ab]\|c?\)|[a-c]\*|[a-c]\{1,3\}){0,8}(\$)?",
            texts in proptest::collection::vec("[a-d0-1_ \n-]{0,12}", 0..20),
        ) {
            let (Ok(ours), Ok(theirs)) = (Pattern::compile(&pattern), regex::Regex::new(&pattern)) else {
                return Err(TestCaseError::reject("not a pattern"));
            };
            for text in texts {
                prop_assert_eq!(ours.is_found_in(&text), theirs.is_match(&text), "{} in {:?}", pattern, text);
            }
        }
    }
}
