//! What every back end must do when entries take more room than they may: fair, whole at both ends, and nothing else lost.

use std::sync::{Arc, Mutex};

use hub_core::{Batch, Quota, Spared, Token};
use wire::ids::{AgentId, DecisionId, Epoch, Seq};
use wire::time::Wall;

use super::group::{CommitId, Group, Moment, write_group};
use super::prune::SWEEP_EVERY_MS;
use super::suite::{Bench, Chain, Home, Kind, agent, stories};
use super::tables::Tables;
use super::writer::Job;
use super::{Pruned, Retention, Store};

stories!(
    an_agent_that_floods_pays_with_its_own_history,
    what_work_under_way_refers_to_stays,
    what_a_consumer_has_not_read_stays_until_there_is_half_as_much_again,
    the_newest_link_stays_however_little_room_there_is,
    a_link_that_did_not_hold_is_remembered_when_it_goes,
    entries_go_when_they_are_old_by_the_hubs_own_time_line,
);

const QUOTA: u64 = 256 * 1024;

fn room(bytes: u64) -> Retention {
    Retention {
        entries: Quota {
            bytes,
            age_ms: u64::MAX,
        },
        ..Retention::default()
    }
}

/// Stores notes in batches of ten, every first one a decision with its outcome behind it.
fn fill(bench: &mut Bench, chain: &mut Chain, batches: u64) {
    for _ in 0..batches {
        let raw = chain.notes(10);
        let first = raw[0].seq.0;
        let row = chain.marked(raw, &[first], &[(first, first + 1)]);
        bench.put(vec![row]).expect("stored");
    }
}

/// Makes room until there is enough.
fn make_room(store: &dyn Store, spared: &Spared) -> Vec<Pruned> {
    let mut rounds = Vec::new();
    while store.wants_room() {
        rounds.push(store.prune(spared.clone()).expect("done"));
        assert!(rounds.len() < 1_000, "it never has enough");
    }
    rounds
}

fn standing(bench: &Bench, name: &str) -> (u64, u64, bool) {
    let scan = bench.store.verify(&agent(name)).expect("whole");
    let there = scan.epochs.iter().map(|epoch| epoch.count).sum();
    let ever = scan.epochs.iter().map(super::ScannedEpoch::ever).sum();
    let is_whole = scan
        .epochs
        .iter()
        .all(|epoch| epoch.chain_ok() && epoch.holes.is_empty());
    (there, ever, is_whole)
}

fn id(name: &str, seq: u64) -> DecisionId {
    DecisionId {
        agent: agent(name),
        epoch: Epoch(1),
        seq: Seq(seq),
    }
}

