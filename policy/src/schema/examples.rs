//! Rules of each kind as people write them, for `sentinel policy explain`. A test reads every one of them.
//!
//! Decides nothing.

/// An example or two of each kind, in the order of `Kind::NAMES`: items of a bundle's `rules`.
pub(super) const OF_KINDS: [&str; 17] = [
    r"- id: hot-gpu
  kind: threshold
  why: a GPU above 85 °C throttles by itself; less power cools it
  quantity: gpu.temperature
  above: 85 °C
  for: 3 s
  clear_below: 78 °C
  clear_for: 5 s
  then:
    - { action: power_cap, to: 220 W }
    - { action: notify, message: a GPU stays hot although its power was capped }
  verify: { falls_below: 80 °C, within: 60 s }
  undo_on_clear: true
",
    r"- id: gpu-silent
  kind: stale
  quantity: gpu.temperature
  after: 15 s
  then: { action: notify, message: a GPU has not reported its temperature for 15 s }
",
    r"- id: restart-cooldown
  kind: cooldown
  selector: { kinds: [restart] }
  after_success: 1 min
  after_failure: 5 min
  cap: 1 h
",
    r"- id: calm
  kind: rate_limit
  selector: { kinds: [restart, unthrottle] }
  limit: 10
  window: 1 h
  key: node
- id: three-an-hour
  kind: rate_limit
  why: the hub lets no more than three of all nodes restart something in an hour
  selector: { kinds: [restart] }
  limit: 3
  window: 1 h
  key: global
  on_missing: hold
",
    r"- id: restart-budget
  kind: budget
  why: what needs more than five restarts in a day needs a person
  selector: { kinds: [restart] }
  limit: 5
  window: 1 d
",
    r"- id: cap-range
  kind: envelope
  why: outside of this the card is not specified
  selector: { kinds: [power_cap] }
  min: 100 W
  max: 350 W
",
    r"- id: gently
  kind: step_size
  selector: { kinds: [power_cap] }
  max_change: 15 %
",
    r#"- id: peak-sale
  kind: change_freeze
  reason: peak sale
  selector: { classes: [low, medium, high], sources: [human, brain, hub] }
  tz: Europe/Berlin
  spans: { local_start: "2026-11-27T00:00", local_end: "2026-11-30T00:00" }
"#,
    r#"- id: sunday-night
  kind: maintenance_window
  selector: { kinds: [restart] }
  tz: Europe/Berlin
  rrule: FREQ=WEEKLY;BYDAY=SU
  from: "02:00"
  to: "05:00"
"#,
    r"- id: energy-of-a-month
  kind: cost_ceiling
  why: 200 EUR a month; the bundle has a meter with the id gpu-energy
  selector: { kinds: [release_power_cap] }
  scope: gpu-energy
  currency: EUR
  ceiling_micros: 200000000
  window: month
  tz: Europe/Berlin
",
    r"- id: power-of-the-node
  kind: quota
  why: the power supply gives 1,200 W to all GPUs together
  selector: { kinds: [release_power_cap] }
  scope: node
  nominal: { power_mw: 1200000 }
- id: research-quota
  kind: quota
  selector: { kinds: [scale] }
  scope: research
  nominal: { replicas: 10, gpu: 4 }
",
    r"- id: promise
  kind: sla
  selector: { kinds: [restart] }
  service: web
  target: 99.9 %
  period: month
  lasts: 30 s
",
    r"- id: burning
  kind: slo_burn
  selector: { classes: [medium, high], sources: [brain, hub] }
  sli: web
",
    r"- id: one-of-a-rack
  kind: blast_radius
  selector: { kinds: [restart] }
  domain: rack
  max_concurrent: { n: 1 }
  min_healthy: { bp: 7500 }
  on_missing: allow
",
    r"- id: sure-enough
  kind: confidence
  selector: { sources: [brain] }
",
    r"- id: one-at-a-time
  kind: mutex
  selector: { kinds: [restart, reboot] }
  key: node
",
    r#"- id: release-when-cool
  kind: cel
  selector: { kinds: [release_power_cap] }
  require: 'readings["gpu.temperature"] < value("80 °C") && ages["gpu.temperature"] < duration("10s")'
"#,
];

/// An indicator: an item of a bundle's `indicators`.
pub(super) const OF_INDICATORS: &str = r"- id: gpu-cool
  quantity: gpu.temperature
  good: { below: 85 °C }
  target: 99.9 %
  period: 30 d
";

/// A meter: an item of a bundle's `meters`.
pub(super) const OF_METERS: &str = r"- id: gpu-energy
  quantity: gpu.power
  price_micros_per_kwh: 300000
";

/// A site, and one that helps it.
pub(super) const OF_SITES: &str = "  - id: site-b
    members: { edge-03: 192.0.2.3:7844, edge-04: 192.0.2.4:7844 }
  - id: site-c
    members: { edge-05: 198.51.100.5:7844, edge-06: mdns }
    neighbours: [site-b]
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::kind::Kind;

    fn bundle(list: &str, item: &str) -> Bundle {
        let text = format!("bundle: example\n{list}:\n{item}");
        Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
    }

    #[test]
    fn every_example_is_a_rule_of_its_kind() {
        assert_eq!(OF_KINDS.len(), Kind::NAMES.len());
        for (example, kind) in OF_KINDS.iter().zip(Kind::NAMES) {
            let bundle = bundle("rules", example);
            assert!(!bundle.rules.is_empty(), "{example}");
            for rule in &bundle.rules {
                assert_eq!(rule.kind.name(), *kind, "{example}");
            }
        }
        assert_eq!(bundle("indicators", OF_INDICATORS).indicators.len(), 1);
        assert_eq!(bundle("meters", OF_METERS).meters.len(), 1);
        assert_eq!(bundle("sites", OF_SITES).sites().len(), 2);
    }
}
