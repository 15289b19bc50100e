//! What others do, written from their papers: FGD, best fit and random.
//!
//! FGD: the typical pods are the most frequent shapes that make 95 % of the list. A node's fragmentation is, over typical pods, the mean
//! of the idle GPU that this pod cannot use there; work goes where fragmentation falls most. Its scores are whole numbers, 100 times the
//! sigmoid of the fall in thousandths over 1,000, and ties go to the first node, as in the published scheduler.

use std::collections::BTreeMap;

use hub_core::placement::{DEVICE, Gpus, NodeRoom, Work};

use super::lists::{Draw, Lists, Random};
use super::{Allocated, replay};

/// A scheduler.
#[derive(Debug, Clone, Copy)]
pub enum Peer {
    /// Fragmentation gradient descent.
    Fgd,
    /// The node that is left with least.
    BestFit,
    /// Any node that fits, with this seed.
    Random(u64),
}

/// A typical shape with its frequency.
struct Shape {
    cpu_milli: u64,
    gpus: Gpus,
    models: Vec<String>,
    share: f64,
}

type Scores = BTreeMap<Work, Vec<Option<Option<(i64, usize)>>>>;

pub fn run(lists: &Lists, draw: &Draw, peer: Peer) -> Allocated {
    let shapes = typical(&lists.pods);
    let mut nodes = lists.nodes.clone();
    let mut scores = Scores::new();
    let mut random = Random(match peer {
        Peer::Random(seed) => seed | 1 << 40,
        Peer::Fgd | Peer::BestFit => 1,
    });
    replay(lists, draw, |work| {
        let known = scores.entry(work.clone()).or_insert_with(|| vec![None; nodes.len()]);
        for (node, known) in nodes.iter().zip(known.iter_mut()) {
            known.get_or_insert_with(|| node.fits(work).then(|| score(peer, &shapes, node, work)));
        }
        let fitting = known
            .iter()
            .enumerate()
            .filter_map(|(index, score)| Some((index, score.flatten()?)));
        let chosen = match peer {
            Peer::Random(_) => {
                let fitting: Vec<_> = fitting.collect();
                (!fitting.is_empty()).then(|| fitting[random.below(fitting.len())])
            }
            // The first of the best.
            Peer::Fgd | Peer::BestFit => fitting.max_by_key(|(index, (score, _))| (*score, std::cmp::Reverse(*index))),
        };
        let Some((index, (_, device))) = chosen else {
            return false;
        };
        nodes[index].take(work, device);
        scores.values_mut().for_each(|known| known[index] = None);
        true
    })
}

fn score(peer: Peer, shapes: &[Shape], node: &NodeRoom, work: &Work) -> (i64, usize) {
    let fits = |free: u32| matches!(work.gpus, Gpus::Share(milli) if free >= milli);
    let tightest = node
        .devices
        .iter()
        .enumerate()
        .filter(|(_, free)| fits(**free))
        .min_by_key(|(_, free)| **free);
    let tightest = tightest.map_or(0, |(index, _)| index);
    match peer {
        Peer::Random(_) => (0, tightest),
        Peer::BestFit => {
            // Each resource that is left, as a part of the largest node's: 128 cores, 1 TiB, 8 GPUs.
            let left = (node.cpu_milli - work.cpu_milli) as f64 / 128_000.0
                + (node.memory_mib - work.memory_mib) as f64 / 1_048_576.0
                + (node.idle_milli() - work.gpus.milli()) as f64 / 8_000.0;
            (-(left * 1e6) as i64, tightest)
        }
        Peer::Fgd => {
            let before = fragmentation(shapes, node);
            let after = |device: usize| {
                let mut node = node.clone();
                node.take(work, device);
                fragmentation(shapes, &node)
            };
            let devices: Vec<usize> = match work.gpus {
                Gpus::Share(_) => (0..node.devices.len())
                    .filter(|index| fits(node.devices[*index]))
                    .collect(),
                Gpus::None | Gpus::Whole(_) => vec![0],
            };
            let falls = devices.into_iter().map(|device| (before - after(device), device));
            let (fall, device) = falls.fold(
                (f64::NEG_INFINITY, 0),
                |best, one| if one.0 > best.0 { one } else { best },
            );
            ((100.0 / (1.0 + (-fall / 1_000.0).exp())).floor() as i64, device)
        }
    }
}

fn fragmentation(shapes: &[Shape], node: &NodeRoom) -> f64 {
    let idle = node.idle_milli() as f64;
    let below = |least: u32| {
        node.devices
            .iter()
            .filter(|free| **free < least)
            .map(|free| f64::from(*free))
            .sum::<f64>()
    };
    let of = |shape: &Shape| {
        let model = shape.models.is_empty() || shape.models.contains(&node.model);
        if node.cpu_milli < shape.cpu_milli || !model {
            return idle;
        }
        match shape.gpus {
            Gpus::None => idle,
            Gpus::Share(milli) if node.devices.iter().all(|free| *free < milli) => idle,
            Gpus::Share(milli) => below(milli),
            Gpus::Whole(count) if node.whole_devices() < count => idle,
            Gpus::Whole(_) => below(DEVICE),
        }
    };
    shapes.iter().map(|shape| shape.share * of(shape)).sum()
}

fn typical(pods: &[Work]) -> Vec<Shape> {
    let mut counts: BTreeMap<(u64, Gpus, &[String]), usize> = BTreeMap::new();
    for pod in pods {
        *counts.entry((pod.cpu_milli, pod.gpus, &pod.models)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut kept = 0;
    let most = counts.into_iter().take_while(|(_, count)| {
        let more = kept * 100 < pods.len() * 95;
        kept += if more { *count } else { 0 };
        more
    });
    let most: Vec<_> = most.collect();
    let shape = |((cpu_milli, gpus, models), count): ((u64, Gpus, &[String]), usize)| Shape {
        cpu_milli,
        gpus,
        models: models.to_vec(),
        share: count as f64 / kept.max(1) as f64,
    };
    most.into_iter().map(shape).collect()
}
