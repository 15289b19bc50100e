//! A cluster that is down, slow, busy or half there costs nothing and is told as what it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hub_kube::{Cluster, ClusterSettings, KubeError, Kubeconfig, WorkloadKind, WorkloadRef};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::plane::{cluster, deployment, kubeconfig, namespace, plane, settled};

/// A port in front of another one, that can be cut.
pub struct Proxy {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Proxy {
    pub async fn open(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (open, cut) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()));
        let (is_open, is_cut) = (Arc::clone(&open), Arc::clone(&cut));
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                if !is_open.load(Ordering::SeqCst) {
                    continue;
                }
                let is_cut = Arc::clone(&is_cut);
                tokio::spawn(async move {
                    let Ok(mut to) = TcpStream::connect(("127.0.0.1", to)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        () = is_cut.notified() => {}
                    }
                });
            }
        });
        Self { address, open, cut }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Breaks every connection and lets none through.
    pub fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    pub fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

/// A server that gives these answers, one a connection and the last one for ever. This is a mock: a real API server cannot be told to
/// be busy or to forget half of a list.
async fn server(answers: Vec<String>) -> (Cluster, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let place = count.fetch_add(1, Ordering::SeqCst);
            let answer = answers[place.min(answers.len() - 1)].clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                    let mut piece = [0; 4_096];
                    match stream.read(&mut piece).await {
                        Ok(read @ 1..) => request.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                if answer.is_empty() {
                    // Slow: it reads, and never answers.
                    std::future::pending::<()>().await;
                }
                let _the_client_may_be_gone = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "u", "user": { "token": "t" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
    });
    let settings = ClusterSettings {
        call_within: Some(Duration::from_secs(5)),
        ..ClusterSettings::new("mock", Kubeconfig::Text(text.to_string()))
    };
    (Cluster::open(settings).await.expect("usable"), asked)
}

fn answer(status: &str, header: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{header}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn page(names: &[&str], next: &str) -> String {
    let items: Vec<_> = names
        .iter()
        .map(|name| json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": "d" }, "spec": {} }))
        .collect();
    let list =
        json!({ "apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": { "continue": next }, "items": items });
    answer("200 OK", "", &list.to_string())
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_said() {
    let busy = answer("429 Too Many Requests", "retry-after: 1\r\n", "too many requests");
    let (cluster, asked) = server(vec![busy, page(&["a"], "")]).await;
    let started = Instant::now();
    let list = cluster
        .workloads(WorkloadKind::Deployment, None, &BTreeMap::new())
        .await
        .expect("a list");
    assert_eq!((list.len(), asked.load(Ordering::SeqCst)), (1, 2));
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "asked again after {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn half_a_list_is_no_list() {
    let broken = answer("200 OK", "", r#"{"items": [{"metadata": {"na"#);
    for second in [
        answer("410 Gone", "", r#"{"kind":"Status","code":410,"message":"too old"}"#),
        broken,
    ] {
        let (cluster, _) = server(vec![page(&["a"], "more"), second]).await;
        let list = cluster
            .workloads(WorkloadKind::Deployment, None, &BTreeMap::new())
            .await;
        assert!(
            matches!(list, Err(KubeError::Expired { .. } | KubeError::Answer { .. })),
            "{list:?}"
        );
    }
    let (cluster, _) = server(vec![page(&["a"], "more"), page(&["b"], "")]).await;
    assert_eq!(
        cluster
            .workloads(WorkloadKind::Deployment, None, &BTreeMap::new())
            .await
            .expect("both pages")
            .len(),
        2
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_leaves_the_change_unknown() {
    let (cluster, _) = server(vec![String::new()]).await;
    let id = WorkloadRef::new(WorkloadKind::Deployment, "d", "a");
    let error = cluster.workload(&id).await.expect_err("no answer");
    assert!(
        matches!(&error, KubeError::TimedOut { .. }) && error.may_have_happened(),
        "{error}"
    );
}

#[tokio::test]
async fn credentials_that_are_refused_are_told_as_that() {
    let text = std::fs::read_to_string(kubeconfig("nobody")).expect("a kubeconfig");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["users"][0]["user"]["token"] = json!("wrong");
    let cluster = Cluster::open(ClusterSettings::new("c", Kubeconfig::Text(config.to_string())))
        .await
        .expect("usable");
    let error = cluster.nodes().await.expect_err("refused");
    assert!(
        matches!(error, KubeError::Unauthorized { .. }) && !error.may_have_happened(),
        "{error}"
    );
    let unusable = Cluster::open(ClusterSettings::new("c", Kubeconfig::Text("clusters: [".to_owned()))).await;
    assert!(matches!(unusable, Err(KubeError::Kubeconfig { .. })), "{unusable:?}");
    let shown = format!("{:?}", Kubeconfig::Text("secret".to_owned()));
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn a_change_during_an_outage_is_done_once_it_is_over_or_not_at_all() {
    let (direct, space) = (cluster().await, namespace("outage"));
    let spec = deployment(&space, "web", 2);
    direct.create(&spec).await.expect("created");
    settled(&direct, &spec.id, 2).await;
    let proxy = Proxy::open(plane().port()).await;
    let text = std::fs::read_to_string(kubeconfig("admin")).expect("a kubeconfig");
    let text = text.replace(&plane().port().to_string(), &proxy.port().to_string());
    let settings = |within| ClusterSettings {
        call_within: Some(within),
        ..ClusterSettings::new("cut", Kubeconfig::Text(text.clone()))
    };
    let hasty = Cluster::open(settings(Duration::from_secs(1))).await.expect("usable");
    let patient = Cluster::open(settings(Duration::from_secs(60))).await.expect("usable");
    proxy.cut();
    let error = hasty.scale(&spec.id, 5).await.expect_err("cut off");
    assert!(error.may_pass() && error.may_have_happened(), "{error}");
    assert_eq!(
        direct
            .workload(&spec.id)
            .await
            .expect("an answer")
            .map(|one| one.wanted),
        Some(2),
        "nothing was lost"
    );
    let scaling = tokio::spawn({
        let id = spec.id.clone();
        async move { patient.scale(&id, 5).await }
    });
    tokio::task::yield_now().await;
    proxy.mend();
    scaling.await.expect("no panic").expect("scaled after the outage");
    settled(&direct, &spec.id, 5).await;
}
