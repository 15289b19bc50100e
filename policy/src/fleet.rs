//! What a bundle would say to the same action on each of many nodes: the what-if behind a rollout, a fleet-wide change, a draft.
//!
//! Nothing is counted and nothing changes: each node is judged by the numbers that were observed of it and by what the
//! [`Decider`] it was made from has counted, as if it were asked alone.
//!
//! Invariants: judging a node allocates nothing; a node's answer is that of a [`Decider`] that was told the same facts.

use crate::decide::{Answer, Decider, Question};
use crate::ledger::{MAX_NUMBERS, Numbers};

/// Stands for "no such number" among a rule's columns.
const NONE: u16 = u16::MAX;

/// A bundle's rules with the numbers that they look at, laid out for many nodes.
#[derive(Debug, Clone)]
pub struct Fleet {
    decider: Decider,
    names: Vec<String>,
    /// For each rule, the columns of its numbers.
    columns: Vec<[u16; MAX_NUMBERS]>,
    /// The numbers of the node that is being judged, by rule.
    numbers: Vec<Numbers>,
    /// Which rules the present plan concerns.
    asked: Vec<bool>,
}

/// One node of a what-if.
#[derive(Debug, Clone, Copy)]
pub struct FleetNode<'a> {
    /// What the action would be done to there.
    pub target: &'a str,
    /// What is known of the node, in the order of [`Fleet::names`]; missing at the end counts as unknown.
    pub facts: &'a [Option<i64>],
}

impl Fleet {
    /// The rules of this decider, with what it has counted.
    pub fn new(decider: &Decider) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut columns = Vec::new();
        for rule in &decider.bundle.rules {
            let mut of_rule = [NONE; MAX_NUMBERS];
            for (index, column) in of_rule.iter_mut().enumerate() {
                let Some(name) = rule.kind.observed_name(index) else {
                    break;
                };
                let place = names.iter().position(|known| known == name).unwrap_or_else(|| {
                    names.push(name.to_owned());
                    names.len() - 1
                });
                // 256 rules of 8 numbers are 2,048 names.
                *column = u16::try_from(place).unwrap_or(NONE);
            }
            columns.push(of_rule);
        }
        Self {
            decider: decider.clone(),
            names,
            numbers: vec![Numbers::default(); columns.len()],
            asked: vec![false; columns.len()],
            columns,
        }
    }

    /// The full names of every number that the rules look at: the columns of a node's facts.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Asks about each node in turn and gives `each` the node's place and its answer. A question's own target is not looked at.
    ///
    /// With several questions, a plan, a node's answer is its worst: a step is judged as if the others were not taken.
    pub fn ask<'n>(
        &mut self,
        plan: &[Question<'_>],
        nodes: impl IntoIterator<Item = FleetNode<'n>>,
        mut each: impl FnMut(usize, Answer),
    ) {
        if let Some(first) = plan.first() {
            self.decider.catch_up(first.now);
        }
        self.asked.fill(false);
        for place in plan.iter().flat_map(|question| self.decider.places(question.kind)) {
            self.asked[place] = true;
        }
        for (place, node) in nodes.into_iter().enumerate() {
            self.take(node.facts);
            let numbers = &self.numbers;
            let answers = plan.iter().map(|question| {
                let question = Question {
                    target: node.target,
                    ..*question
                };
                let asked = self.decider.asked(&question);
                self.decider.answer_with(&asked, |rule| &numbers[rule])
            });
            // Of two steps with the same verdict the earlier one is named.
            let worst = answers.reduce(|worst, next| if next.verdict > worst.verdict { next } else { worst });
            if let Some(worst) = worst {
                each(place, worst);
            }
        }
    }

    /// Takes a node's numbers, for the rules that are asked.
    fn take(&mut self, facts: &[Option<i64>]) {
        let rules = self.asked.iter().zip(self.columns.iter().zip(&mut self.numbers));
        for (_, (columns, numbers)) in rules.filter(|(is_asked, _)| **is_asked) {
            for (index, column) in columns.iter().enumerate() {
                if *column == NONE {
                    break;
                }
                numbers.set(index, facts.get(usize::from(*column)).copied().flatten());
            }
        }
    }
}
