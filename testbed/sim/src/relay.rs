//! The agents of a rack carry each other's sessions: who goes through whom, how much, and what goes wrong between them.
//!
//! Any pair of neighbours may be cut, one-way, slow, or too small for carried packets for a while; members leave and come back, and crash.
//! One neighbour is in the wrong hands: it lies about what it holds, passes on far too much, has others carry far too much, and drops what
//! it carries: some of it, whatever is large, or whatever comes back. Whom to go through is the cores' own choice ([`carriers`],
//! [`better_than`], [`Homing`], [`Doubts`]); what is modelled here is what `edge-agent/src/peers.rs`, `link.rs` and the tunnel do with it.
//! The chance of all this is its own.
//!
//! Invariants:
//! M1 between a node and the hub stand two others at most, all different, and the last one has a path of its own.
//! M2 nobody is carried who is no member.
//! M3 nobody carries more for one neighbour in a day than its share, in however many sessions.
//! M4 what a neighbour passes on and is not taken leaves no trace in the journal (`neighbours.rs`).
//! M5 no session goes through a neighbour by way of which one was lost half a minute ago or less, while another way answers that is
//!    not in doubt itself.
//! M6 no neighbour has a node check more than twice its bound in a minute.
//! That relayed entries are stored once is D1 to D5, as for all entries.
//! Read next: `neighbours.rs` (what they pass on), `net.rs` (frames of a session).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edge_agent_core::{Bound, Doubts, GIFTS_A_MINUTE, Homing, Input, better_than, carriers, could_carry};
use wire::api::NeighbourView;
use wire::frame::{Reach, Uplink};
use wire::time::Mono;
use wire_transport::{Allowance, Kept, Limits};

use crate::net::Way;
use crate::random::Random;
use crate::world::{Event, Planted, World};

/// How often neighbours hear each other's words.
const MEET_EVERY_MS: u64 = 1_000;
/// A neighbour that nothing was heard of for so long is out of touch.
const OUT_OF_TOUCH_MS: u64 = 10_000;
/// What a handshake costs a carrier.
const HANDSHAKE_BYTES: usize = 8 * 1024;
/// A frame that fills a packet: small ones are what a question whether the hub answers looks like.
const LARGE_BYTES: usize = 1_000;
/// How long the last session's end counts against its carrier at least.
const DOUBTED_MS: u64 = 30_000;

/// How often each thing happened among neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshCounts(BTreeMap<&'static str, u64>);

impl MeshCounts {
    /// Everything that must happen for the worlds to mean something.
    pub const ALL: [&'static str; 19] = [
        CARRIED, TWICE, FRAMES, MOVED, HOME, CUT, ONE_WAY, SLOW, NARROW, DROPPED, LARGE, ANSWER, DOUBTED, OVER,
        FLOODED, GIFTS, LEFT, METERED, REFUSED,
    ];

    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often it happened.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|what| self.of(what) == 0).collect()
    }
}

const CARRIED: &str = "session through a neighbour";
const TWICE: &str = "session through two neighbours";
const FRAMES: &str = "frame carried";
const MOVED: &str = "session moved to another neighbour";
const HOME: &str = "session moved back to its own path";
const CUT: &str = "pair cut";
const ONE_WAY: &str = "pair one-way";
const SLOW: &str = "pair slow";
const DROPPED: &str = "frame dropped by its carrier";
const NARROW: &str = "pair too small for carried packets";
const LARGE: &str = "all large frames dropped by their carrier";
const ANSWER: &str = "all answers dropped by their carrier";
const DOUBTED: &str = "session lost by way of a neighbour";
const OVER: &str = "share used up";
const FLOODED: &str = "carrier flooded by a neighbour";
const GIFTS: &str = "gift beyond the bound";
const LEFT: &str = "member left";
const METERED: &str = "session over a metered uplink";
const REFUSED: &str = "gift refused without a trace";

/// What is between two neighbours, from the lower number to the higher one and back.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    blocked: [bool; 2],
    slow_ms: u64,
    is_narrow: bool,
}

/// What the neighbour in the wrong hands drops of what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Some,
    Large,
    Answers,
}

