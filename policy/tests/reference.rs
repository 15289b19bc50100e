//! 10^5 random decisions on which the engine and a slow and obvious second evaluator must agree.
//!
//! As many more as wanted: `cargo run --release -p policy --example differential -- 10000000`. Read next: `model/mod.rs`.

mod model;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    // 2,500 timelines of 40 questions: 10^5 decisions.
    #![proptest_config(ProptestConfig { cases: 2_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_evaluators_agree(rules in vec(model::rule(), 0..10), asks in vec(model::ask(), 40)) {
        if let Err(difference) = model::compare(&rules, &asks) {
            prop_assert!(false, "{}", difference);
        }
    }
}
