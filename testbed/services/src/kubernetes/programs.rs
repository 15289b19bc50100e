//! The programs of a control plane, out of Go modules.

use std::fs;
use std::path::PathBuf;

use crate::{Cache, GoBuild, Progress, ServiceError, go_module_folder};

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    pub etcd: PathBuf,
    pub server: PathBuf,
    pub controllers: PathBuf,
    pub scheduler: PathBuf,
    pub kwok: PathBuf,
    /// What kwok does with nodes and pods, as it comes with kwok.
    pub stages: PathBuf,
}

const ETCD: GoBuild = GoBuild {
    module: "etcd",
    package: "go.etcd.io/etcd/server/v3",
    program: "etcd",
    cgo: false,
    tags: "",
    values: &[],
    takes: "about 30 seconds",
};
/// What the API server says its version is; it is that of `go/kubernetes/go.mod`.
const VERSION: &[&str] = &["k8s.io/component-base/version.gitVersion=v1.36.3"];
const SERVER: GoBuild = kubernetes(
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-apiserver",
    "about 4 minutes",
);
const CONTROLLERS: GoBuild = kubernetes(
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-controller-manager",
    "about a minute",
);
const SCHEDULER: GoBuild = kubernetes(
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "kube-scheduler",
    "about 10 seconds",
);
const KWOK: GoBuild = GoBuild {
    module: "kwok",
    package: "sigs.k8s.io/kwok/cmd/kwok",
    program: "kwok",
    cgo: false,
    tags: "",
    values: &[],
    takes: "about a minute",
};

/// What kwok does: nodes are initialised and keep their lease, pods become ready, complete when they are jobs, and are deleted.
const STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];

/// Pods of an image with the tag `bad` become ready, and crash some seconds later: what a canary has to find.
const BAD_IMAGE: &str = include_str!("bad_image.yaml");

const fn kubernetes(package: &'static str, program: &'static str, takes: &'static str) -> GoBuild {
    GoBuild {
        module: "kubernetes",
        package,
        program,
        cgo: false,
        tags: "",
        values: VERSION,
        takes,
    }
}

impl Programs {
    /// Builds what is not built yet, one after the other: each build uses every core by itself.
    pub fn ready(cache: &Cache, progress: Progress<'_>) -> Result<Self, ServiceError> {
        Ok(Self {
            etcd: ETCD.ready(cache, progress)?,
            server: SERVER.ready(cache, progress)?,
            controllers: CONTROLLERS.ready(cache, progress)?,
            scheduler: SCHEDULER.ready(cache, progress)?,
            kwok: KWOK.ready(cache, progress)?,
            stages: stages(cache, progress)?,
        })
    }
}

/// kwok's stages in one file.
fn stages(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, ServiceError> {
    let pins = concat!(
        include_str!("../../go/kwok/go.mod"),
        include_str!("bad_image.yaml"),
        "stages 2"
    );
    let made = cache.once("kwok-stages", &[pins], "a second", progress, |part| {
        let from = go_module_folder("kwok", "sigs.k8s.io/kwok")?.join("kustomize/stage");
        let mut all = String::new();
        for stage in STAGES {
            let path = from.join(stage);
            let text = fs::read_to_string(&path).map_err(ServiceError::file("read", &path))?;
            all.push_str("---\n");
            all.push_str(&text);
        }
        all.push_str("---\n");
        all.push_str(BAD_IMAGE);
        let path = part.join("stages.yaml");
        fs::write(&path, all).map_err(ServiceError::file("write", &path))
    })?;
    Ok(made.join("stages.yaml"))
}
