//! Takes from a line of a CI log what the CI system wrapped around it.
//!
//! What is removed: carriage returns, the timestamps of GitHub and GitLab, the job and step columns of `gh run view --log`, act's
//! `[job]   |` column, GitLab's section marks, and terminal colours. What was marked stays known as a [`Mark`].
//! It never changes the words of the program whose output it is.

/// What the CI system says about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Output of the program.
    Plain,
    /// A step or a command begins; the text is its name or command.
    Command,
    /// The CI system calls it an error.
    Error,
    /// The CI system calls it a warning.
    Warning,
    /// Notes of the CI system itself.
    Quiet,
}

/// Takes the wrapping off `raw`. `scratch` holds the text where colours had to be cut out.
pub fn unwrap<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> (&'a [u8], Mark) {
    let mut line = raw.strip_suffix(b"\r").unwrap_or(raw);
    line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    line = after_columns(line);
    if memchr::memchr2(0x1b, b'\r', line).is_some() {
        without_colours(line, scratch);
        line = after_columns(scratch);
    }
    marked(line)
}

fn marked(line: &[u8]) -> (&[u8], Mark) {
    if let Some(rest) = line.strip_prefix(b"##[") {
        for (word, mark) in [
            (&b"error]"[..], Mark::Error),
            (b"warning]", Mark::Warning),
            (b"group]Run ", Mark::Command),
            (b"command]", Mark::Command),
            (b"group]", Mark::Quiet),
            (b"endgroup]", Mark::Quiet),
            (b"debug]", Mark::Quiet),
            (b"section]", Mark::Quiet),
            (b"notice]", Mark::Quiet),
        ] {
            if let Some(text) = rest.strip_prefix(word) {
                return (text, mark);
            }
        }
    }
    for sign in [&b"[command]"[..], b"+ ", b"++ ", b"$ ", b"> Run "] {
        if let Some(text) = line.strip_prefix(sign) {
            return (text, Mark::Command);
        }
    }
    (line, Mark::Plain)
}

/// Skips leading columns that belong to the CI system.
fn after_columns(line: &[u8]) -> &[u8] {
    let mut line = line;
    // `gh run view --log`: job, step, then the timestamped line.
    if let Some(tab) = memchr::memchr(b'\t', &line[..line.len().min(200)])
        && let Some(second) = memchr::memchr(b'\t', &line[tab + 1..line.len().min(tab + 200)])
        && timestamp(&line[tab + 1 + second + 1..]) > 0
    {
        line = &line[tab + second + 2..];
    }
    line = &line[timestamp(line)..];
    if line.first() == Some(&b'[') {
        line = after_act(line);
    }
    if line.starts_with(b"section_start:") || line.starts_with(b"section_end:") {
        line = line
            .iter()
            .position(|byte| *byte == b'\r')
            .map_or(&[], |end| &line[end + 1..]);
    }
    line
}

/// Length of a leading `2026-07-31T01:17:30.9756718Z ` (GitHub) or `2026-07-31T01:17:30.975671Z 00O ` (GitLab), else 0.
///
/// Sources: GitHub's job logs; GitLab's `FF_TIMESTAMPS` format, where `00O` is stream and continuation.
fn timestamp(line: &[u8]) -> usize {
    if line.len() < 20 || line[4] != b'-' || line[7] != b'-' || line[10] != b'T' || line[13] != b':' {
        return 0;
    }
    if !line[0].is_ascii_digit() || !line[12].is_ascii_digit() {
        return 0;
    }
    let Some(zulu) = line[19..line.len().min(36)].iter().position(|byte| *byte == b'Z') else {
        return 0;
    };
    let end = 19 + zulu + 1;
    let rest = &line[end..];
    if rest.len() >= 5 && rest[0] == b' ' && rest[1].is_ascii_hexdigit() && matches!(rest[3], b'O' | b'E') {
        return end + 4 + usize::from(matches!(rest[4], b' ' | b'+'));
    }
    end + usize::from(rest.first() == Some(&b' '))
}

/// Skips act's `[workflow/job]   | ` column. Source: act 0.2, where program output stands behind a bar.
fn after_act(line: &[u8]) -> &[u8] {
    let Some(close) = memchr::memchr(b']', &line[..line.len().min(120)]) else {
        return line;
    };
    let rest = &line[close + 1..];
    match rest.strip_prefix(b"   | ").or_else(|| rest.strip_prefix(b"   |")) {
        Some(text) => text,
        None => line,
    }
}

/// Copies `line` without escape sequences (CSI, OSC and two-byte ones), and without what a carriage return overwrote.
fn without_colours(line: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = line;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            0x1b => rest = after_escape(tail),
            b'\r' if !tail.is_empty() => out.clear(),
            b'\r' => {}
            byte => out.push(*byte),
        }
    }
}

fn after_escape(tail: &[u8]) -> &[u8] {
    let until = |tail: &'_ [u8], last: fn(&u8) -> bool| tail.iter().position(last).map_or(tail.len(), |end| end + 1);
    match tail.first() {
        Some(b'[') => &tail[1 + until(&tail[1..], |byte| (0x40..=0x7e).contains(byte))..],
        Some(b']') => &tail[1 + until(&tail[1..], |byte| *byte == 0x07)..],
        Some(_) => &tail[1..],
        None => tail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, text: &str, mark: Mark) {
        let mut scratch = Vec::new();
        let (found, as_mark) = unwrap(raw.as_bytes(), &mut scratch);
        assert_eq!(
            (String::from_utf8_lossy(found).as_ref(), as_mark),
            (text, mark),
            "{raw:?}"
        );
    }

    #[test]
    fn the_wrapping_of_each_ci_system_is_taken_off() {
        check(
            "2026-07-31T01:17:30.9756718Z ##[error]no route\r",
            "no route",
            Mark::Error,
        );
        check(
            "2026-07-31T01:17:30.9756718Z ##[group]Run ruff check .",
            "ruff check .",
            Mark::Command,
        );
        check(
            "lint\tRuff\t2026-07-31T01:17:30.9756718Z a.py:1:8: F401",
            "a.py:1:8: F401",
            Mark::Plain,
        );
        check(
            "2026-07-31T01:17:30.975671Z 00O a.py:1:8: F401",
            "a.py:1:8: F401",
            Mark::Plain,
        );
        check("[Lint/lint]   | a.py:1:8: F401", "a.py:1:8: F401", Mark::Plain);
        check(
            "section_start:1560896352:build[collapsed=true]\r\x1b[0KBuilding",
            "Building",
            Mark::Plain,
        );
        check("\x1b[1m\x1b[31mFAILED\x1b[0m x", "FAILED x", Mark::Plain);
    }

    #[test]
    fn words_of_a_program_stay_as_they_are() {
        for text in [
            "[error] /a/b.scala:1: no",
            "  2:10  error  x",
            "",
            "2026-07-31 is a date",
            "\u{1b}",
        ] {
            let mut scratch = Vec::new();
            assert_eq!(
                unwrap(text.as_bytes(), &mut scratch).0,
                text.trim_matches('\u{1b}').as_bytes()
            );
        }
    }
}
