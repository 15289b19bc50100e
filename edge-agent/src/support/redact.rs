//! Takes secrets out of text: what stands after a telling name, in a URL's credentials, after `Bearer`, in a PEM block, in a token of ours.
//!
//! Decides by form alone, and rather takes out too much: what is lost can be asked for, what has leaked cannot be taken back.
//!
//! Invariant: text without secrets comes out as it was; what is taken out leaves [`GONE`] in its place.

/// What stands where a secret was.
pub const GONE: &str = "[redacted]";

/// Parts of names whose values are secrets, in small letters.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
    "private_key",
    "private-key",
    "credential",
    "authorization",
    "cookie",
];
/// What our own secrets begin with: tokens to join, of programs and of sessions.
const OURS: &[&str] = &[
    "sjt_",
    "sat_",
    "sst_",
    "ghp_",
    "github_pat_",
    "glpat-",
    "hf_",
    "AKIA",
    "xoxb-",
];

/// The text without its secrets.
pub fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_pem = false;
    for line in text.split_inclusive('\n') {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        // A block on one line, as JSON has it, begins and ends here.
        let begins = body.contains("-----BEGIN ") && !body.contains("CERTIFICATE-----");
        if begins || in_pem {
            in_pem = !body.contains("-----END ");
            out.push_str(GONE);
        } else {
            out.push_str(&one_line(body));
        }
        out.push_str(end);
    }
    out
}

fn one_line(line: &str) -> String {
    let line = named(line);
    let line = schemes(&line);
    prefixed(&line)
}

/// `name = value`, `"name": "value"`, `--name value`, `name=value`.
fn named(line: &str) -> String {
    let small = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    let mut from = 0;
    while let Some((_, end)) = first_name(&small, from) {
        // The rest of the name: `HF_TOKEN_FILE`.
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        let end = end + small.as_bytes()[end..].iter().take_while(|byte| is_name(byte)).count();
        let start = small[..end].rfind(|letter: char| !(letter.is_ascii_alphanumeric() || "_-.".contains(letter)));
        let is_flag = small[start.map_or(0, |at| at + 1)..].starts_with('-');
        match value(line, end, is_flag) {
            Some((begin, stop)) => {
                out.push_str(&line[from..begin]);
                out.push_str(GONE);
                from = stop;
            }
            None => {
                out.push_str(&line[from..end]);
                from = end;
            }
        }
    }
    out.push_str(&line[from..]);
    out
}

/// The first telling name from there on: begin and end.
fn first_name(small: &str, from: usize) -> Option<(usize, usize)> {
    let found = NAMES.iter().filter_map(|name| {
        let at = small[from..].find(name)? + from;
        Some((at, at + name.len()))
    });
    found.min()
}

/// Where the value of a name that ends at `end` begins and stops, if it has one.
fn value(line: &str, end: usize, is_flag: bool) -> Option<(usize, usize)> {
    let rest = &line[end..];
    let bare = rest.trim_start_matches(['"', '\'', '\\', ' ', '\t']);
    let after = match bare.strip_prefix(['=', ':']) {
        Some(after) => after,
        // `"--token", "value"` in a list of words, and `--token value`.
        None if is_flag && bare.len() < rest.len() => bare.trim_start_matches([',', '"', '\'', ' ', '\t']),
        None => return None,
    };
    let quoted = after.trim_start_matches([' ', '\t', '\\']);
    let (begin, stop) = match quoted.chars().next()? {
        quote @ ('"' | '\'') => {
            let begin = line.len() - quoted.len() + 1;
            (
                begin,
                line[begin..].find(quote).map_or(line.len(), |length| begin + length),
            )
        }
        // A list or an object: its parts have names of their own.
        '[' | '{' => return None,
        _ => {
            let begin = line.len() - quoted.len();
            let ends = |letter: char| letter.is_whitespace() || ",;\"'&)]}".contains(letter);
            // `Authorization: Bearer x`: the value has two words.
            let words = ["bearer ", "basic "]
                .into_iter()
                .find(|word| quoted.to_ascii_lowercase().starts_with(word));
            let skip = words.map_or(0, str::len);
            (
                begin,
                line[begin + skip..]
                    .find(ends)
                    .map_or(line.len(), |length| begin + skip + length),
            )
        }
    };
    (stop > begin).then_some((begin, stop))
}

