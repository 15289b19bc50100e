//! Runs every file of `tests/cases`, which are the policy's examples and its tests at once.
#![allow(clippy::unwrap_used)]

use std::path::Path;

#[test]
fn every_case_comes_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failures = Vec::new();
    let mut cases = 0;
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read(&file).unwrap();
        match policy::run_cases(&text, Some(policy::DEMO_BUNDLE.as_bytes())) {
            Ok(results) => {
                cases += results.len();
                for result in results {
                    for failure in result.failures {
                        failures.push(format!("{name}: {}: {failure}", result.name));
                    }
                }
            }
            Err(problems) => failures.push(format!("{name}: {problems:#?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases >= 20, "only {cases} cases were found");
}

#[test]
fn our_bundles_are_bundles() {
    for (text, rules) in [
        (policy::DEMO_BUNDLE, 8),
        (policy::DEMO_STRICT_BUNDLE, 8),
        (policy::FIXES_BUNDLE, 7),
    ] {
        let bundle = policy::Bundle::parse(text.as_bytes()).unwrap_or_else(|p| panic!("{p:#?}"));
        assert!(bundle.rules().len() >= rules);
        for rule in bundle.rules() {
            println!("{} {} {}: {}", rule.id, rule.kind, rule.mode, rule.text);
        }
    }
}
