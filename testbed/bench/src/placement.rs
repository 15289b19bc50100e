//! `placement`: how much of a real GPU cluster is allocated when work for 100 % and for 130 % of its GPUs has come, and how fast.
//!
//! The experiment is the one of *Beware of Fragmentation* (USENIX ATC 2023): a list of pods, more of them drawn from it until they ask
//! for 130 % of all GPUs, all in random order; none leaves, and what fits nowhere is skipped. The mean of ten seeds. Peers on the same
//! pods in the same order: FGD as published, best fit and random (`placement/peers.rs`).
//!
//! `-- --pods FILE --nodes FILE` takes another list, plain, `.zst` or `.xz`, and names its figures `placement-allocated-100` and `-130`.

mod lists;
mod peers;

use std::time::Instant;

use hub_core::placement::{Demand, Placer, Work};

use crate::report::{Figure, Goal};
use lists::{Draw, Lists};
use peers::Peer;

const SEEDS: u64 = 10;
/// GPUs that the pods ask for in the end, in percent of those that there are.
const ASKED_PERCENT: u64 = 130;
const LISTS: [&str; 5] = ["default", "gpuspec33", "multigpu20", "gpushare40", "cpu100"];
/// Placements a second that an order of magnitude more GPUs than most clusters have must allow.
const LEAST_RATE: f64 = 1_000.0;

/// Share of all GPUs that is allocated when 100 % and when 130 % have been asked for, in percent.
#[derive(Debug, Clone, Copy, Default)]
struct Allocated {
    at_100: f64,
    at_130: f64,
}

/// Runs it, on the lists that come with it or on others.
pub fn run(pods: Option<&str>, nodes: Option<&str>) -> Result<Vec<Figure>, String> {
    let nodes = nodes.map_or_else(|| lists::ours("node_list_gpu_node"), str::to_owned);
    let mut figures = Vec::new();
    let mut rates = Vec::new();
    let named: Vec<(String, String)> = match pods {
        Some(file) => vec![("allocated".to_owned(), file.to_owned())],
        None => LISTS
            .iter()
            .map(|list| ((*list).to_owned(), lists::ours(&format!("pod_list_{list}"))))
            .collect(),
    };
    for (name, file) in &named {
        let lists = Lists::read(file, &nodes)?;
        let fgd = mean(&lists, |lists, draw| peers::run(lists, draw, Peer::Fgd));
        let best_fit = mean(&lists, |lists, draw| peers::run(lists, draw, Peer::BestFit));
        let random = mean(&lists, |lists, draw| peers::run(lists, draw, Peer::Random(draw.seed)));
        let ours = mean(&lists, |lists, draw| {
            let (allocated, rate) = ours(lists, draw);
            rates.push(rate);
            allocated
        });
        for (at, pick) in [
            ("100", (|one| one.at_100) as fn(Allocated) -> f64),
            ("130", |one| one.at_130),
        ] {
            let name = |peer: &str| format!("placement-{name}-{at}{peer}");
            figures.push(Figure::new(&name(""), "%", pick(ours), Goal::AtLeast(pick(fgd))).peer("FGD", pick(fgd)));
            figures
                .push(Figure::new(&name("-best-fit"), "%", pick(ours), Goal::Known).peer("best fit", pick(best_fit)));
            figures.push(Figure::new(&name("-random"), "%", pick(ours), Goal::Known).peer("random", pick(random)));
        }
    }
    let slowest = rates.into_iter().fold(f64::INFINITY, f64::min);
    figures.push(Figure::new("placement-rate", "1/s", slowest, Goal::AtLeast(LEAST_RATE)));
    Ok(figures)
}

fn mean(lists: &Lists, mut run: impl FnMut(&Lists, &Draw) -> Allocated) -> Allocated {
    let mut sum = Allocated::default();
    for seed in 0..SEEDS {
        let one = run(lists, &lists.draw(seed, ASKED_PERCENT));
        sum.at_100 += one.at_100 / SEEDS as f64;
        sum.at_130 += one.at_130 / SEEDS as f64;
    }
    sum
}

/// The product's own placement, and how many placements a second it made.
fn ours(lists: &Lists, draw: &Draw) -> (Allocated, f64) {
    let mut placer = Placer::new(lists.nodes.clone(), Demand::of(&lists.pods));
    let started = Instant::now();
    let allocated = replay(lists, draw, |work| placer.place(work).is_ok());
    (allocated, draw.order.len() as f64 / started.elapsed().as_secs_f64())
}

/// Lets all pods come, one after the other.
fn replay(lists: &Lists, draw: &Draw, mut place: impl FnMut(&Work) -> bool) -> Allocated {
    let all = lists.gpu_milli() as f64;
    let (mut asked, mut taken, mut at_100) = (0, 0, None);
    for index in &draw.order {
        let work = &lists.pods[*index];
        asked += work.gpus.milli();
        if place(work) {
            taken += work.gpus.milli();
        }
        if asked >= lists.gpu_milli() {
            at_100.get_or_insert(taken);
        }
    }
    let percent = |milli: u64| 100.0 * milli as f64 / all;
    Allocated {
        at_100: percent(at_100.unwrap_or(taken)),
        at_130: percent(taken),
    }
}
