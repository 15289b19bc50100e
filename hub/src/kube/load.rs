//! What is seen of a deployment that is scaled: its replicas, an autoscaler of its cluster, its load, and the load to come.
//!
//! A load that cannot be measured is told as that. What was measured teaches a forecaster for each deployment, in memory: after a start
//! it learns anew, and expects nothing until it has seen an hour.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hub_brain::{Forecaster, load_within};
use hub_core::scaling::{LoadSeen, Measured, ScalingRule};
use wire::kube::DeploymentRef;

use super::{Clusters, deployment, line, measure};

/// Length of a forecaster's steps.
const STEP_MS: u64 = 60_000;
/// Steps that a forecaster has to have seen.
const LEARNED: u64 = 60;
/// Most deployments whose loads are foreseen: as many as are scaled.
const MOST: usize = 1_000;

/// The forecasters of loads.
#[derive(Debug, Default)]
pub struct Loads(Mutex<BTreeMap<DeploymentRef, Known>>);

#[derive(Debug)]
struct Known {
    query: String,
    forecaster: Forecaster,
    /// Of the first value, and of the last.
    since_ms: u64,
}

impl Loads {
    /// Looks at a deployment, measures its load and says what is expected of it.
    pub async fn see(&self, clusters: &Clusters, target: &DeploymentRef, rule: &ScalingRule) -> LoadSeen {
        let mut seen = LoadSeen::default();
        let cluster = match clusters.get(&target.cluster) {
            Ok(cluster) => cluster,
            Err(detail) => return LoadSeen { detail, ..seen },
        };
        let id = deployment(target);
        let (workload, autoscaler) = tokio::join!(cluster.workload(&id), cluster.autoscaler(&id));
        match (workload, autoscaler) {
            (Ok(Some(workload)), Ok(autoscaler)) => {
                seen.present = Some(workload.wanted);
                seen.autoscaler = autoscaler.map(|autoscaler| autoscaler.name);
            }
            (Ok(None), _) => seen.detail = format!("there is no {target}"),
            // One that cannot be read may be there.
            (Err(error), _) | (_, Err(error)) => seen.detail = line(&error),
        }
        let Some(url) = clusters.prometheus(&target.cluster) else {
            let cluster = &target.cluster;
            seen.detail = format!("cluster {cluster} has no Prometheus: register it again with the address of one");
            return seen;
        };
        let load = measure::instant(&url, &rule.query, target).await;
        let trouble = match rule.trouble.as_str() {
            "" => Ok(None),
            query => measure::instant(&url, query, target).await,
        };
        let load = load.unwrap_or_else(|why| {
            seen.detail = why;
            None
        });
        seen.measured = Measured {
            load_milli: load.map(|load| (load * 1_000.0).round() as u64),
            expected_milli: self.expected(target, rule, load),
            // A Prometheus that does not answer is trouble by itself.
            is_troubled: trouble.map_or(true, |trouble| trouble.is_some_and(|trouble| trouble > 0.0)),
        };
        seen
    }

    /// Teaches the forecaster, and asks it.
    fn expected(&self, target: &DeploymentRef, rule: &ScalingRule, load: Option<f64>) -> Option<u64> {
        if !rule.forecast {
            return None;
        }
        let now_ms = now_ms();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(target) {
            all.pop_first();
        }
        let new = || Known {
            query: rule.query.clone(),
            forecaster: Forecaster::new(STEP_MS),
            since_ms: now_ms,
        };
        let known = all.entry(target.clone()).or_insert_with(new);
        if known.query != rule.query {
            *known = new();
        }
        if let Some(load) = load {
            // A clock that went back tells nothing new.
            let _ = known.forecaster.observe(now_ms, load);
        }
        known.expected(rule.start_ms, now_ms)
    }
}

impl Known {
    fn expected(&self, start_ms: u64, now_ms: u64) -> Option<u64> {
        if now_ms.saturating_sub(self.since_ms) < LEARNED * STEP_MS {
            return None;
        }
        let steps = u32::try_from(start_ms.div_ceil(STEP_MS)).ok()? + 1;
        let forecast = self.forecaster.forecast(steps)?;
        let load = load_within(&forecast, u64::from(steps) * STEP_MS)?;
        Some((load.max(0.0) * 1_000.0) as u64)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_expected_before_an_hour_was_seen_and_the_wave_after_a_day() {
        let mut known = Known {
            query: String::new(),
            forecaster: Forecaster::new(STEP_MS),
            since_ms: 0,
        };
        let load = |minute: u64| 100.0 + 50.0 * (minute as f64 / 720.0 * std::f64::consts::PI).sin();
        for minute in 0..3 * 1_440 {
            known
                .forecaster
                .observe(minute * STEP_MS, load(minute))
                .expect("in order");
            if minute == 59 {
                assert_eq!(known.expected(60_000, minute * STEP_MS), None);
            }
        }
        let now = 3 * 1_440;
        let expected = known.expected(300_000, now * STEP_MS).expect("it has seen days") as f64 / 1_000.0;
        assert!(
            (load(now + 5) * 0.95..load(now + 5) * 1.2).contains(&expected),
            "{expected}"
        );
    }
}
