//! Domains: what nodes have in common, how many of each are touched, and whose turn it is to be touched next.
//!
//! A node that must stop somebody's work, or do what is counted over nodes, asks for its turn; turns are given in the order of asking,
//! as far as the newest bundle's `blast_radius` rules and rates over nodes leave room, one at a time to each node. Who is touched is
//! not stored: a node that is not connected counts as unhealthy, and one that has not yet said how it stands counts as touched, so a
//! hub that begins anew gives too few turns at first and never too many at once. What windows count is stored, and a node hears of
//! its turn only after that.
//!
//! Invariants: a turn is given only where the rules leave room for one member more, counting all that are unhealthy, have a turn, act,
//! or have not said; no rate gives more turns in any window than its limit; a turn is free again only when its node, connected, no
//! longer asks for it and does not act; what a node asked for in a former session is worth nothing in this one.
//!
//! Read next: `windows.rs` (how many in how long), `policy/src/kind/blast.rs` (the arithmetic), `edge-agent/core/src/domains.rs` (the
//! other end).

mod census;
mod queue;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policy::{Bundle, Crowd, MAX_RULES, free_in_name, given_name};
use wire::domains::{Ask, FleetFacts, MAX_ASKS, MAX_LABEL_BYTES, MAX_LABELS, NodeFacts};
use wire::frame::Frame;
use wire::frame::{Findings, MAX_FINDING_BYTES, MAX_FINDINGS, NodePath};
use wire::ids::{AgentId, Epoch, Seq};
use wire::time::{Mono, Now};

use crate::fleet::{Node, Place};
use crate::hub::Hub;
use crate::input::SessionId;
use crate::timers::Timer;
use crate::windows::{Given, Key, USABLE_FOR, Windows};
use census::{Census, Counts};
use queue::Queue;

/// A member that became unhealthy within this time is newly faulty.
const NEWLY: Duration = Duration::from_secs(300);
/// Changes within this time are counted together.
const GATHER: Duration = Duration::from_millis(50);
/// Counts travel to everyone at most this often; whose turn it is hears at once.
const SPREAD_EVERY: Duration = Duration::from_secs(2);
/// And less often for each node of the fleet: a thousand frames a second at most.
const SPREAD_EACH: Duration = Duration::from_millis(1);
/// What changes by time alone is counted together within this time.
const DECAY_EVERY: Duration = Duration::from_secs(1);
/// An agent that tells nothing within this time is of an older build, and never asks.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// What the hub knows of the nodes as members of domains.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    members: BTreeMap<Place, Member>,
    /// Who asks, in the order of asking.
    queue: Queue,
    /// What windows count.
    windows: Windows,
    /// Turns whose rows are to be stored before anybody hears of them.
    unstored: Vec<Given>,
    /// Whose turn is stored, and who has not heard of it.
    tell: BTreeSet<Place>,
    /// The counts, as of the last time that they were taken.
    census: Census,
    /// Nodes that may stand otherwise than they are counted.
    dirty: BTreeSet<Place>,
    /// All of them may.
    stale: bool,
    /// Connected nodes that were told nothing yet, and that something may have to be told.
    untold: BTreeSet<Place>,
    /// How many were told something in their present sessions.
    told: usize,
    /// Something was said or happened that counts may depend on.
    changed: bool,
    /// A timer is set for the next count.
    counts_at: Option<Mono>,
    /// Not everyone has the latest counts, and gets them then.
    spread_at: Option<Mono>,
    spread: Mono,
}

/// One node.
#[derive(Debug, Default)]
struct Member {
    /// What it said in its present session.
    facts: Option<NodeFacts>,
    /// What is not as it should be, as it said last.
    findings: Vec<String>,
    /// The neighbour that carries its present session, as it said.
    via: Option<AgentId>,
    /// When it said that.
    said_at: Mono,
    /// When its present session began.
    welcomed: Option<Mono>,
    /// Its turn, until it has given it back.
    turn: Option<Turn>,
    /// Since when it is unhealthy, if the hub saw it begin.
    sick_since: Option<Mono>,
    /// What it was told last in its present session, without what changes by time alone.
    told: Option<FleetFacts>,
}

