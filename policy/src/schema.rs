//! What can stand in a bundle, told by the code that reads it: field lists for people, JSON Schema for editors.

mod examples;

use serde_json::{Map, Value, json};
use wire::Quantity;

use crate::bundle::Bundle;
use crate::indicator::{Indicator, MAX_INDICATORS};
use crate::isolation::{self, ISOLATION};
use crate::kind::Kind;
use crate::meter::{MAX_METERS, Meter};
use crate::rule::{Rule, Selector};
use crate::sites::{MAX_MEMBERS, Site};
use crate::text::did_you_mean;
use crate::text::fields::{Described, Fields, Problems, Shape};
use crate::text::units;

/// The kinds of rule, each with one sentence.
pub fn rule_kinds() -> Vec<(&'static str, &'static str)> {
    Kind::NAMES.iter().copied().zip(Kind::DOCS.iter().copied()).collect()
}

/// A kind of rule for people: what it does, each of its fields, and an example; or the same of `indicators` and `meters`. An error
/// names the kinds there are.
pub fn explain_kind(name: &str) -> Result<String, String> {
    match name {
        INDICATORS => return Ok(explain_indicators()),
        METERS => return Ok(explain_meters()),
        QUANTITIES => return Ok(explain_quantities()),
        ISOLATION => return Ok(isolation::help()),
        SITES => return Ok(explain_sites()),
        _ if let Some(text) = explain_built_in(name) => return Ok(text),
        _ => {}
    }
    let Some(index) = Kind::NAMES.iter().position(|kind| *kind == name) else {
        let hint = did_you_mean(name, Kind::NAMES.iter().copied().chain(other_topics().iter().copied()));
        return Err(match hint {
            Some(near) => format!("unknown kind of rule `{name}`; did you mean `{near}`?"),
            None => format!(
                "unknown kind of rule `{name}`; one of {}; or {}",
                Kind::NAMES.join(", "),
                other_topics().join(", ")
            ),
        });
    };
    let mut text = format!("{name}: {}\n\n", Kind::DOCS[index]);
    text.push_str(&format!("where its numbers come from\n  {}\n\n", FACTS[index]));
    let (common, own) = fields_of(index);
    list(&mut text, "fields of this kind", &own, 1);
    text.push('\n');
    list(&mut text, "fields of every rule", &common, 1);
    if name == "cel" {
        text.push('\n');
        text.push_str(&crate::cel::help());
    }
    if name == "change_freeze" {
        text.push('\n');
        text.push_str(crate::kind::FREEZE_HELP);
    }
    text.push_str(&format!("\nfor example\n{}", examples::OF_KINDS[index]));
    Ok(text)
}

/// Where the numbers come from that each kind of rule compares, in the order of its names. None comes from a plan: what its sender says of
/// the world is kept as a claim, and looked at by nobody who judges.
const FACTS: [&str; Kind::NAMES.len()] = [
    "the node's own readings; never what a plan says of them",
    "the age of the node's own readings",
    "the node's own journal: when such actions ended there, whoever wanted them",
    "the node's own journal: how many such actions began there, whoever wanted them; over several nodes, the hub's count",
    "the node's own journal: how many such actions began there, whoever wanted them; over several nodes, the hub's count",
    "the action as it is wanted, between these bounds and the range that the device itself tells",
    "the action as it is wanted, and the present value as the device reads it back",
    "the clock of whoever judges, by as much as it may be wrong",
    "the clock of whoever judges, by as much as it may be wrong",
    "the node's meters of its own readings; for clusters, what they tell of their nodes, priced by the hub",
    "the node's own readings; for clusters, what they tell of their work",
    "the node's indicators of its own readings",
    "the node's indicators of its own readings",
    "what the hub counts of nodes by their sessions and findings, and of clusters by what they tell; a node has it from the hub",
    "what came of this brain's earlier predictions, which the hub joined to readings; the claim only says which of them compare",
    "the node's own journal: what is under way there, whoever wanted it",
    "readings, facts of the rules above and labels, as the node has them; of the action, what is wanted",
];

/// The lists of a bundle that are explained besides the kinds of rule.
const INDICATORS: &str = "indicators";
const METERS: &str = "meters";
/// Who helps whom.
const SITES: &str = "sites";
/// What readings are of.
const QUANTITIES: &str = "quantities";

/// What is explained besides the kinds of rule, by name.
pub fn other_topics() -> &'static [&'static str] {
    &[INDICATORS, METERS, QUANTITIES, SITES, ISOLATION, "reflexes", "relapses"]
}

