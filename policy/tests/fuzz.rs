//! The fuzz targets' entries on a stable compiler: every seed, and some thousand mutations of them that are the same on every run.
//!
//! It finds what a careless change breaks; `cargo xtask fuzz` goes deeper, with coverage.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../fuzz/src/entries.rs"]
mod entries;

use std::path::PathBuf;

/// Mutated inputs of each entry.
const ROUNDS: usize = 1_500;
/// Longest input that is tried here; longer ones are `hostile.rs`'s.
const MAX_BYTES: usize = 16 * 1024;

/// What inputs are made of.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "'",
    "\n",
    "- ",
    "null",
    "true",
    "-1",
    "0",
    "1e308",
    "9223372036854775807",
    "18446744073709551616",
    "bundle: ",
    "rules:",
    "indicators:",
    "meters:",
    "price_micros_per_kwh: 1",
    "good: { below: 85 °C }",
    "id: ",
    "kind: ",
    "cel",
    "require: ",
    "selector",
    "tz: ",
    "rrule",
    "FREQ=",
    "BYDAY=-5SU",
    "2026-02-30",
    "24:00",
    "&a ",
    "*a",
    "!!",
    "%",
    "\u{0}",
    "é",
    "\u{2028}",
    "(",
    ")",
    "&&",
    "||",
    "?",
    ".exists(x, ",
    ".filter(x, ",
    ".map(x, ",
    "facts",
    "action",
    "now",
    "\"at\":",
    "\"action\":",
    "\"facts\":",
    "\"end\":",
    "\"kind\":",
    "\"targets\":",
    "\"baseline\":",
    "\"canary\":",
    "\"warm_up_ms\":",
    "\"history\":",
    "\"independent\":true",
    "[[rules]]",
    "bundle = ",
];

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "`{name}` has no seeds");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(40)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let copy = bytes[at..to].to_vec();
                let times = 1 + random.below(30);
                bytes.splice(at..at, copy.repeat(times));
            }
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())].as_bytes();
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

/// Runs an entry on its seeds and their mutations; a failure prints the input that caused it.
fn run(name: &str, entry: fn(&[u8])) {
    let seeds = seeds(name);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mutations = (0..ROUNDS).map(|_| mutate(&seeds, &mut random)).collect::<Vec<_>>();
    for input in seeds.iter().chain(&mutations) {
        if std::panic::catch_unwind(|| entry(input)).is_err() {
            panic!("{name} fails on {:?}", String::from_utf8_lossy(input));
        }
    }
}

#[test]
fn any_bytes_are_a_bundle_or_a_list_of_problems() {
    run("bundle", entries::bundle);
}

#[test]
fn any_text_is_a_condition_or_is_refused() {
    run("cel", entries::cel);
}

#[test]
fn any_lines_are_decided_or_refused() {
    run("decide", entries::decide);
}

#[test]
fn any_json_is_a_canary_or_is_refused() {
    run("canary", entries::canary);
}
