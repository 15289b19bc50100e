//! What a node tells its judge of its way to the hub: facts for conditions in CEL, by fixed names.
//!
//! Tells; never decides. Read next: `edge-agent/core/src/mesh.rs` (how a node tells one kind of cut from another).

use wire::api::Isolation;

use crate::text::did_you_mean;

/// What stands before the dot of every name.
pub(crate) const ISOLATION: &str = "isolation";

/// Each name without [`ISOLATION`], and what it is.
const FACTS: [(&str, &str); 8] = [
    ("none", "1: the node reaches the hub over a path of its own"),
    (
        "node",
        "1: only this node's own path is cut; a neighbour of its site still reaches the hub",
    ),
    (
        "site",
        "1: no member of the site reaches the hub over a path of its own",
    ),
    ("hub", "1: the hub itself is away, for everybody"),
    (
        "unknown",
        "1: there is no path, and no neighbour is in touch who could tell how far the cut goes",
    ),
    (
        "carried",
        "1: a neighbour carries this node's session, so that the hub hears it all the same",
    ),
    ("in_touch", "how many neighbours are in touch"),
    ("reaching", "how many of those reach the hub over a path of their own"),
];

/// How a node stands with its hub, as it sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Isolated {
    /// How far a cut goes; `None`: the node's own path works.
    pub scope: Option<Isolation>,
    /// Whether a neighbour carries its session.
    pub carried: bool,
    /// Neighbours in touch.
    pub in_touch: usize,
    /// Of those, how many reach the hub over a path of their own.
    pub reaching: usize,
}

impl Isolated {
    /// Every fact by its full name.
    pub fn facts(&self) -> impl Iterator<Item = (String, i64)> {
        let own = *self;
        FACTS
            .iter()
            .map(move |(name, _)| (format!("{ISOLATION}.{name}"), own.value(name)))
    }

    fn value(&self, name: &str) -> i64 {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        match name {
            "carried" => i64::from(self.carried),
            "in_touch" => count(self.in_touch),
            "reaching" => count(self.reaching),
            name => i64::from(self.scope.map_or("none", Isolation::name) == name),
        }
    }
}

/// What is wrong with the name of a fact, if it looks like one of these and is none.
pub(crate) fn problem(fact: &str) -> Option<String> {
    let name = fact.strip_prefix(ISOLATION)?.strip_prefix('.')?;
    let names = || FACTS.iter().map(|(known, _)| *known);
    if names().any(|known| known == name) {
        return None;
    }
    Some(match did_you_mean(name, names()) {
        Some(near) => format!("no fact is called `{fact}`; did you mean `{ISOLATION}.{near}`?"),
        None => {
            let names: Vec<&str> = names().collect();
            format!(
                "no fact is called `{fact}`; `{ISOLATION}.` goes before {}",
                names.join(", ")
            )
        }
    })
}

/// The page of `policy explain isolation`.
pub(crate) fn help() -> String {
    let mut text = format!(
        "{ISOLATION}: how far a cut goes, as the node itself sees it, for conditions in CEL: facts[\"{ISOLATION}.site\"] == 1\n\n\
         A node always knows all of them. A hub that judges beforehand knows none: there a condition that asks for one says what its\n\
         `on_missing` says, and the node has the last word.\n\nfacts\n"
    );
    for (name, doc) in FACTS {
        text.push_str(&format!("  {ISOLATION}.{name}\n      {doc}\n"));
    }
    text.push_str(
        "\nfor example, nothing disruptive on a node of a site that is cut off, whoever wants it\n  - id: quiet-while-cut-off\n    \
         kind: cel\n    require: '!action.disruptive || facts[\"isolation.site\"] == 0'\n    on_missing: allow\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;

    #[test]
    fn exactly_one_scope_is_told_and_each_name_is_explained() {
        for scope in [None].into_iter().chain(Isolation::ALL.map(Some)) {
            let isolated = Isolated {
                scope,
                carried: true,
                in_touch: 3,
                reaching: 1,
            };
            let facts: Vec<(String, i64)> = isolated.facts().collect();
            let scopes: Vec<&str> = facts[..5]
                .iter()
                .filter(|(_, value)| *value == 1)
                .map(|(name, _)| name.as_str())
                .collect();
            let expected = format!("isolation.{}", scope.map_or("none", Isolation::name));
            assert_eq!(scopes, [expected.as_str()]);
            assert_eq!(
                facts[5..].iter().map(|(_, value)| *value).collect::<Vec<_>>(),
                [1, 3, 1]
            );
            assert!(
                facts.iter().all(|(name, _)| help().contains(name.as_str())),
                "{facts:?}"
            );
        }
    }

    #[test]
    fn the_example_is_a_rule_and_a_misspelt_fact_is_none() {
        let help = help();
        let (_, example) = help.split_once("whoever wants it\n").expect("an example");
        let text = format!("bundle: b\nrules:\n{example}");
        assert!(Bundle::parse(text.as_bytes()).is_ok(), "{text}");
        for (wrong, part) in [
            ("isolation.sites", "did you mean `isolation.site`?"),
            ("isolation.moon", "goes before none, node, site"),
        ] {
            let text = text.replace("isolation.site", wrong);
            let problems = Bundle::parse(text.as_bytes()).expect_err(wrong);
            assert!(problems[0].message.contains(part), "{problems:?}");
            assert_eq!(problems[0].field, "rules[0].require");
            assert!(
                Bundle::parse_signed(text.as_bytes()).is_ok(),
                "what was signed goes on to count"
            );
        }
    }
}