/// What there is among neighbours.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) random: Random,
    pairs: BTreeMap<(usize, usize), Pair>,
    is_member: Vec<bool>,
    uplinks: Vec<Uplink>,
    /// What each node heard of each other one, and when.
    heard: Vec<BTreeMap<usize, (NeighbourView, u64)>>,
    told: Vec<Vec<NeighbourView>>,
    homing: Vec<(Homing, u64)>,
    /// The neighbour that drops what it carries.
    pub(crate) hostile: usize,
    manner: Manner,
    /// What each node remembers of sessions that were lost, and when the last one was by way of each other.
    doubts: Vec<Doubts>,
    lost_ms: BTreeMap<(usize, usize), u64>,
    /// What each node takes of the hostile one's gifts, and when it took the last of them.
    bounds: Vec<Bound>,
    gifts_ms: Vec<Vec<u64>>,
    limits: Limits,
    shares: BTreeMap<(usize, usize), Allowance>,
    /// What of them outlives a crash.
    kept: BTreeMap<(usize, usize), Kept>,
    /// Bytes that each carried for each, counted apart from the shares.
    carried: BTreeMap<(usize, usize), u64>,
    /// The moment that the world's zero stands for in shares, which know no other kind of time.
    zero: Instant,
    pub(crate) counts: MeshCounts,
}

impl Site {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        let mut random = Random::new(seed ^ 0x0000_CA44);
        let limits = Limits {
            // A handshake and some minutes, or a night.
            bytes_per_day: [40_000, 4 << 20][usize::from(random.chance(500))],
            ..Limits::default()
        };
        let uplink = |metered| if metered { Uplink::Metered } else { Uplink::Unmetered };
        Self {
            pairs: BTreeMap::new(),
            is_member: vec![true; nodes],
            uplinks: (0..nodes).map(|_| uplink(random.chance(250))).collect(),
            heard: vec![BTreeMap::new(); nodes],
            told: vec![Vec::new(); nodes],
            homing: vec![(Homing::default(), 0); nodes],
            hostile: usize::try_from(random.below(nodes as u64)).unwrap_or(0),
            manner: [Manner::Some, Manner::Large, Manner::Answers][usize::try_from(seed % 3).unwrap_or(0)],
            doubts: vec![Doubts::default(); nodes],
            lost_ms: BTreeMap::new(),
            bounds: vec![Bound::new(GIFTS_A_MINUTE); nodes],
            gifts_ms: vec![Vec::new(); nodes],
            limits,
            shares: BTreeMap::new(),
            kept: BTreeMap::new(),
            carried: BTreeMap::new(),
            zero: Instant::now(),
            counts: MeshCounts::default(),
            random,
        }
    }

    /// Something that a neighbour passed on was worth nothing.
    pub(crate) fn refused(&mut self) {
        self.counts.add(REFUSED);
    }

    fn pair(&self, from: usize, to: usize) -> Pair {
        self.pairs
            .get(&(from.min(to), from.max(to)))
            .copied()
            .unwrap_or_default()
    }

    fn passes(&self, from: usize, to: usize) -> bool {
        !self.pair(from, to).blocked[usize::from(from > to)]
    }

    /// Whether a carrier takes so much more for a neighbour.
    fn takes(&mut self, carrier: usize, carried: usize, bytes: usize, now_ms: u64) -> bool {
        let (now, limits, pair) = (
            self.zero + Duration::from_millis(now_ms),
            self.limits,
            (carrier, carried),
        );
        let kept = self.kept.get(&pair).copied();
        let share = self.shares.entry(pair);
        let share = share.or_insert_with(|| Allowance::keeping(limits, kept, now));
        if share.is_low() {
            let ahead = share.to_keep(now);
            share.kept(ahead);
            self.kept.insert(pair, ahead);
        }
        let takes = share.take(bytes, now);
        if takes {
            *self.carried.entry((carrier, carried)).or_default() += bytes as u64;
        } else {
            self.counts.add(OVER);
        }
        takes
    }
}