/// `https://user:password@host`, `Bearer x`.
fn schemes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |letter: char| letter.is_whitespace() || "/\"'<>,".contains(letter);
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        match authority.rfind('@') {
            Some(sign) => {
                out.push_str(GONE);
                rest = &after[sign..];
            }
            None => rest = after,
        }
    }
    out.push_str(rest);
    after_word(&out, "bearer ")
}

fn after_word(line: &str, word: &str) -> String {
    let small = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    let mut from = 0;
    while let Some(at) = small[from..].find(word).map(|at| from + at + word.len()) {
        let ends = |letter: char| letter.is_whitespace() || ",;\"'".contains(letter);
        let stop = line[at..].find(ends).map_or(line.len(), |length| at + length);
        out.push_str(&line[from..at]);
        if stop > at {
            out.push_str(GONE);
        }
        from = stop.max(at);
    }
    out.push_str(&line[from..]);
    out
}

/// Words that begin as tokens do.
fn prefixed(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    while let Some((at, prefix)) = OURS
        .iter()
        .filter_map(|prefix| Some((rest.find(prefix)?, *prefix)))
        .min()
    {
        let (before, word) = rest.split_at(at);
        let length = word.find(|letter| !is_part(letter)).unwrap_or(word.len());
        let starts = !before.ends_with(is_part);
        out.push_str(before);
        // Shorter ones are words: `hf_mode`.
        if starts && length >= prefix.len() + 12 {
            out.push_str(GONE);
        } else {
            out.push_str(&word[..length]);
        }
        rest = &word[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_go_and_their_names_stay() {
        for (line, expected) in [
            ("token = \"abc\"", "token = \"[redacted]\""),
            (
                "{\"password\":\"abc\",\"port\":1}",
                "{\"password\":\"[redacted]\",\"port\":1}",
            ),
            ("HF_TOKEN=abc MODE=fast", "HF_TOKEN=[redacted] MODE=fast"),
            (
                "command = [\"x\", \"--api-key\", \"abc\"]",
                "command = [\"x\", \"--api-key\", \"[redacted]\"]",
            ),
            ("x --token abc --port 3", "x --token [redacted] --port 3"),
            ("Authorization: Bearer abc, more", "Authorization: [redacted], more"),
            ("sent bearer abc", "sent bearer [redacted]"),
            ("https://me:abc@host/x", "https://[redacted]@host/x"),
            ("join sjt_0123456789abcdef0123456789abcdef now", "join [redacted] now"),
            ("Secrets were taken out", "Secrets were taken out"),
            ("the token has ended", "the token has ended"),
            ("tokens: [1, 2]", "tokens: [1, 2]"),
        ] {
            assert_eq!(redacted(line), expected, "{line}");
        }
    }

    #[test]
    fn a_private_key_goes_whole_and_a_certificate_stays() {
        let key = "-----BEGIN PRIVATE KEY-----\nabc\ndef\n-----END PRIVATE KEY-----\nafter\n";
        assert_eq!(redacted(key), format!("{GONE}\n{GONE}\n{GONE}\n{GONE}\nafter\n"));
        let certificate = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n";
        assert_eq!(redacted(certificate), certificate);
    }

    proptest! {
        #[test]
        fn a_value_never_survives_its_name(
            name in "[A-Z]{0,5}_?(TOKEN|password|Api-Key|secret)[A-Z_]{0,4}",
            value in "[a-zA-Z0-9/+]{6,20}Qx7",
            form in 0usize..5,
        ) {
            let line = match form {
                0 => format!("{name} = \"{value}\""),
                1 => format!("{{\"{name}\": \"{value}\", \"a\": 1}}"),
                2 => format!("a=1 {name}={value} b=2"),
                3 => format!("run --{name} {value}"),
                _ => format!("[\"--{name}\", \"{value}\"]"),
            };
            let told = redacted(&line);
            prop_assert!(!told.contains(&value), "{}", told);
        }

        #[test]
        fn any_text_comes_out_without_panic_and_plain_text_unchanged(text in any::<String>(), plain in "[a-z .,\n0-9]{0,80}") {
            let _ = redacted(&text);
            prop_assume!(NAMES.iter().all(|name| !plain.contains(name)) && !plain.contains("bearer "));
            prop_assert_eq!(redacted(&plain), plain);
        }
    }
}