/// A node's turn.
#[derive(Debug, Clone)]
struct Turn {
    decision: (Epoch, Seq),
    since: Mono,
    /// The windows that count it.
    keys: Vec<Key>,
    /// Its node is a touched member while it has it: some rule of it is a `blast_radius`.
    touches: bool,
    /// Everything that counts it is stored.
    stored: bool,
    /// The node has used it, given it back or forgotten it with its session, and may still act in it.
    over: bool,
}

/// Why a node cannot have its turn yet.
#[derive(Debug, Clone, Copy, Default)]
struct NoRoom {
    /// A window has room in so long.
    free_in: Option<Duration>,
}

/// How a node counts.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    unhealthy: bool,
    touched: bool,
    newly_faulty: bool,
    /// It stands otherwise from then on, by time alone.
    changes_at: Option<Mono>,
}

impl Member {
    fn standing(&self, node: &Node, now: Mono) -> Standing {
        let is_connected = node.session.is_some();
        let said = self.facts.as_ref();
        let unhealthy = !is_connected || said.is_some_and(|facts| facts.unhealthy.is_some());
        let silent = said.is_none() && self.welcomed.is_none_or(|since| now.since(since) < SAYS_WITHIN);
        let acts = said.is_some_and(|facts| facts.acting > 0);
        let newly_faulty = unhealthy && self.sick_since.is_some_and(|since| now.since(since) < NEWLY);
        let heals_at = self.sick_since.filter(|_| newly_faulty).map(|since| since + NEWLY);
        let spoke_at = self.welcomed.filter(|_| silent).map(|since| since + SAYS_WITHIN);
        Standing {
            unhealthy,
            touched: unhealthy || silent || acts || self.turn.as_ref().is_some_and(|turn| turn.touches),
            newly_faulty,
            changes_at: [heals_at, spoke_at].into_iter().flatten().min(),
        }
    }

    fn asks(&self) -> impl Iterator<Item = &Ask> {
        self.facts.iter().flat_map(NodeFacts::all_asks)
    }

    /// The turn that it may hear of.
    fn given(&self) -> Option<&Turn> {
        self.turn.as_ref().filter(|turn| turn.stored && !turn.over)
    }
}

impl Hub {
    /// A session begins: what the node said in a former one counts no more.
    pub(crate) fn joins_domains(&mut self, place: Place, now: Now) {
        self.domains.forget_told(place);
        self.domains.untold.insert(place);
        let member = self.domains.members.entry(place).or_default();
        (member.facts, member.welcomed) = (None, Some(now.mono));
        member.findings.clear();
        member.via = None;
        if let Some(turn) = &mut member.turn {
            turn.over = true;
        }
        self.recount(place);
    }

    /// A session is over: the node cannot be counted on, and keeps its turn until it says otherwise.
    pub(crate) fn leaves_domains(&mut self, place: Place, now: Now) {
        self.domains.forget_told(place);
        let member = self.domains.members.entry(place).or_default();
        (member.facts, member.welcomed) = (None, None);
        member.sick_since.get_or_insert(now.mono);
        if let Some(turn) = &mut member.turn {
            turn.over = true;
            self.domains.windows.ends(&turn.keys, place, now.mono + USABLE_FOR);
        }
        self.domains.queue.remove(place);
        self.recount(place);
    }

    /// What a node says of itself.
    pub(crate) fn node_facts(&mut self, session: SessionId, place: Place, facts: NodeFacts, now: Now) {
        let is_long = |text: &str| text.len() > MAX_LABEL_BYTES;
        if facts.labels.len() > MAX_LABELS || facts.labels.iter().any(|(name, value)| is_long(name) || is_long(value)) {
            return self.broke_protocol(session, "more or longer labels than a node may have", now);
        }
        if facts.all_asks().any(|ask| ask.rules.len() > MAX_RULES) {
            return self.broke_protocol(session, "a turn by more rules than a bundle has", now);
        }
        if facts.all_asks().count() > MAX_ASKS {
            return self.broke_protocol(session, "more turns at once than a node may ask for", now);
        }
        let node = self.fleet.node_mut(place);
        if node.record.labels != facts.labels {
            node.record.labels.clone_from(&facts.labels);
            node.record_changed = true;
            self.enqueue(place);
            self.touch(place);
            // It may be a member of something now.
            self.domains.wants_telling(place);
        }
        let agent = self.fleet.node(place).id().clone();
        let (clusters, _, mut cx) = self.kube_cx(now);
        clusters.node_says(&agent, facts.unhealthy.clone(), &mut cx);
        let domains = &mut self.domains;
        let member = domains.members.entry(place).or_default();
        match facts.unhealthy {
            None => member.sick_since = None,
            Some(_) => drop(member.sick_since.get_or_insert(now.mono)),
        }
        let is_asked = |turn: &Turn| facts.all_asks().any(|ask| ask.decision == turn.decision);
        if let Some(turn) = member.turn.as_mut().filter(|turn| turn.over || !is_asked(turn)) {
            // It was used before this, if at all.
            domains.windows.ends(&turn.keys, place, now.mono);
            turn.over = true;
            member.turn.take_if(|turn| facts.acting == 0 || !turn.touches);
        }
        let has_turn = member.turn.as_ref().is_some_and(|turn| !turn.over);
        let is_waiting = facts.all_asks().next().is_some() && !has_turn;
        (member.facts, member.said_at) = (Some(facts), now.mono);
        match is_waiting {
            true => domains.queue.join(place),
            false => domains.queue.remove(place),
        }
        self.recount(place);
        self.touch(place);
    }

