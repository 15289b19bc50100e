//! Throws bytes at the judge: `cargo xtask fuzz [TARGET] [SECONDS]`, every target for a minute if none is named.
//!
//! Needs a nightly compiler and `cargo-fuzz`, and installs what is missing: the compiler by rustup, the tool into `target/tools`.
//! What it finds lies in `policy/fuzz/artifacts`; put it into `policy/fuzz/seeds` and mend what it broke.

use crate::shell::{command, has, output, root, run as shell_run};

/// The targets. Their entries are in `policy/fuzz/src/entries.rs`.
const TARGETS: &[&str] = &["bundle", "cel", "decide", "canary"];
/// For how long each is tried.
const SECONDS: u32 = 60;

/// Runs one target or all of them.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let (targets, seconds) = read(arguments)?;
    nightly()?;
    let path = crate::setup::path_with_cargo_tool("cargo-fuzz")?;
    for target in targets {
        println!("── fuzz {target} for {seconds} s");
        let folder = |kind: &str| root().join("policy/fuzz").join(kind).join(target);
        std::fs::create_dir_all(folder("corpus")).map_err(|cause| format!("cannot make the corpus: {cause}"))?;
        shell_run(
            command("rustup")
                .env("PATH", &path)
                .args([
                    "run",
                    "nightly",
                    "cargo",
                    "fuzz",
                    "run",
                    "--fuzz-dir",
                    "policy/fuzz",
                    target,
                ])
                .arg(folder("corpus"))
                .arg(folder("seeds"))
                .args([
                    "--",
                    &format!("-max_total_time={seconds}"),
                    "-timeout=10",
                    "-print_final_stats=1",
                ]),
        )?;
    }
    Ok(())
}

fn read(arguments: &[String]) -> Result<(Vec<&'static str>, u32), String> {
    let (mut targets, mut seconds) = (Vec::new(), SECONDS);
    for word in arguments {
        match (TARGETS.iter().find(|target| *target == word), word.parse()) {
            (Some(target), _) => targets.push(*target),
            (None, Ok(number)) => seconds = number,
            (None, Err(_)) => {
                return Err(format!(
                    "`{word}` is neither a target ({}) nor a number of seconds",
                    TARGETS.join(", ")
                ));
            }
        }
    }
    if targets.is_empty() {
        targets = TARGETS.to_vec();
    }
    Ok((targets, seconds))
}

fn nightly() -> Result<(), String> {
    if !has("rustup") {
        return Err("fuzzing needs a nightly compiler, which rustup brings: see https://rustup.rs".to_owned());
    }
    if output(command("rustup").args(["toolchain", "list"]))?.contains("nightly") {
        return Ok(());
    }
    shell_run(command("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_and_seconds_come_in_any_order() {
        let read = |words: &[&str]| read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]), Ok((TARGETS.to_vec(), SECONDS)));
        assert_eq!(read(&["5", "cel"]), Ok((vec!["cel"], 5)));
        assert!(read(&["cle"]).is_err_and(|why| why.contains("neither a target (bundle, cel")));
    }

    #[test]
    fn every_target_has_seeds_and_a_program() {
        for target in TARGETS {
            let fuzz = root().join("policy/fuzz");
            assert!(fuzz.join("targets").join(format!("{target}.rs")).is_file(), "{target}");
            assert!(
                fuzz.join("seeds")
                    .join(target)
                    .read_dir()
                    .is_ok_and(|mut seeds| seeds.next().is_some()),
                "{target}"
            );
        }
    }
}