impl World {
    /// Neighbours hear of each other, and every node looks whether its way is still the best.
    pub(crate) fn meet(&mut self) {
        self.after(MEET_EVERY_MS, Event::Meet);
        self.trouble_pairs();
        if self.healed_at.is_none() {
            self.flood_carrier();
        }
        for n in 0..self.nodes.len() {
            self.hear(n);
        }
        for n in 0..self.nodes.len() {
            self.look_at_way(n);
        }
    }

    /// What a neighbour says of itself. The one in the wrong hands says that it reaches the hub, whatever is so.
    fn says(&self, n: usize) -> NeighbourView {
        let node = &self.nodes[n];
        let mut view = NeighbourView::unheard(node.id.clone());
        view.site = "site-a".to_owned();
        view.in_touch = true;
        view.age_ms = Some(0);
        view.uplink = self.site.uplinks[n];
        let via = self.via_of(n);
        (view.reach, view.hops) = match (via, node.session) {
            (Some([]), _) => (Reach::Direct, 0),
            (Some(via), _) => (Reach::Carried, u8::try_from(via.len()).unwrap_or(u8::MAX)),
            (None, _) => (Reach::Alone, 0),
        };
        if let Some(first) = via.and_then(<[usize]>::first) {
            view.via = Some(self.nodes[*first].id.clone());
            view.uplink = via
                .and_then(<[usize]>::last)
                .map_or(view.uplink, |last| self.site.uplinks[*last]);
        }
        if n == self.site.hostile && self.healed_at.is_none() {
            (view.reach, view.hops, view.via) = (Reach::Direct, 0, None);
        }
        view
    }

    /// Who carries the session of a node; `None`: it has none.
    fn via_of(&self, n: usize) -> Option<&[usize]> {
        let session = self.sessions.get(&self.nodes[n].session?)?;
        session.agent_open.then_some(session.via.as_slice())
    }

    fn others(&self, n: usize) -> impl Iterator<Item = usize> + use<> {
        (n % 2..self.nodes.len()).step_by(2).filter(move |other| *other != n)
    }

    fn hear(&mut self, n: usize) {
        if self.nodes[n].core.is_none() {
            return;
        }
        let now_ms = self.now_ms;
        for other in self.others(n) {
            let is_up = self.nodes[other].core.is_some() && self.site.is_member[other] && self.site.is_member[n];
            // A session needs both ways.
            if is_up && self.site.passes(other, n) && self.site.passes(n, other) {
                let mut view = self.says(other);
                let pair = self.site.pair(n, other);
                view.rtt_us = 1_000 * (1 + pair.slow_ms);
                view.too_narrow = pair.is_narrow;
                self.site.heard[n].insert(other, (view, now_ms));
            }
        }
        let views = |(view, at): &(NeighbourView, u64)| NeighbourView {
            in_touch: now_ms - at < OUT_OF_TOUCH_MS,
            ..view.clone()
        };
        let list: Vec<NeighbourView> = self.site.heard[n].values().map(views).collect();
        if list != self.site.told[n] {
            self.site.told[n].clone_from(&list);
            self.tell(n, Input::Neighbours(list));
        }
    }

    /// The neighbours that a packet of `n` goes through if it goes to `first`, in the tunnel's own way: the first one may be carried
    /// itself, by one with a path of its own.
    fn chain(&self, first: usize) -> Vec<usize> {
        match self.via_of(first) {
            Some([next, ..]) => vec![first, *next],
            Some([]) | None => vec![first],
        }
    }

    /// Whether frames pass that way at present.
    pub(crate) fn is_way_blocked(&self, n: usize, via: &[usize], way: Way) -> bool {
        let mut here = n;
        for next in via {
            let (from, to) = match way {
                Way::Up => (here, *next),
                Way::Down => (*next, here),
            };
            let is_up = self.nodes[*next].core.is_some() && self.site.is_member[*next] && self.site.is_member[here];
            if !is_up || !self.site.passes(from, to) || self.site.pair(from, to).is_narrow {
                return true;
            }
            here = *next;
        }
        let last = &self.nodes[here];
        let own = match way {
            Way::Up => last.blocked_up,
            Way::Down => last.blocked_down,
        };
        // A carrier takes packets only while it has a session over a path of its own.
        own || (here != n && !self.is_direct(here))
    }

