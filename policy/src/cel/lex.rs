//! Text to tokens. Never looks at what they mean.
//!
//! Invariant: at most one token a byte.

use super::CelError;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Digits, or `0x` and hex digits, as written.
    Number(String),
    Text(String),
    Word(String),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Longer ones first: the first that fits is taken.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=",
];

/// Splits a text into tokens with the byte at which each begins and ends.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize, usize)>, CelError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (token, len) = token(rest).map_err(|(inside, message)| CelError {
            at: at + inside,
            message,
        })?;
        found.push((token, at, at + len));
        at += len;
    }
    found.push((Token::End, text.len(), text.len()));
    Ok(found)
}

fn token(rest: &str) -> Result<(Token, usize), (usize, String)> {
    let c = rest.chars().next().unwrap_or(' ');
    if c.is_ascii_digit() {
        return number(rest);
    }
    let (raw, quoted) = match rest.strip_prefix(['r', 'R']) {
        Some(after) if after.starts_with(['"', '\'']) => (true, after),
        _ => (false, rest),
    };
    if quoted.starts_with(['"', '\'']) {
        let prefix = rest.len() - quoted.len();
        let (text, len) = string(quoted, raw).map_err(|(at, message)| (at + prefix, message))?;
        return Ok((Token::Text(text), len + prefix));
    }
    if c.is_ascii_alphabetic() || c == '_' {
        let len = word_len(rest);
        if rest[len..].starts_with(['"', '\'']) {
            return Err((
                0,
                format!("strings with the prefix `{}` are not supported", &rest[..len]),
            ));
        }
        return Ok((Token::Word(rest[..len].to_owned()), len));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(&"=") => Err((0, "`=` compares nothing; write `==`".to_owned())),
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None => Err((0, format!("`{}` means nothing here", c.escape_default()))),
    }
}

fn word_len(rest: &str) -> usize {
    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len())
}

fn number(rest: &str) -> Result<(Token, usize), (usize, String)> {
    let len = word_len(rest);
    let text = &rest[..len];
    let fraction = rest[len..]
        .strip_prefix('.')
        .is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    if fraction || text.bytes().all(|b| b.is_ascii_digit() || b == b'e' || b == b'E') && text.contains(['e', 'E']) {
        return Err((
            0,
            "decimals are not supported; numbers are whole, in the stored unit".to_owned(),
        ));
    }
    if text.ends_with(['u', 'U']) {
        return Err((0, format!("`{text}` is unsigned; leave the `u` out")));
    }
    Ok((Token::Number(text.to_owned()), len))
}

/// A string and its length with the quotes.
fn string(quoted: &str, raw: bool) -> Result<(String, usize), (usize, String)> {
    let quote = quoted.chars().next().unwrap_or('"');
    if quoted[1..].starts_with(quote) && quoted[2..].starts_with(quote) {
        return Err((0, "strings in three quotes are not supported".to_owned()));
    }
    let mut text = String::new();
    let mut chars = quoted.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' | '\r' => break,
            '\\' if !raw => {
                let (_, escaped) = chars.next().unwrap_or((at, ' '));
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '\'' | '"' | '`' | '?' => escaped,
                    other => {
                        return Err((
                            at,
                            format!("`\\{}` is no escape that is supported", other.escape_default()),
                        ));
                    }
                });
            }
            c if c == quote => return Ok((text, at + 1)),
            c => text.push(c),
        }
    }
    Err((0, "this string has no end".to_owned()))
}