    /// What a node says is not as it should be.
    pub(crate) fn node_findings(&mut self, session: SessionId, place: Place, findings: Findings, now: Now) {
        if findings.list.len() > MAX_FINDINGS || findings.list.iter().any(|text| text.len() > MAX_FINDING_BYTES) {
            return self.broke_protocol(session, "more or longer findings than a node may tell", now);
        }
        self.domains.members.entry(place).or_default().findings = findings.list;
        self.touch(place);
    }

    /// By which way a node says that it comes. Nothing depends on it: people see it.
    pub(crate) fn node_path(&mut self, place: Place, path: NodePath) {
        self.domains.members.entry(place).or_default().via = path.via;
        self.touch(place);
    }

    /// It stopped in an orderly way: nothing is faulty.
    pub(crate) fn rests(&mut self, place: Place) {
        self.domains.members.entry(place).or_default().sick_since = None;
        self.domains.dirty.insert(place);
    }

    /// The rules are others now.
    pub(crate) fn recount_domains(&mut self) {
        self.domains.stale = true;
        self.domains.changed = true;
    }

    /// A node may count otherwise now.
    pub(crate) fn recount(&mut self, place: Place) {
        self.domains.dirty.insert(place);
        self.domains.changed = true;
    }

    /// After every input: has what changed counted, soon.
    pub(crate) fn turn_domains(&mut self, now: Now) {
        if std::mem::take(&mut self.domains.changed) {
            let nodes = u32::try_from(self.fleet.count()).unwrap_or(u32::MAX);
            let spread_at = self.domains.spread + SPREAD_EVERY + SPREAD_EACH * nodes;
            self.domains.spread_at.get_or_insert(spread_at.max(now.mono));
            self.count_domains_at(now.mono + GATHER);
        }
    }

    fn count_domains_at(&mut self, at: Mono) {
        if self.domains.counts_at.is_none_or(|earlier| at < earlier) {
            self.domains.counts_at = Some(at);
            self.timers.set(at, Timer::Domains);
        }
    }

    /// It is time to count: gives turns, and tells everyone what they must know to judge.
    pub(crate) fn count_domains(&mut self, now: Now) {
        if self.domains.counts_at.is_none_or(|at| now.mono < at) {
            return;
        }
        self.domains.counts_at = None;
        let Some(rules) = self.bundles.rules().cloned() else {
            return;
        };
        let is_spread = self.domains.spread_at.is_some_and(|at| now.mono >= at);
        if is_spread {
            let window = |rule: &str| rules.window_of(rule).map(|(_, window_ms)| window_ms);
            self.domains.windows.prune(window, now.mono);
        }
        if !rules.counts_nodes() && self.domains.told == 0 {
            self.domains.spread_at = None;
            return;
        }
        let mut census = std::mem::take(&mut self.domains.census);
        self.bring_up_to_date(&mut census, &rules, now.mono);
        let free_in = self.give_turns(&rules, &mut census, now.mono);
        self.count_rates(&rules, &mut census, now.mono);
        let mut tell = std::mem::take(&mut self.domains.tell);
        // Whoever has just come knows nothing yet.
        tell.append(&mut self.domains.untold);
        if is_spread {
            (self.domains.spread, self.domains.spread_at) = (now.mono, None);
            tell.extend(self.domains.members.keys());
        }
        for place in tell {
            self.tell_counts(&rules, &census, place, now.mono);
        }
        if let Some(free_in) = free_in {
            self.count_domains_at(now.mono + free_in);
        }
        let ages_in = census.ages_at().map(|at| at.since(now.mono).max(DECAY_EVERY));
        let again = [ages_in, census.again].into_iter().flatten().min();
        self.domains.census = census;
        if let Some(at) = self.domains.spread_at {
            self.count_domains_at(at);
        } else if let Some(wait) = again {
            self.domains.spread_at = Some(now.mono + wait);
            self.count_domains_at(now.mono + wait);
        }
    }