    /// The neighbour that a try to connect goes through, with those behind it: the best one by way of which the hub answers.
    pub(crate) fn carriers_of(&mut self, n: usize) -> Option<Vec<usize>> {
        if !self.swarm.neighbours || !self.site.is_member[n] {
            return None;
        }
        let me = self.nodes[n].id.clone();
        let views = self.views(n);
        let names: Vec<String> = carriers(&me, &views).iter().map(|view| view.name.to_string()).collect();
        let found = names
            .iter()
            .filter_map(|name| self.nodes.iter().position(|node| node.id.as_str() == name));
        let found: Vec<usize> = found.collect();
        let answers = |first: &usize| {
            let chain = self.chain(*first);
            !chain.contains(&n)
                && [Way::Up, Way::Down]
                    .iter()
                    .all(|way| !self.is_way_blocked(n, &chain, *way))
        };
        let first = *found.iter().find(|first| answers(first))?;
        let is_lost = |carrier: &usize| {
            let lost = self.site.lost_ms.get(&(n, *carrier));
            lost.is_some_and(|at| self.now_ms - at < DOUBTED_MS)
        };
        let is_doubted = |carrier: &usize| {
            let name = &self.nodes[*carrier].id;
            self.site.doubts[n].of(name, Mono(self.now_ms))
        };
        let another = found
            .iter()
            .find(|carrier| !is_lost(carrier) && !is_doubted(carrier) && answers(carrier))
            .copied();
        let is_again = is_lost(&first) && another.is_some();
        let chain = self.chain(first);
        self.invariants.require(!is_again, || {
            format!("M5: {n} goes through {first} again, which has just lost its session, and not through {another:?}")
        });
        self.take_share(n, &chain).then_some(chain)
    }

    /// What a node knows of the others when it chooses.
    fn views(&self, n: usize) -> Vec<NeighbourView> {
        let (now, trusts) = (Mono(self.now_ms), self.planted == Planted::TrustAgain);
        let view = |view: &NeighbourView| NeighbourView {
            doubted: self.site.doubts[n].of(&view.name, now) && !trusts,
            ..view.clone()
        };
        self.site.told[n].iter().map(view).collect()
    }

    /// A session by way of a neighbour was lost.
    pub(crate) fn doubt(&mut self, n: usize, carrier: usize, since_ms: u64) {
        let lasted = Duration::from_millis(self.now_ms - since_ms);
        self.site.counts.add(DOUBTED);
        self.site.lost_ms.insert((n, carrier), self.now_ms);
        self.site.doubts[n].failed(&self.nodes[carrier].id, lasted, Mono(self.now_ms));
    }

    /// A process is gone, with what it only remembered.
    pub(crate) fn forget_shares(&mut self, n: usize) {
        self.site.doubts[n] = Doubts::default();
        self.site.lost_ms.retain(|(node, _), _| *node != n);
        self.site.shares.retain(|(carrier, _), _| *carrier != n);
        if self.planted == Planted::ShareByProcess {
            self.site.kept.retain(|(carrier, _), _| *carrier != n);
        }
    }

    /// Whether a node looks at one more thing that the hostile neighbour passes on.
    pub(crate) fn takes_gift(&mut self, n: usize) -> bool {
        let takes = self.site.bounds[n].takes(Mono(self.now_ms)) || self.planted == Planted::EndlessGifts;
        if !takes {
            self.site.counts.add(GIFTS);
            return false;
        }
        let now_ms = self.now_ms;
        let gifts = &mut self.site.gifts_ms[n];
        gifts.retain(|at| now_ms - at < 60_000);
        gifts.push(now_ms);
        let count = gifts.len();
        self.invariants.require(count <= 2 * GIFTS_A_MINUTE as usize, || {
            format!("M6: {n} has looked at {count} things of one neighbour within a minute")
        });
        true
    }

