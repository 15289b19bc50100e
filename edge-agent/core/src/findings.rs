//! What is not as it should be on this node: parts that do not work, and what rules want otherwise.
//!
//! Decides what is told, and when; judges nothing. The node's own pages and the hub get the same sentences.
//!
//! Invariants: a finding is told until it is over; at most [`MAX_FINDINGS`] are told, and that there are more.
//!
//! Read next: `policy/src/engine/calm.rs` (what rules want otherwise), `domains.rs` (which parts make a node count as unhealthy).

use std::collections::BTreeMap;

use wire::entry::{EntryBody, Event};
use wire::frame::{Findings, Frame, MAX_FINDING_BYTES, MAX_FINDINGS};
use wire::time::Now;

use crate::agent::Agent;

/// What was found, and what the hub has heard of it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Parts that do not work and leave the node healthy all the same, and why.
    parts: BTreeMap<String, String>,
    /// What rules want otherwise, as of the last look.
    concerns: Vec<(String, String)>,
    /// What the hub heard in this session.
    told: Option<Findings>,
}

impl Known {
    /// The session is over.
    pub(crate) fn forget_told(&mut self) {
        self.told = None;
    }
}

impl Agent {
    /// The shell found something, or it is over.
    pub(crate) fn on_finding(&mut self, part: String, why: Option<String>, now: Now) {
        let parts = match is_minor(&part) {
            true => &mut self.findings.parts,
            false => &mut self.domains.trouble,
        };
        if parts.get(&part) == why.as_ref() {
            return;
        }
        // Its words may change with every round: the journal tells when it began and when it was over.
        let is_new = parts.contains_key(&part) != why.is_some();
        match &why {
            Some(why) => drop(parts.insert(part.clone(), why.clone())),
            None => drop(parts.remove(&part)),
        }
        if is_new && self.record.has_room() {
            self.push(EntryBody::Event(Event::Finding { part, why }), now);
        }
    }

    /// Asks the judge what is not as its rules want it.
    pub(crate) fn look_at_concerns(&mut self, now: Now) {
        let judge = self.judge.as_ref();
        self.findings.concerns = judge.map_or_else(Vec::new, |judge| judge.concerns(now.mono));
    }

    /// Everything that is not as it should be, one sentence each, for people.
    pub fn findings(&self) -> Vec<String> {
        let journal = (!self.record.takes_entries()).then(|| "the journal takes no entries".to_owned());
        let trouble = self.domains.trouble.values().chain(self.findings.parts.values());
        let concerns = self.findings.concerns.iter().map(|(_, text)| text);
        let ladder = self.marks.ladder.told().into_iter().map(|(_, text)| text);
        let mut all: Vec<String> = journal
            .into_iter()
            .chain(trouble.chain(concerns).cloned().chain(ladder).map(|text| cut(&text)))
            .collect();
        if all.len() > MAX_FINDINGS {
            let more = all.len() - (MAX_FINDINGS - 1);
            all.truncate(MAX_FINDINGS - 1);
            all.push(format!("and {more} more"));
        }
        all
    }

    /// What every turn ends with: the hub hears what has changed.
    pub(crate) fn turn_findings(&mut self) {
        if !self.link.is_welcomed() {
            return;
        }
        let is_quiet = self.domains.trouble.is_empty()
            && self.findings.parts.is_empty()
            && self.findings.concerns.is_empty()
            && self.marks.ladder.is_empty()
            && self.record.takes_entries();
        if is_quiet && self.findings.told.as_ref().is_none_or(|told| told.list.is_empty()) {
            return;
        }
        let findings = Findings { list: self.findings() };
        if self.findings.told.as_ref() != Some(&findings) {
            self.findings.told = Some(findings.clone());
            self.send(Frame::Findings(findings));
        }
    }
}

/// What is not seen of the node says nothing against the rest of it, and neither do settings that wait for a restart or a hub that
/// refuses it: it counts as healthy where nodes are counted.
fn is_minor(part: &str) -> bool {
    matches!(part, "limits" | "settings" | "link" | "mesh" | "ceilings" | "units") || part.starts_with("sensor:")
}

/// A sentence of bounded length.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_FINDING_BYTES);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use wire::frame::Frame;

    use crate::Input;
    use crate::testing::Rig;

    fn finding(part: &str, why: Option<&str>) -> Input {
        Input::Finding {
            part: part.to_owned(),
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn a_hot_gpu_and_a_part_that_does_not_work_are_findings_until_they_are_over() {
        let mut rig = Rig::new();
        rig.live(3, 60, 100);
        assert_eq!(rig.agent.findings(), [""; 0]);
        rig.handle(finding("sampler", Some("no readings for 12 s")));
        rig.live(4, 90, 100);
        assert_eq!(
            rig.agent.findings(),
            [
                "no readings for 12 s",
                "hot: gpu.temperature of gpu0 is above 85 °C; gpu0 power_cap to 220 W is under way"
            ]
        );
        rig.handle(finding("sampler", None));
        rig.live(1, 60, 100);
        assert_eq!(rig.agent.findings(), [""; 0]);
    }

    #[test]
    fn a_hub_hears_of_a_finding_once_and_that_it_is_over() {
        let mut rig = Rig::new();
        rig.connect();
        rig.frames.clear();
        rig.handle(finding("gpu1", Some("gpu1 is lost")));
        rig.handle(finding("gpu1", Some("gpu1 is lost")));
        rig.handle(finding("gpu1", None));
        let told = rig.frames.iter().filter_map(|frame| match frame {
            Frame::Findings(findings) => Some(findings.list.clone()),
            _ => None,
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [vec!["gpu1 is lost".to_owned()], vec![]]);
    }

    #[test]
    fn what_is_not_looked_at_is_a_finding_and_leaves_the_node_healthy() {
        let mut rig = Rig::new();
        rig.handle(finding(
            "limits",
            Some("more than 64 file systems are mounted: 3 are not looked at"),
        ));
        assert_eq!((rig.agent.findings().len(), rig.agent.unhealthy()), (1, None));
        rig.handle(finding("sampler", Some("no readings for 12 s")));
        assert_eq!(rig.agent.unhealthy(), Some("no readings for 12 s"));
    }

    #[test]
    fn of_too_many_findings_it_is_said_how_many_there_are() {
        let mut rig = Rig::new();
        for part in 0..40 {
            rig.handle(finding(&format!("part{part:02}"), Some("broken")));
        }
        let findings = rig.agent.findings();
        assert_eq!((findings.len(), findings[31].as_str()), (32, "and 9 more"));
    }
}