    /// Counts anew whoever may stand otherwise than it is counted.
    fn bring_up_to_date(&mut self, census: &mut Census, rules: &Bundle, now: Mono) {
        let is_other = census.settle(rules);
        let mut dirty = std::mem::take(&mut self.domains.dirty);
        if is_other || std::mem::take(&mut self.domains.stale) {
            dirty.extend(0..self.fleet.count());
        }
        dirty.extend(census.aged(now));
        for place in dirty {
            self.count_node(census, place, now);
        }
    }

    fn count_node(&self, census: &mut Census, place: Place, now: Mono) {
        let node = self.fleet.node(place);
        let is_member = !node.record.removed && !self.agents.is_denied(node.id());
        census.count(place, is_member.then(|| (node, self.standing(place, now))));
    }

    /// How many nodes were looked at so far to count them, and to tell them of the counts: what a message costs, counted.
    pub fn looks_at_nodes(&self) -> u64 {
        self.domains.census.looks
    }

    /// Gives turns in the order of asking. One that finds no room does not hold up the next, whose domains may be others.
    /// Returns in how long a window has room for one that waits.
    fn give_turns(&mut self, rules: &Bundle, census: &mut Census, now: Mono) -> Option<Duration> {
        let mut free_in: Option<Duration> = None;
        for place in self.domains.queue.in_order() {
            let Some(member) = self.domains.members.get(&place) else {
                continue;
            };
            let mut room = None;
            for ask in member.asks() {
                match self.has_room(rules, census, place, ask, now) {
                    Ok(keys) => {
                        room = Some((ask.decision, keys, touches(rules, ask)));
                        break;
                    }
                    Err(no_room) => free_in = [free_in, no_room.free_in].into_iter().flatten().min(),
                }
            }
            let Some((decision, keys, touches)) = room else {
                continue;
            };
            let domains = &mut self.domains;
            for (key, window_ms) in &keys {
                domains.windows.give(key, place, *window_ms, now);
            }
            let stored = keys.is_empty();
            match stored {
                true => drop(domains.tell.insert(place)),
                false => domains.unstored.push((place, decision)),
            }
            domains.queue.remove(place);
            if let Some(member) = domains.members.get_mut(&place) {
                member.turn = Some(Turn {
                    decision,
                    since: now,
                    keys: keys.into_iter().map(|(key, _)| key).collect(),
                    touches,
                    stored,
                    over: false,
                });
            }
            self.count_node(census, place, now);
        }
        free_in
    }

    /// The windows that would count a node's turn, each with its length, if every rule that holds it leaves room.
    fn has_room(
        &self,
        rules: &Bundle,
        census: &Census,
        place: Place,
        ask: &Ask,
        now: Mono,
    ) -> Result<Vec<(Key, u64)>, NoRoom> {
        let member = self.domains.members.get(&place);
        // It still acts in its last turn.
        if touches(rules, ask) && member.is_some_and(|member| member.turn.is_some()) {
            return Err(NoRoom::default());
        }
        let windows = &self.domains.windows;
        let mut keys = Vec::new();
        for rule in &ask.rules {
            // An agent whose bundle is another waits until it has this one.
            let (counts, value) = match (rules.domain_of(rule), rules.mesh_rate(rule)) {
                (Some(domain), _) => {
                    let value = self.value(place, domain).ok_or_else(NoRoom::default)?;
                    (self.seen_by(census, place, domain, &value, now), value)
                }
                (None, Some(rate)) => (Counts::default(), self.scope_value(place, rate.scope)),
                (None, None) => return Err(NoRoom::default()),
            };
            let key = (rule.clone(), value);
            let crowd = Crowd {
                members: counts.members,
                touched: counts.unhealthy.saturating_add(counts.in_flight),
                class: ask.class,
                newly_faulty: counts.newly_faulty,
                started: &|window_ms| windows.count(&key, window_ms, now),
            };
            if !rules.has_room(rule, &crowd) {
                let window = rules.window_of(rule);
                return Err(NoRoom {
                    free_in: window.and_then(|(limit, window_ms)| windows.free_in(&key, limit, window_ms, now)),
                });
            }
            if let Some((_, window_ms)) = rules.window_of(rule) {
                if !windows.has_place(&key, place) {
                    return Err(NoRoom::default());
                }
                keys.push((key, window_ms));
            }
        }
        Ok(keys)
    }