    /// Whether the carrier in the wrong hands lets nothing more pass that way.
    pub(crate) fn is_dropped(&mut self, via: &[usize], way: Way, length: usize) -> bool {
        if !via.contains(&self.site.hostile) || self.healed_at.is_some() {
            return false;
        }
        let what = match self.site.manner {
            Manner::Large if length >= LARGE_BYTES => LARGE,
            Manner::Answers if way == Way::Down => ANSWER,
            Manner::Some | Manner::Large | Manner::Answers => return false,
        };
        self.site.counts.add(what);
        true
    }

    /// The hostile neighbour sends what it has to somebody who may carry, as fast as it can.
    fn flood_carrier(&mut self) {
        let (hostile, now_ms) = (self.site.hostile, self.now_ms);
        let carrier = self.others(hostile).find(|other| self.is_direct(*other));
        if let Some(carrier) = carrier.filter(|_| self.site.random.chance(20)) {
            self.site.counts.add(FLOODED);
            for _ in 0..50 {
                self.site.takes(carrier, hostile, 1_200, now_ms);
            }
            self.look_at_shares();
        }
    }

    fn look_at_shares(&mut self) {
        let most = self.site.limits.bytes_per_day;
        let over = self.site.carried.iter().find(|(_, bytes)| **bytes > most);
        let over = over.map(|(pair, bytes)| (*pair, *bytes));
        self.invariants.require(over.is_none(), || {
            format!("M3: (carrier, carried), bytes: {over:?}, and {most} are the share of a day")
        });
    }

    /// Whether every carrier of the chain takes one more session.
    fn take_share(&mut self, n: usize, chain: &[usize]) -> bool {
        if self.planted == Planted::ShareBySession {
            for (carrier, carried) in links(n, chain) {
                self.site.shares.remove(&(carrier, carried));
                self.site.kept.remove(&(carrier, carried));
            }
        }
        self.charge(n, chain, HANDSHAKE_BYTES)
    }

    /// Charges every carrier of the chain for what passes; false: one of them has carried its share.
    pub(crate) fn charge(&mut self, n: usize, chain: &[usize], bytes: usize) -> bool {
        let now_ms = self.now_ms;
        let takes = links(n, chain).all(|(carrier, carried)| self.site.takes(carrier, carried, bytes, now_ms));
        if takes {
            self.site.counts.add(FRAMES);
        }
        self.look_at_shares();
        takes
    }

    /// How much longer a frame takes by way of neighbours; one of them may drop it, and QUIC repeats it.
    pub(crate) fn carried_delay(&mut self, n: usize, via: &[usize]) -> u64 {
        let mut delay = 0;
        for (carrier, carried) in links(n, via) {
            delay += 1 + self.site.pair(carrier, carried).slow_ms;
            let drops = carrier == self.site.hostile && self.site.manner == Manner::Some && self.healed_at.is_none();
            while drops && self.site.random.chance(300) {
                self.site.counts.add(DROPPED);
                delay += 200;
            }
        }
        delay
    }

    /// A session goes this way from now on.
    pub(crate) fn goes(&mut self, n: usize, id: u64, via: Vec<usize>) {
        let metered = via
            .last()
            .is_some_and(|last| self.site.uplinks[*last] == Uplink::Metered);
        self.look_at_chain(n, &via);
        match via.len() {
            0 => self.site.counts.add(HOME),
            1 => self.site.counts.add(CARRIED),
            _ => self.site.counts.add(TWICE),
        }
        if metered {
            self.site.counts.add(METERED);
        }
        if !via.is_empty() {
            self.site.homing[n].0.carried(Mono(self.now_ms));
        }
        let first = via.first().map(|first| self.nodes[*first].id.clone());
        if let Some(session) = self.sessions.get_mut(&id) {
            (session.via, session.since_ms, session.stuck) = (via, self.now_ms, [false; 2]);
        }
        self.tell(n, Input::Path { via: first, metered });
        self.unblock(n);
    }