/// Every quantity, and how a value of it is written.
fn explain_quantities() -> String {
    let mut text = format!(
        "{QUANTITIES}: what agents read. Rules of the kinds threshold and stale, indicators, meters and conditions in CEL name them\n\n"
    );
    let widest = Quantity::ALL.iter().map(|one| one.name().len()).max().unwrap_or(0);
    for quantity in Quantity::ALL {
        let example = units::example(quantity.unit());
        text.push_str(&format!("  {:widest$}  {example}\n", quantity.name()));
    }
    text.push_str("\nfor example\n  quantity: gpu.temperature\n  above: 85 °C\n");
    text
}

/// What a limit is that no rule needs to state, by the name under which decisions give it.
fn explain_built_in(name: &str) -> Option<String> {
    let text = match name {
        "reflexes" => {
            "reflexes: how many safety reflexes (power_cap, throttle) of its own rules a node takes in an hour before something is wrong

Beyond the limit no reflex is taken back any more, and none is repeated that is in force already: what protects now goes on protecting
until the hour has room again. A reflex that is not in force runs whatever the limit. A decision that is held back names `reflexes`,
and the node is shown as not well while a limit of a rule is broken.

field of the bundle
  reflexes_per_hour: number 1..=1000
      30

for example
  reflexes_per_hour: 30
"
        }
        "relapses" => {
            "relapses: how long a rule waits before it takes an action back that was needed again soon after it had been taken back

The first time, `clear_below` and `clear_for` of the rule say when an action is taken back. If the condition holds again within an hour
after that, it is a relapse: the condition must then have been clear for `relapse_wait`, after the next relapse for twice as long, and
so on up to 1 h. After an hour without a relapse the rule begins anew. A decision that is held back names `relapses`.

field of the bundle
  relapse_wait: duration
      5 min

for example
  relapse_wait: 5 min
"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// What an indicator is: each of its fields, and the numbers that it gives.
fn explain_indicators() -> String {
    let problems = Problems::default();
    let mut fields = Fields::describing(&problems);
    Indicator::read(&mut fields);
    let mut text = format!(
        "{INDICATORS}: what an agent observes of its own readings, alone or connected. Each reading of the series is an event, good or \
         bad. `slo_burn` (sli: ID) and `sla` (service: ID) look at them; at most {MAX_INDICATORS}\n\n"
    );
    list(&mut text, "fields of an indicator", &fields.into_described(), 1);
    text.push_str(
        "\nnumbers that it gives, for conditions in CEL too: facts[\"ID.burn_1h\"]\n  \
         burn_5m, burn_30m, burn_1h, burn_2h, burn_6h, burn_1d, burn_3d: share of bad events / (100 % - target), in thousandths\n  \
         budget_left_bp: what is left of the error budget of the period, in hundredths of a percent\n  \
         events_short: events in the shortest window\n  \
         outage_ms: how long the latest reading of any of its series was bad in the period; an sla rule asks for its own period\n",
    );
    text.push_str(&format!("\nfor example\n{}", examples::OF_INDICATORS));
    text
}

/// What a meter is: each of its fields, and the numbers that it gives.
fn explain_meters() -> String {
    let problems = Problems::default();
    let mut fields = Fields::describing(&problems);
    Meter::read(&mut fields);
    let mut text = format!(
        "{METERS}: what energy costs, metered by an agent from its own readings, alone or connected. The latest power of each series speaks \
         until its next reading; series are added up. `cost_ceiling` (scope: ID) looks at them; at most {MAX_METERS}\n\n"
    );
    list(&mut text, "fields of a meter", &fields.into_described(), 1);
    text.push_str(
        "\nwhat a cost_ceiling of that scope is told when it decides, in millionths of the currency, rounded up\n  \
         spent in its own window: the hour in which the window begins counts in full; time in which the node was off does not pass\n  \
         the run rate: what all series that speak say, for an hour. Nothing is known once none speaks any more\n  \
         the change: what the action changes of the power that a metered device may draw (the new power cap, or the highest there is for \
         release_power_cap, less the present one), for an hour\n\
         another price is counted for the past too; another quantity, device or stale_after begins anew\n",
    );
    text.push_str(&format!("\nfor example\n{}", examples::OF_METERS));
    text
}

/// What a site is: each of its fields.
fn explain_sites() -> String {
    let problems = Problems::default();
    let mut fields = Fields::describing(&problems);
    Site::read(&mut fields);
    let mut text = format!(
        "{SITES}: which nodes carry each other's packets to the hub, and pass signed policy on. The list of a site counts in place of \
         `mesh.peers` of its nodes' settings from the moment at which the bundle is active; at most {MAX_MEMBERS} nodes each\n\n"
    );
    list(&mut text, "fields of a site", &fields.into_described(), 1);
    text.push_str(&format!("\nfor example\n{}", examples::OF_SITES));
    text
}

/// The JSON Schema (2020-12) of a bundle.
pub fn schema() -> Value {
    let problems = Problems::default();
    let mut top = Fields::describing(&problems);
    Bundle::read(&mut top);
    let mut described = top.into_described();
    described.retain(|field| field.name != "rules");
    let mut schema = object(&described);
    let rules: Vec<Value> = (0..Kind::NAMES.len())
        .map(|index| {
            let (common, own) = fields_of(index);
            let all: Vec<_> = common
                .into_iter()
                .filter(|field| field.name != "kind")
                .chain(own)
                .collect();
            let mut rule = object(&all);
            rule["title"] = json!(Kind::NAMES[index]);
            rule["description"] = json!(Kind::DOCS[index]);
            rule["properties"]["kind"] = json!({ "const": Kind::NAMES[index] });
            if let Some(required) = rule["required"].as_array_mut() {
                required.push(json!("kind"));
            }
            rule
        })
        .collect();
    schema["properties"]["rules"] =
        json!({ "type": "array", "maxItems": crate::MAX_RULES, "items": { "oneOf": rules } });
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Sentinel policy bundle");
    schema
}

/// The fields that every rule has, and those that only this kind has.
fn fields_of(index: usize) -> (Vec<Described>, Vec<Described>) {
    let problems = Problems::default();
    let mut common = Fields::describing(&problems);
    Rule::read_common(&mut common);
    let mut common = common.into_described();
    let mut own = Fields::describing(&problems);
    Kind::read(index, &mut own, &Selector::default());
    if Kind::wants_selector(index) {
        let mut selector = Fields::describing(&problems);
        Selector::read(&mut selector);
        common.push(Described {
            name: "selector",
            shape: Shape::Map(selector.into_described()),
            required: false,
            doc: "which actions it applies to; all if absent",
        });
    }
    (common, own.into_described())
}

fn list(text: &mut String, title: &str, fields: &[Described], depth: usize) {
    if !title.is_empty() {
        text.push_str(&format!("{title}\n"));
    }
    for field in fields {
        let must = if field.required { " (required)" } else { "" };
        let takes = match &field.shape {
            Shape::Text => "text".to_owned(),
            Shape::Number(low, high) if *high == i64::MAX => format!("number from {low}"),
            Shape::Number(low, high) => format!("number {low}..={high}"),
            Shape::Duration => "duration, 5 s".to_owned(),
            Shape::Amount(unit) => format!("value, {}", unit.map_or("85 °C", units::example)),
            Shape::Flag => "true or false".to_owned(),
            Shape::Choice(words) => words.join("|"),
            Shape::Words(words) if words.is_empty() => "list of words".to_owned(),
            Shape::Words(words) if words.len() > 8 => {
                format!("list of {} … {}", words[0], words[words.len() - 1])
            }
            Shape::Words(words) => format!("list of {}", words.join("|")),
            Shape::Map(_) => "map".to_owned(),
            Shape::Maps(_) => "map, or list of maps".to_owned(),
        };
        let indent = "  ".repeat(depth);
        text.push_str(&format!(
            "{indent}{}{must}: {takes}\n{indent}    {}\n",
            field.name, field.doc
        ));
        if let Shape::Map(below) | Shape::Maps(below) = &field.shape {
            list(text, "", below, depth + 1);
        }
    }
}

fn object(fields: &[Described]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut property = shape(&field.shape);
        if !field.required {
            // Nothing after the colon is the same as no field.
            property = or_nothing(property);
        }
        if !field.doc.is_empty() {
            property["description"] = json!(field.doc);
        }
        properties.insert(field.name.to_owned(), property);
    }
    let required: Vec<_> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

/// The same, or null.
fn or_nothing(mut schema: Value) -> Value {
    for list in ["enum", "anyOf"] {
        if let Some(list_of) = schema.get_mut(list).and_then(Value::as_array_mut) {
            list_of.push(if list == "enum" {
                Value::Null
            } else {
                json!({ "type": "null" })
            });
            return schema;
        }
    }
    schema["type"] = match schema["type"].take() {
        Value::Array(mut types) => {
            types.push(json!("null"));
            Value::Array(types)
        }
        one => json!([one, "null"]),
    };
    schema
}

/// What a field takes, however it is written: a scalar of a bundle is its text, so `5` and `"5"` are the same.
fn shape(shape: &Shape) -> Value {
    let text = || json!({ "type": ["string", "number", "boolean"] });
    match shape {
        Shape::Text => text(),
        Shape::Number(low, high) => json!({ "anyOf": [
            { "type": "integer", "minimum": low, "maximum": high },
            { "type": "string", "pattern": "^-?[0-9_]+$" },
        ] }),
        Shape::Duration => {
            json!({ "type": "string", "pattern": "^ *([0-9._]+ *(ms|s|sec|m|min|h|d|w) *)+$" })
        }
        Shape::Amount(_) => json!({ "type": ["string", "number"] }),
        Shape::Flag => json!({ "enum": [true, false, "true", "false", "yes", "no"] }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Words(words) => {
            let word = if words.is_empty() {
                text()
            } else {
                json!({ "enum": words })
            };
            json!({ "anyOf": [word, { "type": "array", "items": word }] })
        }
        Shape::Map(below) if below.is_empty() => json!({ "type": "object", "additionalProperties": text() }),
        Shape::Map(below) => object(below),
        Shape::Maps(below) => {
            let map = object(below);
            json!({ "anyOf": [map, { "type": "array", "items": map }] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tree;

    /// A bundle as an editor sees it: scalars without quotes are what YAML makes of them.
    fn as_json(node: &tree::Node) -> Value {
        match &node.value {
            tree::Value::Nothing => Value::Null,
            tree::Value::Text(text) if node.style != tree::Style::Plain => json!(text),
            tree::Value::Text(text) => match text.as_str() {
                "true" => json!(true),
                "false" => json!(false),
                _ => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
            },
            tree::Value::List(items) => items.iter().map(as_json).collect(),
            tree::Value::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.name.clone(), as_json(node)));
                Value::Object(entries.collect())
            }
        }
    }

    /// Whether a schema of ours takes a value.
    fn takes(schema: &Value, value: &Value) -> bool {
        let is_of = |name: &str| match name {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_i64(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "null" => value.is_null(),
            other => panic!("unknown type {other}"),
        };
        let is_typed = match &schema["type"] {
            Value::Null => true,
            Value::String(one) => is_of(one),
            Value::Array(names) => names.iter().filter_map(Value::as_str).any(is_of),
            other => panic!("{other} is no type"),
        };
        let fits = |part: &str, fits: &dyn Fn(&Value) -> bool| schema.get(part).is_none_or(fits);
        let all = |of: &Value| {
            let entries = value.as_object().into_iter().flatten();
            let mut unknown = entries.filter(|(name, _)| schema["properties"].get(name.as_str()).is_none());
            unknown.all(|(_, value)| of != &json!(false) && (of == &json!(true) || takes(of, value)))
        };
        is_typed
            && fits("enum", &|words| {
                words.as_array().is_some_and(|words| words.contains(value))
            })
            && fits("const", &|word| word == value)
            && fits("anyOf", &|any| {
                any.as_array()
                    .is_some_and(|any| any.iter().any(|one| takes(one, value)))
            })
            && fits("oneOf", &|one| {
                one.as_array()
                    .is_some_and(|one| one.iter().filter(|one| takes(one, value)).count() == 1)
            })
            && fits("minimum", &|low| value.as_i64() >= low.as_i64())
            && fits("maximum", &|high| value.as_i64() <= high.as_i64())
            && fits("pattern", &|pattern| {
                let pattern = regex::Regex::new(pattern.as_str().unwrap_or("")).expect("a pattern of ours");
                value.as_str().is_some_and(|text| pattern.is_match(text))
            })
            && fits("items", &|of| {
                value
                    .as_array()
                    .is_none_or(|items| items.iter().all(|item| takes(of, item)))
            })
            && fits("additionalProperties", &all)
            && fits("required", &|names| {
                let mut names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
                !value.is_object() || names.all(|name| value.get(name).is_some())
            })
            && value.as_object().into_iter().flatten().all(|(name, value)| {
                schema["properties"]
                    .get(name.as_str())
                    .is_none_or(|of| takes(of, value))
            })
    }

    #[test]
    fn the_schema_takes_what_check_takes() {
        let schema = schema();
        let rule = |rule: &str| format!("bundle: t\nrules:\n  - {{ id: a, {rule} }}\n");
        let mut texts = vec![
            crate::DEMO_BUNDLE.to_owned(),
            crate::DEMO_STRICT_BUNDLE.to_owned(),
            "bundle: 7\ndescription:\npermits:\nreflexes_per_hour: \"30\"\nrules: []\n".to_owned(),
            "bundle: t\npermits: { kinds: restart }\nreflexes_per_hour: 1_000\n".to_owned(),
            format!("bundle: t\nsites:\n{}", examples::OF_SITES),
            rule("kind: budget, limit: '5', window: 1h 30min, mode: off, why: 5, selector: "),
            rule("kind: budget, limit: 1_0, window: ' 1 d ', selector: { targets: [1, gpu], labels: { rack: 7 } }"),
            rule("kind: change_freeze, holidays: 2026-12-25, reason: true"),
            rule("kind: quota, scope: 1, nominal: { gpu: 4, cpu: '5' }"),
            rule(
                "kind: stale, quantity: gpu.temperature, after: 5 s, undo_on_clear: no, then: { action: notify, message: 5 }",
            ),
            rule(
                "kind: threshold, quantity: load.1m, above: 4, never_expires: false, then: [{ action: notify, message: x }]",
            ),
        ];
        texts.extend(examples::OF_KINDS.map(|rules| format!("bundle: t\nrules:\n{rules}")));
        for text in texts {
            let parsed = Bundle::parse(text.as_bytes());
            assert!(parsed.is_ok(), "{text}\n{parsed:#?}");
            let value = as_json(&tree::yaml(&text).expect("it was read"));
            assert!(takes(&schema, &value), "the schema refuses\n{text}");
        }
        for text in [
            "rules: []",
            "bundle: t\nrules: [{ id: a, kind: budget }]",
            "bundle: t\nrules: [{ id: a, kind: budgt, limit: 1, window: 1 h }]",
            "bundle: t\nrules: [{ id: a, kind: budget, limit: -1, window: 1 h }]",
            "bundle: t\nrules: [{ id: a, kind: budget, limit: 1, window: 1 hour }]",
            "bundle: t\nrules: [{ id: a, kind: budget, limit: 1, window: 1 h, wy: x }]",
        ] {
            assert!(Bundle::parse(text.as_bytes()).is_err(), "{text}");
            let value = as_json(&tree::yaml(text).expect("it was read"));
            assert!(!takes(&schema, &value), "the schema takes\n{text}");
        }
    }

    #[test]
    fn every_kind_can_be_explained_and_is_in_the_schema() {
        let text = schema().to_string();
        for (name, doc) in rule_kinds() {
            let explained = explain_kind(name).expect("a kind of ours");
            assert!(explained.contains(doc), "{explained}");
            assert!(
                explained.contains(&format!("\n  kind: {name}\n")),
                "no example: {explained}"
            );
            assert!(text.contains(&format!("\"const\":\"{name}\"")));
        }
        let threshold = explain_kind("threshold").expect("a kind of ours");
        assert!(threshold.contains("quantity (required)"), "{threshold}");
        assert!(threshold.contains("falls_below (required)"), "{threshold}");
        let cel = explain_kind("cel").expect("a kind of ours");
        assert!(
            cel.contains("action.amount: int") && cel.contains("labels.team"),
            "{cel}"
        );
        let freeze = explain_kind("change_freeze").expect("a kind of ours");
        assert!(freeze.contains("one step at a time"), "{freeze}");
        let indicators = explain_kind("indicators").expect("it is explained too");
        for word in ["good (required)", "below: value", "stale_after", "events_short"] {
            assert!(indicators.contains(word), "{indicators}");
        }
        let meters = explain_kind("meters").expect("it is explained too");
        for word in ["price_micros_per_kwh (required)", "stale_after", "cost_ceiling"] {
            assert!(meters.contains(word), "{meters}");
        }
        assert!(text.contains("\"indicators\"") && text.contains("\"meters\""), "{text}");
        let quantities = explain_kind("quantities").expect("it is explained too");
        for quantity in Quantity::ALL {
            assert!(quantities.contains(&format!("  {} ", quantity.name())), "{quantities}");
        }
        for name in other_topics() {
            assert!(explain_kind(name).is_ok(), "{name}");
        }
        for (name, word) in [("reflexes", "reflexes_per_hour"), ("relapses", "relapse_wait")] {
            let explained = explain_kind(name).expect("a limit of ours");
            assert!(explained.contains(word) && text.contains(word), "{explained}");
        }
        assert!(explain_kind("meter").is_err_and(|text| text.contains("did you mean `meters`")));
        assert!(explain_kind("treshold").is_err_and(|text| text.contains("did you mean `threshold`")));
    }
}