    /// What the rates over nodes have given, once everybody has the turn that there is room for.
    fn count_rates(&self, rules: &Bundle, census: &mut Census, now: Mono) {
        let windows = &self.domains.windows;
        for rate in rules.mesh_rates() {
            let given = census.given.entry(rate.rule.to_owned()).or_default();
            for key in windows.values(rate.rule) {
                let count = windows.count(key, rate.window_ms, now);
                let free_in = windows.free_in(key, rate.limit, rate.window_ms, now);
                // Who was told that there is no room hears when there is.
                census.again = [census.again, free_in].into_iter().flatten().min();
                given.insert(key.1.clone(), (count, free_in));
            }
        }
    }

    /// Turns are stored: their nodes hear of them now.
    pub(crate) fn turns_stored(&mut self, turns: &[Given], now: Now) {
        for (place, decision) in turns {
            let member = self.domains.members.get_mut(place);
            let turn = member.and_then(|member| member.turn.as_mut());
            if let Some(turn) = turn.filter(|turn| turn.decision == *decision) {
                turn.stored = true;
                self.domains.tell.insert(*place);
                self.count_domains_at(now.mono);
            }
        }
    }

    /// Turns could not be stored, so they were never given: their nodes wait again, before all others.
    pub(crate) fn turns_not_stored(&mut self, keys: BTreeSet<Key>, turns: &[Given]) {
        let domains = &mut self.domains;
        domains.windows.not_stored(keys);
        for (place, decision) in turns.iter().rev() {
            let Some(member) = domains.members.get_mut(place) else {
                continue;
            };
            let is_it = |turn: &mut Turn| turn.decision == *decision && !turn.stored;
            let Some(turn) = member.turn.take_if(is_it) else {
                continue;
            };
            domains.windows.withdraw(&turn.keys, *place);
            if member.asks().next().is_some() {
                domains.queue.join_first(*place);
            }
            domains.dirty.insert(*place);
            domains.changed = true;
        }
    }

    /// What a node has in common with others under this name. `rack:r7` names one domain for everybody.
    fn value(&self, place: Place, domain: &str) -> Option<String> {
        match domain.split_once(':') {
            Some((_, value)) => Some(value.to_owned()),
            None => label(self.fleet.node(place), domain).map(str::to_owned),
        }
    }

    /// What a node has in common with those that a rate counts together; nothing is in common too.
    fn scope_value(&self, place: Place, scope: &str) -> String {
        label(self.fleet.node(place), scope).unwrap_or_default().to_owned()
    }

    fn standing(&self, place: Place, now: Mono) -> Standing {
        let nobody = Member::default();
        let member = self.domains.members.get(&place).unwrap_or(&nobody);
        member.standing(self.fleet.node(place), now)
    }

    /// Counts the members of every domain anew.
    fn census(&self, rules: &Bundle, now: Mono) -> Census {
        let mut census = Census::default();
        census.settle(rules);
        for place in 0..self.fleet.count() {
            self.count_node(&mut census, place, now);
        }
        census
    }

    /// The counts of a domain without the one who looks, unless it is alone: whether the only member may be touched depends on how
    /// it stands itself.
    fn seen_by(&self, census: &Census, place: Place, domain: &str, value: &str, now: Mono) -> Counts {
        let mut counts = census.of(domain, value);
        let is_member = member_of(self.fleet.node(place), domain) == Some(value);
        if is_member && counts.members > 1 {
            let own = self.standing(place, now);
            counts.unhealthy -= i64::from(own.unhealthy);
            counts.in_flight -= i64::from(own.touched && !own.unhealthy);
        }
        counts
    }