    fn look_at_chain(&mut self, n: usize, via: &[usize]) {
        let mut all: Vec<usize> = via.to_vec();
        all.push(n);
        all.sort_unstable();
        all.dedup();
        let last_is_direct = via.last().is_none_or(|last| self.is_direct(*last));
        let is_chain = via.len() <= 2 && all.len() == via.len() + 1 && last_is_direct;
        self.invariants
            .require(is_chain, || format!("M1: {n} goes through {via:?}"));
        let strangers = via.iter().find(|carrier| !self.site.is_member[**carrier]);
        self.invariants.require(strangers.is_none(), || {
            format!("M2: {n} goes through {strangers:?}, who is no member")
        });
    }

    /// Back to a path of its own, on to another neighbour, or nowhere.
    fn look_at_way(&mut self, n: usize) {
        let Some(id) = self.nodes[n].session else { return };
        let via = match self.via_of(n) {
            Some(via) if !via.is_empty() => via.to_vec(),
            _ => return,
        };
        self.unblock(n);
        if self.now_ms >= self.site.homing[n].1 {
            let answers = !self.nodes[n].blocked_up && !self.nodes[n].blocked_down && self.hub.is_some();
            let (homing, next) = &mut self.site.homing[n];
            let is_home = homing.asked(answers, Mono(self.now_ms));
            *next = self.now_ms + u64::try_from(homing.next_in().as_millis()).unwrap_or(u64::MAX >> 1);
            if is_home {
                return self.goes(n, id, Vec::new());
            }
        }
        let (me, views) = (self.nodes[n].id.clone(), self.views(n));
        let present = self.nodes[via[0]].id.clone();
        let is_kept = views.iter().any(|view| view.name == present && could_carry(&me, view));
        let better = better_than(&me, &present, &views).map(|view| view.name.clone());
        let better = better.and_then(|name| self.nodes.iter().position(|node| node.id == name));
        let chain = better.map(|first| self.chain(first)).filter(|chain| {
            !chain.contains(&n)
                && [Way::Up, Way::Down]
                    .iter()
                    .all(|way| !self.is_way_blocked(n, chain, *way))
        });
        match chain {
            Some(chain) if self.take_share(n, &chain) => {
                self.site.counts.add(MOVED);
                self.goes(n, id, chain);
            }
            _ if !is_kept => self.break_session(id, "the neighbour is out of touch"),
            _ => {}
        }
    }

    /// Pairs are cut, one-way or slow for a while, members leave and come back, and own paths are cut that the hub's other faults leave alone.
    fn trouble_pairs(&mut self) {
        if self.healed_at.is_some() {
            self.site.pairs.clear();
            self.site.is_member.fill(true);
            return;
        }
        let nodes = self.nodes.len() as u64;
        let mut draw = |bound| usize::try_from(self.site.random.below(bound)).unwrap_or(0);
        let (one, other, kind) = (draw(nodes), draw(nodes), draw(60));
        if one % 2 != other % 2 || one == other {
            return;
        }
        let Site { pairs, counts, .. } = &mut self.site;
        let pair = pairs.entry((one.min(other), one.max(other))).or_default();
        match kind {
            0 | 1 => {
                pair.blocked = [true; 2];
                counts.add(CUT);
            }
            2 | 3 => {
                pair.blocked[usize::from(one > other)] = true;
                counts.add(ONE_WAY);
            }
            4 | 5 => {
                pair.slow_ms = 300;
                counts.add(SLOW);
            }
            34 | 35 => {
                pair.is_narrow = true;
                counts.add(NARROW);
            }
            6..=20 => *pair = Pair::default(),
            21 => {
                counts.add(LEFT);
                self.site.is_member[one] = false;
            }
            22..=30 => self.site.is_member[one] = true,
            31..=33 => {
                // Its own path, so that somebody has to be carried.
                self.nodes[one].blocked_up = true;
                self.nodes[one].blocked_down = true;
                let lasts = self.site.random.between(20_000, 200_000);
                self.after(lasts, Event::Unblock { n: one });
            }
            _ => {}
        }
    }

    fn is_direct(&self, n: usize) -> bool {
        self.via_of(n).is_some_and(<[usize]>::is_empty)
    }
}

/// Who carries for whom along a chain.
fn links(n: usize, chain: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let carried = [n].into_iter().chain(chain.iter().copied());
    chain.iter().copied().zip(carried.collect::<Vec<_>>())
}
