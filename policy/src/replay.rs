//! Makes a stored decision again and says whether the same came out.

use wire::api::{BundleProblem, ReplayView};
use wire::codec;
use wire::decision::Judgement;
use wire::{Decision, DecisionId, Digest};

use crate::bundle::Bundle;
use crate::judge::judge;

/// Judges the decision's inputs by the bundle whose text this is and compares bytes.
///
/// The text should be the one whose digest the inputs name. An error means that it is no bundle at all.
pub fn replay(bundle_text: &[u8], id: &DecisionId, decision: &Decision) -> Result<ReplayView, Vec<BundleProblem>> {
    let bundle = Bundle::parse_signed(bundle_text)?;
    let again = judge(&bundle, &decision.inputs);
    let recorded = Digest::of(&codec::encode(&decision.judgement));
    let recomputed = Digest::of(&codec::encode(&again));
    Ok(ReplayView {
        id: id.clone(),
        identical: recorded == recomputed,
        bundle: decision.inputs.bundle,
        recorded,
        recomputed,
        differences: differences(&decision.judgement, &again),
    })
}

/// Where two judgements differ, for people.
pub(crate) fn differences(recorded: &Judgement, again: &Judgement) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: recorded {a}, recomputed {b}"));
        }
    };
    let action = |j: &Judgement| j.granted.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    compare(
        "verdict",
        recorded.verdict.name().to_owned(),
        again.verdict.name().to_owned(),
    );
    compare("rule", recorded.rule.clone(), again.rule.clone());
    compare("granted", action(recorded), action(again));
    compare(
        "retry_after_ms",
        format!("{:?}", recorded.retry_after_ms),
        format!("{:?}", again.retry_after_ms),
    );
    compare(
        "valid_for_ms",
        recorded.valid_for_ms.to_string(),
        again.valid_for_ms.to_string(),
    );
    compare(
        "authority",
        recorded.authority.name().to_owned(),
        again.authority.name().to_owned(),
    );
    compare(
        "clauses",
        recorded.clauses.len().to_string(),
        again.clauses.len().to_string(),
    );
    for (index, (a, b)) in recorded.clauses.iter().zip(&again.clauses).enumerate() {
        if a != b {
            let text = |c: &wire::decision::Clause| {
                format!(
                    "{} {} {:?} {} {:?} {}",
                    c.rule,
                    c.what,
                    c.observed,
                    c.op,
                    c.limit,
                    c.verdict.name()
                )
            };
            compare(&format!("clause {}", index + 1), text(a), text(b));
        }
    }
    compare(
        "rejected",
        format!("{:?}", recorded.rejected),
        format!("{:?}", again.rejected),
    );
    found
}
