//! A suggestion as a plan, in the words that every plan has, whoever sent it.
//!
//! The hub gives the plan its id and its deadline in its own time; nothing is added here that the suggestion does not say.

use wire::action::ActionKind;
use wire::plan::{Claim, Draft, ExpectedEffect, Source, Step, Target, Verb};
use wire::time::Wall;

use crate::brain::{Brain, Suggestion};

/// The least and the most that a step may be valid for, in milliseconds, by the contract of plans.
const VALID_MS: (u64, u64) = (60_000, 3_600_000);
/// The class of prediction that a suggestion makes.
const CLASS: &str = "limit";

/// The plan that this suggestion asks for, valid for as long as it is of use from `now` on; `None` once it is not.
///
/// `now` is the hub's wall clock. The key is the suggestion's id, so that a suggestion told twice is one plan.
pub fn draft(suggestion: &Suggestion, now: Wall) -> Option<Draft> {
    let not_after = Wall(i64::try_from(suggestion.not_after_ms).ok()?);
    let left_ms = u64::try_from(not_after.0 - now.0).ok().filter(|left| *left > 0)?;
    let expected = suggestion.effect.as_ref().map(|effect| ExpectedEffect {
        metric: effect.metric.clone(),
        delta: effect.delta,
        within_ms: effect.within_ms,
    });
    let step = Step {
        verb: verb(&suggestion.verb)?,
        target: Target::Device {
            node: suggestion.node.clone(),
            device: suggestion.device.clone(),
        },
        expected,
        safety: None,
        valid_for_ms: left_ms.clamp(VALID_MS.0, VALID_MS.1),
    };
    Some(Draft {
        source: Source::Brain {
            name: Brain::NAME.to_owned(),
            model: Brain::MODEL.to_owned(),
        },
        tenant: String::new(),
        reason: suggestion.reason.clone(),
        key: suggestion.id.clone(),
        correlation: String::new(),
        claim: Some(Claim {
            prediction: suggestion.id.clone(),
            class: CLASS.to_owned(),
            confidence_bp: (suggestion.confidence.clamp(0.0, 1.0) * 10_000.0) as u16,
            horizon_ms: suggestion.horizon_ms.max(1),
        }),
        steps: vec![step],
        not_after: Some(not_after),
    })
}

/// The verb of an action; `None` for one that no plan asks for.
fn verb(action: &ActionKind) -> Option<Verb> {
    Some(match action {
        ActionKind::PowerCap { milliwatts } => Verb::PowerCap {
            milliwatts: *milliwatts,
        },
        ActionKind::ReleasePowerCap => Verb::ReleasePowerCap,
        ActionKind::Restart => Verb::Restart,
        ActionKind::Throttle { share_bp } => Verb::Throttle { share_bp: *share_bp },
        ActionKind::Unthrottle => Verb::Unthrottle,
        ActionKind::Notify { message } => Verb::Notify {
            message: message.clone(),
        },
        ActionKind::Cordon => Verb::Cordon,
        ActionKind::Uncordon => Verb::Uncordon,
        ActionKind::Drain => Verb::Drain,
        ActionKind::LockClocks { .. } | ActionKind::UnlockClocks | ActionKind::ResetGpu | ActionKind::Reboot => {
            return None;
        }
    })
}
