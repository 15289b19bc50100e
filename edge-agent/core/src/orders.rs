//! Orders of people that need a turn: they wait for it a little before they are decided, so that nobody has to ask twice.
//!
//! Decides only how long an order waits. What it waits for is in `domains.rs`; it is decided like any other, in its turn or when the
//! wait is over, and the answer goes to whoever gave it.
//!
//! Invariants: an order is decided once; until then nothing of it is remembered, so a command that a crash has eaten is taken when the
//! hub sends it again.

use std::time::Duration;

use policy::Want;
use wire::DecisionId;
use wire::ids::CommandId;
use wire::time::{Mono, Now};

use crate::agent::Agent;
use crate::effect::LocalAnswer;

/// How long an order waits for its turn: as long as people wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Orders that may wait; others are decided at once, without a turn.
const MAX_ORDERS: usize = 16;

/// An order that is not decided yet.
#[derive(Debug)]
pub(crate) struct WaitingOrder {
    want: Want,
    /// When whoever gave it loses interest.
    expires: Option<Mono>,
    /// Who waits at the socket.
    request: Option<u64>,
    /// It is decided then, whether its turn has come or not.
    by: Mono,
}

impl WaitingOrder {
    fn command(&self) -> Option<CommandId> {
        self.want.origin.command()
    }
}

impl Agent {
    /// Decides an order, or lets it wait for its turn: then `None` is returned, and the answer comes later.
    pub(crate) fn take_order(
        &mut self,
        want: Want,
        expires: Option<Mono>,
        request: Option<u64>,
        now: Now,
    ) -> Result<Option<DecisionId>, &'static str> {
        if self.orders.len() < MAX_ORDERS && self.record.has_room() && self.waits_first(&want, now) {
            let patience = now.mono + PATIENCE;
            let order = WaitingOrder {
                want,
                expires,
                request,
                by: expires.map_or(patience, |expires| expires.min(patience)),
            };
            if let Some(id) = order.command() {
                self.marks.forget_command(id);
            }
            self.orders.push_back(order);
            return Ok(None);
        }
        let decided = self.decide(want, expires, now);
        decided.map(Some).ok_or("no bundle is active, so nothing can be judged")
    }

    /// Whether this command waits already.
    pub(crate) fn has_order(&self, id: CommandId) -> bool {
        self.orders.iter().any(|order| order.command() == Some(id))
    }

    /// It is this node's turn: what waited for this one is decided in it; what needs another goes on waiting, or asks for the next.
    pub(crate) fn use_turn(&mut self, now: Now) {
        for order in std::mem::take(&mut self.orders) {
            match self.waits_first(&order.want, now) {
                true => self.orders.push_back(order),
                false => self.decide_order(order, now),
            }
        }
    }

    /// Decides what has waited for long enough; everything, if no turn can come any more.
    pub(crate) fn end_waits(&mut self, all: bool, now: Now) {
        while let Some(order) = self.orders.pop_front_if(|order| all || now.mono >= order.by) {
            self.decide_order(order, now);
        }
    }

    /// When the next order is decided without a turn.
    pub(crate) fn next_order(&self) -> Option<Mono> {
        self.orders.front().map(|order| order.by)
    }

    fn decide_order(&mut self, order: WaitingOrder, now: Now) {
        if let Some(id) = order.command() {
            self.marks.remember(id);
        }
        let decided = self.decide(order.want, order.expires, now);
        match (order.request, decided) {
            (Some(request), Some(decision)) => {
                self.wait(decision.seq, request, LocalAnswer::Decided { decision });
            }
            (Some(request), None) => self.refuse(request, "no bundle is active, so nothing can be judged"),
            (None, _) => {}
        }
    }
}