fn an_agent_that_floods_pays_with_its_own_history(kind: Kind) {
    let mut bench = Bench::with(kind, room(QUOTA));
    let (mut quiet, mut other, mut flood) = (
        Chain::new("edge-01", 1),
        Chain::new("edge-02", 1),
        Chain::new("edge-03", 1),
    );
    let mut own = Chain {
        agent: AgentId::hub(),
        head: wire::entry::ChainHead::empty(Epoch(1)),
    };
    fill(&mut bench, &mut own, 100);
    fill(&mut bench, &mut quiet, 5);
    for _ in 0..20 {
        fill(&mut bench, &mut flood, 20);
        fill(&mut bench, &mut other, 1);
        make_room(&*bench.store, &Spared::default());
    }
    assert!(bench.store.occupied().entries <= QUOTA);
    let mut bench = bench.reopen_with(room(QUOTA));
    assert_eq!(standing(&bench, "edge-01"), (50, 50, true));
    assert_eq!(standing(&bench, "edge-02"), (200, 200, true));
    let scan = bench.store.verify(&AgentId::hub()).expect("whole");
    assert_eq!(scan.epochs[0].count, 1_000, "the hub's own journal is not cut");
    let (there, ever, is_whole) = standing(&bench, "edge-03");
    assert_eq!((ever, is_whole), (4_000, true));
    assert!(there > 500 && there < 4_000, "{there} of the newest are kept");
    assert_eq!(bench.store.occupied().pruned_entries, 4_000 - there);

    let floors = bench.store.floors(&agent("edge-03")).expect("whole");
    let (_, floor) = floors[0];
    assert_eq!((floors.len(), floor.entries, floor.broken), (1, 4_000 - there, None));
    let first = bench
        .store
        .entries(&agent("edge-03"), (Epoch(0), Seq(0)), 1)
        .expect("whole");
    assert_eq!(first[0].1.seq, floor.through.next());
    assert_eq!(
        first[0].1.prev().ok(),
        Some(floor.digest),
        "what is left continues what went"
    );
    // Nothing points to what is gone.
    assert!(bench.store.decision(&id("edge-03", 1)).expect("whole").is_none());
    let last = bench
        .store
        .decision(&id("edge-03", 3_991))
        .expect("whole")
        .expect("there");
    assert_eq!(last.outcomes.len(), 1);
    let mut before: Option<String> = None;
    let mut listed = 0;
    loop {
        let page = bench.store.decisions(None, before.as_deref(), 50).expect("whole");
        listed += page.rows.len() as u64;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(listed, 100 + 5 + 20 + there / 10);
    let arrived = bench.store.arrived(None, 10_000).expect("whole");
    assert_eq!(arrived.len() as u64, 1_000 + 250 + there);
    assert!(arrived.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert_eq!(
        bench.store.arrivals().expect("whole").count,
        5_250,
        "those that arrived, ever"
    );
    // The core goes on where it was.
    let recovered = bench.store.recover().expect("whole");
    assert!(recovered.agents.is_empty(), "no records were stored here");
    fill(&mut bench, &mut flood, 1);
    assert_eq!(standing(&bench, "edge-03").1, 4_010);
}

fn what_work_under_way_refers_to_stays(kind: Kind) {
    let mut bench = Bench::with(kind, room(QUOTA));
    let mut flood = Chain::new("edge-03", 1);
    fill(&mut bench, &mut flood, 400);
    let mut spared = Spared::default();
    spared.entry(&id("edge-03", 101));
    let rounds = make_room(&*bench.store, &spared);
    assert_eq!(
        rounds.iter().map(Pruned::entries).sum::<u64>(),
        100,
        "those before it, and no more"
    );
    assert!(bench.store.decision(&id("edge-03", 101)).expect("whole").is_some());
    assert_eq!(standing(&bench, "edge-03"), (3_900, 4_000, true));
}

fn what_a_consumer_has_not_read_stays_until_there_is_half_as_much_again(kind: Kind) {
    let mut bench = Bench::with(kind, room(QUOTA));
    let mut flood = Chain::new("edge-03", 1);
    while bench.store.occupied().entries <= QUOTA {
        fill(&mut bench, &mut flood, 1);
    }
    let third = bench
        .store
        .arrived(None, 30)
        .expect("whole")
        .last()
        .expect("there")
        .cursor;
    let mut spared = Spared::default();
    spared.unread = Some(third.arrival);
    let rounds = make_room(&*bench.store, &spared);
    assert_eq!(rounds.iter().map(Pruned::entries).sum::<u64>(), 20, "what it has read");
    assert!(rounds.iter().all(|round| !round.unread));
    while bench.store.occupied().entries <= QUOTA + QUOTA / 2 {
        fill(&mut bench, &mut flood, 1);
    }
    let round = bench.store.prune(spared).expect("done");
    assert!(round.unread && round.entries() > 100, "{round:?}");
    assert!(bench.store.occupied().entries <= QUOTA);
}

fn the_newest_link_stays_however_little_room_there_is(kind: Kind) {
    let mut bench = Bench::with(kind, room(1));
    let mut chain = Chain::new("edge-03", 1);
    fill(&mut bench, &mut chain, 3);
    let mut later = Chain::new("edge-03", 2);
    fill(&mut bench, &mut later, 2);
    make_room(&*bench.store, &Spared::default());
    let scan = bench.store.verify(&agent("edge-03")).expect("whole");
    let found: Vec<(u64, u64, u64, bool)> = scan
        .epochs
        .iter()
        .map(|one| (one.epoch.0, one.count, one.ever(), one.chain_ok()))
        .collect();
    assert_eq!(found, [(1, 0, 30, true), (2, 10, 20, true)]);
    assert_eq!(scan.epochs[1].head, later.head.digest);
}

fn a_link_that_did_not_hold_is_remembered_when_it_goes(kind: Kind) {
    let mut bench = Bench::with(kind, room(1));
    let mut chain = Chain::new("edge-03", 1);
    fill(&mut bench, &mut chain, 1);
    chain.head.digest = wire::ids::Digest::of(b"another past");
    fill(&mut bench, &mut chain, 2);
    let before = bench.store.verify(&agent("edge-03")).expect("whole");
    make_room(&*bench.store, &Spared::default());
    let after = bench.store.verify(&agent("edge-03")).expect("whole");
    assert_eq!(before.epochs[0].broken, Some(Seq(11)));
    assert_eq!(after.epochs[0].broken, Some(Seq(11)), "a cut hides nothing");
}

fn entries_go_when_they_are_old_by_the_hubs_own_time_line(kind: Kind) {
    let home = Home::new(kind);
    let database = super::open::open(&home.settings(Retention::default())).expect("a fresh store");
    let mut chain = Chain::new("edge-03", 1);
    let mut number = 0;
    // Stores ten more at one moment, and then removes what is older than `age_ms`.
    let mut commit = |now_ms: u64, age_ms: u64| {
        let raw = chain.notes(10);
        let batch = Batch {
            token: Token(now_ms),
            rows: vec![chain.row(raw)],
        };
        let (answer, _told) = std::sync::mpsc::sync_channel(1);
        let quota = Quota {
            bytes: u64::MAX,
            age_ms,
        };
        let removed = Arc::new(Mutex::new(0));
        let told = Arc::clone(&removed);
        let cut = move |tables: &mut Tables<'_>| {
            let pruned = tables.prune(quota, &Spared::default(), (now_ms, Wall(0)))?;
            *told.lock().expect("no thread failed") = pruned.entries();
            Ok(true)
        };
        let mut group = Group::default();
        group.push(Job::Batch(batch, 0));
        group.push(Job::Edit(Box::new(cut), answer));
        number += 1;
        let moment = Moment {
            commit: CommitId { writer: 1, number },
            now_ms,
            wall: Wall(0),
            clock: None,
            keep: Retention::default(),
        };
        write_group(&database, group, moment).expect("a working disk");
        removed.lock().map_or(0, |removed| *removed)
    };
    assert_eq!(commit(1_000, 5_000), 0);
    assert_eq!(commit(5_000, 1), 0, "it was looked a moment ago");
    let hour = SWEEP_EVERY_MS;
    assert_eq!(commit(hour + 4_000, hour), 10, "the first ten");
    assert_eq!(commit(3 * hour, hour), 20, "the next two");
    assert_eq!(commit(9 * hour, 0), 10, "and all but the newest");
}