    /// Tells a node what it must know to judge, if that differs from what it was told.
    fn tell_counts(&mut self, rules: &Bundle, census: &Census, place: Place, now: Mono) {
        let Some(session) = self.fleet.node(place).session else {
            return;
        };
        let mut values = Vec::new();
        for domain in rules.domains() {
            let Some(value) = self.value(place, domain) else {
                continue;
            };
            let counts = self.seen_by(census, place, domain, &value, now);
            let numbers = [
                ("members", counts.members),
                ("unhealthy", counts.unhealthy),
                ("in_flight", counts.in_flight),
                ("newly_faulty", counts.newly_faulty),
            ];
            values.extend(numbers.map(|(name, number)| (format!("{domain}.{name}"), number)));
        }
        let mut by_time = Vec::new();
        for rate in rules.mesh_rates() {
            let of_rule = census.given.get(rate.rule);
            let given = of_rule.and_then(|given| given.get(&self.scope_value(place, rate.scope)));
            let (count, free_in) = given.copied().unwrap_or_default();
            values.push((given_name(rate.rule), i64::from(count)));
            let free_in = free_in.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
            by_time.extend(free_in.map(|wait| (free_in_name(rate.rule), wait)));
        }
        let hub_epoch = self.meta.hub_epoch;
        let Some(member) = self.domains.members.get_mut(&place) else {
            return;
        };
        // That there is no room is news, how the time until then passes is none.
        values.extend(by_time.iter().map(|(name, _)| (name.clone(), 0)));
        let mut facts = FleetFacts {
            hub_epoch,
            values,
            turn: member.given().map(|turn| turn.decision),
        };
        let is_nothing = facts.values.is_empty() && member.told.is_none();
        if !is_nothing && member.told.as_ref() != Some(&facts) {
            let before = member.told.replace(facts.clone());
            self.domains.told += usize::from(before.is_none());
            facts.values.truncate(facts.values.len() - by_time.len());
            facts.values.extend(by_time);
            self.send(session, Frame::FleetFacts(facts));
        }
    }
}

/// Whether a node is a touched member while it has a turn for this.
fn touches(rules: &Bundle, ask: &Ask) -> bool {
    ask.rules.iter().any(|rule| rules.domain_of(rule).is_some())
}

impl Domains {
    /// Its session is another one or over: it knows of no counts.
    fn forget_told(&mut self, place: Place) {
        let told = self.members.get_mut(&place).and_then(|member| member.told.take());
        self.told -= usize::from(told.is_some());
        self.untold.remove(&place);
    }

    /// It may have to be told something that it was not told yet.
    fn wants_telling(&mut self, place: Place) {
        if self.members.get(&place).is_some_and(|member| member.told.is_none()) {
            self.untold.insert(place);
        }
    }

    /// What the store holds.
    pub(crate) fn recovered(turns: Vec<(String, String, Vec<u8>)>, now: Mono) -> Self {
        Self {
            windows: Windows::recovered(turns, now),
            ..Self::default()
        }
    }

    /// Whether something is not on its way to the store.
    pub(crate) fn is_unstored(&self) -> bool {
        self.windows.is_unstored()
    }

    /// Windows whose rows are to be written now, and the turns that may be told after that.
    pub(crate) fn take_unstored(&mut self) -> (BTreeSet<Key>, Vec<Given>) {
        (self.windows.take_unstored(), std::mem::take(&mut self.unstored))
    }

    /// The row of a window; `None` if nothing is left of it.
    pub(crate) fn row(&self, key: &Key) -> Option<Vec<u8>> {
        self.windows.row(key)
    }
}

/// Which domain of this name a node is a member of; `rack:r7` is one only for those in it.
fn member_of<'a>(node: &'a Node, domain: &'a str) -> Option<&'a str> {
    match domain.split_once(':') {
        Some((name, value)) => label(node, name).filter(|own| *own == value),
        None => label(node, domain),
    }
}

/// A label of a node: `fleet` is the same for all, `site` and `node` are what it enrolled with.
fn label<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    match name {
        "fleet" => Some("all"),
        "site" => Some(&node.record.site),
        "node" => Some(node.id().as_str()),
        _ => {
            let mut labels = node.record.labels.iter();
            labels.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        }
    }
}
