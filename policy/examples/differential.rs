//! Random decisions, 10^7 unless told otherwise, on which the engine and a slow and obvious evaluator must agree.
//!
//! `cargo run --release -p policy --example differential -- 10000000 1`: how many, and the seed. Prints how many agreed, or the
//! smallest timeline on which they do not, with exit code 1.

#[path = "../tests/model/mod.rs"]
mod model;

use std::process::ExitCode;

use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Questions of one timeline.
const QUESTIONS: u64 = 40;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (decisions, seed) = (number(10_000_000), number(1));
    let config = Config {
        cases: u32::try_from(decisions.div_ceil(QUESTIONS)).unwrap_or(u32::MAX),
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let timelines = (vec(model::rule(), 0..10), vec(model::ask(), QUESTIONS as usize));
    let outcome = runner.run(&timelines, |(rules, asks)| {
        model::compare(&rules, &asks).map_err(proptest::test_runner::TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {
            println!("{decisions} random decisions (seed {seed}): both evaluators agree");
            ExitCode::SUCCESS
        }
        Err(difference) => {
            println!("{difference}");
            ExitCode::FAILURE
        }
    }
}
