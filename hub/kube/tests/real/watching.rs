//! What is watched is told once, and again only when it changes, over a cut connection too.

use std::time::Duration;

use hub_kube::{Cluster, ClusterSettings, Kubeconfig, Owner, Seen, Watch, WatchLimits, WatchWhat, WorkloadKind};
use tokio::time::timeout;

use crate::faults::Proxy;
use crate::plane::{cluster, deployment, kubeconfig, namespace, plane, settled};

const WITHIN: Duration = Duration::from_secs(60);

async fn until(watch: &mut Watch, what: &str, mut is_it: impl FnMut(&Seen) -> bool) -> usize {
    let mut seen = 0;
    loop {
        let next = timeout(WITHIN, watch.next())
            .await
            .unwrap_or_else(|_| panic!("{what} was not seen"));
        seen += 1;
        if is_it(&next) {
            return seen;
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_a_cut_and_tells_nothing_twice() {
    let (direct, space) = (cluster().await, namespace("watch"));
    let spec = deployment(&space, "web", 2);
    direct.create(&spec).await.expect("created");
    settled(&direct, &spec.id, 2).await;

    let proxy = Proxy::open(plane().port()).await;
    let text = std::fs::read_to_string(kubeconfig("admin")).expect("a kubeconfig");
    let text = text.replace(&plane().port().to_string(), &proxy.port().to_string());
    let cluster = Cluster::open(ClusterSettings::new("cut", Kubeconfig::Text(text)))
        .await
        .expect("usable");
    let mut watch = cluster.watch(
        &WatchWhat::Workloads(WorkloadKind::Deployment),
        WatchLimits {
            objects: 1_000,
            page: 1,
        },
    );
    let mine = |seen: &Seen, ready: u32| matches!(seen, Seen::Workload(one) if one.id.namespace == space && one.ready == ready);
    until(&mut watch, "the workload", |seen| mine(seen, 2)).await;
    until(&mut watch, "the end of the list", |seen| {
        matches!(seen, Seen::Complete { .. })
    })
    .await;
    direct.scale(&spec.id, 3).await.expect("scaled");
    until(&mut watch, "the third replica", |seen| mine(seen, 3)).await;

    proxy.cut();
    direct.scale(&spec.id, 1).await.expect("scaled");
    settled(&direct, &spec.id, 1).await;
    proxy.mend();
    let mut twice = 0;
    until(&mut watch, "what happened meanwhile", |seen| {
        twice +=
            usize::from(mine(seen, 3) && matches!(seen, Seen::Workload(one) if one.wanted == 3 && one.is_settled()));
        mine(seen, 1) && matches!(seen, Seen::Workload(one) if one.is_settled())
    })
    .await;
    assert_eq!(twice, 0, "what was told before the cut is not told again");

    direct.delete(&spec.id).await.expect("deleted");
    let key = format!("{space}/web");
    until(
        &mut watch,
        "its end",
        |seen| matches!(seen, Seen::Gone(gone) if *gone == key),
    )
    .await;
}

#[tokio::test]
async fn pods_and_nodes_are_watched_too() {
    let (cluster, space) = (cluster().await, namespace("watch-pods"));
    let spec = deployment(&space, "pods", 2);
    cluster.apply(&spec, Owner::Yield).await.expect("created");
    let mut pods = cluster.watch(&WatchWhat::Pods("workload=pods".to_owned()), WatchLimits::default());
    let mut ready = std::collections::BTreeSet::new();
    until(&mut pods, "two ready pods", |seen| {
        if let Seen::Pod(pod) = seen
            && pod.ready
        {
            ready.insert(pod.name.clone());
        }
        ready.len() == 2
    })
    .await;
    let mut nodes = cluster.watch(&WatchWhat::Nodes, WatchLimits { objects: 1, page: 2 });
    let complete = |seen: &Seen| matches!(seen, Seen::Complete { objects, beyond_bound } if *objects >= 3 && *beyond_bound + 1 == *objects);
    until(&mut nodes, "all nodes, and that they are beyond the bound", complete).await;
}
