//! What each code of a problem means, in words that never change.

/// Below this path each code has a page: the `type` of every problem leads there.
pub const BELOW: &str = "/problems";

/// One code.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The code, which never changes its meaning.
    pub code: &'static str,
    /// With which statuses it comes.
    pub statuses: &'static [u16],
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub way_out: &'static str,
}

impl Kind {
    /// The code called so.
    pub fn of(code: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.code == code)
    }

    /// The page about it, as Markdown that also reads well as it is.
    pub fn text(&self) -> String {
        let statuses: Vec<String> = self.statuses.iter().map(u16::to_string).collect();
        format!(
            "# Problem `{}`\n\nComes with status {}.\n\n## What it means\n\n{}\n\n## What to do\n\n{}\n",
            self.code,
            statuses.join(" or "),
            self.meaning,
            self.way_out
        )
    }
}

const fn kind(code: &'static str, statuses: &'static [u16], meaning: &'static str, way_out: &'static str) -> Kind {
    Kind {
        code,
        statuses,
        meaning,
        way_out,
    }
}

/// Every code.
pub const KINDS: &[Kind] = &[
    kind(
        "bad_request",
        &[400, 422],
        "Something in the request is not right; `errors` points at each place.",
        "Change what `errors` names and send it again. Nothing was done.",
    ),
    kind(
        "unauthorized",
        &[401],
        "Nobody known asks: there is no token, or it opens nothing here any more.",
        "Log in again, or take another token.",
    ),
    kind(
        "denied",
        &[403],
        "You are known and may not do this; `permission` names what is missing, where something is.",
        "Ask somebody with the role that `detail` names. The refusal is in the audit.",
    ),
    kind(
        "not_found",
        &[404],
        "There is no such thing, or it belongs to another tenant.",
        "`detail` says how to list what there is.",
    ),
    kind(
        "conflict",
        &[409],
        "The present state does not allow it. Nothing was done.",
        "Read the thing again and decide anew.",
    ),
    kind(
        "in_flight",
        &[409],
        "A request with the same `Idempotency-Key` is being done.",
        "Send the same request again in a moment: it gets the answer of the first.",
    ),
    kind(
        "already_done",
        &[409],
        "A request with the same `Idempotency-Key` was carried out, or may have been, and its answer cannot be given again.",
        "Look whether it is done. To do it once more, take another key.",
    ),
    kind(
        "key_reused",
        &[422],
        "The `Idempotency-Key` was given with another request.",
        "Take a new key for each thing that is to be done.",
    ),
    kind(
        "changed_since",
        &[412],
        "The thing is not what `If-Match` says: somebody changed it since you read it. Nothing was done.",
        "Read it again, and send the new `ETag`.",
    ),
    kind(
        "too_large",
        &[413],
        "The body is longer than this route takes.",
        "Send less; `detail` has the bound.",
    ),
    kind(
        "too_often",
        &[429],
        "Too many requests, or too many failed tries to log in.",
        "Wait as long as `Retry-After` says.",
    ),
    kind(
        "internal",
        &[500],
        "A fault of the program that answers. Its log says where.",
        "Tell whoever runs it.",
    ),
    kind(
        "unavailable",
        &[503, 504],
        "It cannot be done now: the store, a node or a cluster does not answer. After 504 it may still happen.",
        "Come again after `Retry-After`; send an `Idempotency-Key` so that it happens once.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once() {
        let mut codes: Vec<&str> = KINDS.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
