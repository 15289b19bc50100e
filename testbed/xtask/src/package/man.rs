//! Man pages and the command-line reference, from what the programs say of themselves with `--help`.
//!
//! A program that ships carries no generator: its help is walked from outside, verb by verb, so a page can never say more or less than the
//! program does.

use std::fmt::Write;
use std::path::Path;

use crate::shell::{command, output};

/// One verb's help.
pub struct Help {
    /// The words before its options: `sentinel policy sign`.
    pub words: Vec<String>,
    /// What it printed.
    pub text: String,
}

/// The help of a program and of every verb below it, in the program's own order.
pub fn walk(program: &Path, name: &str) -> Result<Vec<Help>, String> {
    let mut all = Vec::new();
    visit(program, vec![name.to_owned()], &mut all)?;
    Ok(all)
}

fn visit(program: &Path, words: Vec<String>, all: &mut Vec<Help>) -> Result<(), String> {
    let text = output(
        command(&program.to_string_lossy())
            .args(&words[1..])
            .arg("--help")
            // The same page on every screen.
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .env_remove("SENTINEL_CONTEXT")
            .env_remove("SENTINEL_HUB_STATE")
            .env_remove("SENTINEL_STATE"),
    )?;
    let below = verbs(&text);
    all.push(Help {
        words: words.clone(),
        text,
    });
    for verb in below {
        let mut words = words.clone();
        words.push(verb);
        visit(program, words, all)?;
    }
    Ok(())
}

/// The verbs that a help text lists; `help` itself is none.
fn verbs(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

/// A man page. The text stays as the program words it, so each part is shown without filling.
pub fn page(program: &Path, name: &str, section: u8) -> Result<String, String> {
    let all = walk(program, name)?;
    let first = all.first().ok_or("a program has a help")?;
    let about = first.text.lines().next().unwrap_or_default().trim_end_matches('.');
    let mut out = format!(
        ".TH {} {section} \"\" \"Sentinel {}\"\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    );
    let _ = write!(out, ".SH NAME\n{name} \\- {}\n.SH DESCRIPTION\n", escaped(about));
    for help in &all {
        let _ = write!(out, ".SS \"{}\"\n.nf\n", escaped(&help.words.join(" ")));
        for line in help.text.trim_end().lines() {
            let _ = writeln!(out, "{}", escaped(line));
        }
        out.push_str(".fi\n");
    }
    Ok(out)
}

/// Text as roff reads it: backslashes and hyphens for themselves, and no line that looks like a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_that_the_help_lists() {
        let help = "About.\n\nUsage: x <COMMAND>\n\nCommands:\n  run   Run\n          and more\n  join  Join\n  help  Print this\n\nOptions:\n  -h  Help\n";
        assert_eq!(verbs(help), ["run", "join"]);
        assert!(verbs("Usage: x\n").is_empty());
    }

    #[test]
    fn a_line_that_looks_like_a_request_is_text() {
        assert_eq!(escaped(".so x"), "\\&.so x");
        assert_eq!(escaped("a\\b --c"), "a\\eb \\-\\-c");
    }
}
