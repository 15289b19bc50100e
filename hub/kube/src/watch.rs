//! Watches objects of a cluster: everything once, then what changes, for as long as one listens.
//!
//! A broken connection resumes where it was. When the server has forgotten that place (410), everything is listed again, and only what
//! differs from what was seen before is told: no storm. What is remembered is a key and a version for each object, up to a bound; objects
//! beyond it are counted and said, never silently left out.
//!
//! Invariant: an object is told as gone only when the server said so, or when it is missing in a list that was read to its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Resource;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::manifest::WorkloadKind;
use crate::nodes::NodeView;
use crate::pods::PodView;
use crate::status::Workload;
use crate::workloads::value;

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchWhat {
    /// Workloads of a kind, of all namespaces.
    Workloads(WorkloadKind),
    /// Pods of all namespaces with these labels, as a selector; empty for all.
    Pods(String),
    /// Nodes.
    Nodes,
}

/// Bounds of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// Most objects that are remembered: about 150 bytes each.
    pub objects: usize,
    /// Objects of one page of a list.
    pub page: u32,
}

impl Default for WatchLimits {
    fn default() -> Self {
        // The largest clusters that Kubernetes supports have 150,000 pods.
        Self {
            objects: 150_000,
            page: 500,
        }
    }
}

/// One thing that was seen.
#[derive(Debug)]
pub enum Seen {
    /// A workload, new or changed.
    Workload(Box<Workload>),
    /// A pod, new or changed.
    Pod(Box<PodView>),
    /// A node, new or changed.
    Node(Box<NodeView>),
    /// An object is gone: `namespace/name`, or the name of a node.
    Gone(String),
    /// Everything has been told; from here on only changes come.
    Complete {
        /// Objects that there are.
        objects: usize,
        /// Of these, objects beyond the bound: told now, but not remembered, so they are told again after the next list.
        beyond_bound: usize,
    },
    /// The connection is lost, or the server refuses; it is tried again by itself. What was seen stays as it was.
    Lost(String),
}

enum Raw {
    Start,
    Listed(Item),
    Done,
    Put(Item),
    Gone(String),
    Lost(String),
}

struct Item {
    key: String,
    version: String,
    seen: Seen,
}

/// A running watch.
pub struct Watch {
    stream: Pin<Box<dyn Stream<Item = Raw> + Send>>,
    known: BTreeMap<String, String>,
    listing: Option<BTreeSet<String>>,
    beyond_bound: usize,
    limits: WatchLimits,
    waiting: VecDeque<Seen>,
    heard: Instant,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({} objects)", self.known.len())
    }
}

impl Cluster {
    /// Starts a watch. It begins when [`Watch::next`] is called.
    pub fn watch(&self, what: &WatchWhat, limits: WatchLimits) -> Watch {
        let settings = watcher::Config::default().page_size(limits.page);
        let stream: Pin<Box<dyn Stream<Item = Raw> + Send>> = match what {
            WatchWhat::Workloads(kind) => {
                let kind = *kind;
                let api = self.dynamic(&kind.resource(), None);
                Box::pin(raw(api, settings, move |object| {
                    let workload = Workload::read(kind, &value(object))?;
                    let key = format!("{}/{}", workload.id.namespace, workload.id.name);
                    Some(Item {
                        key,
                        version: workload.version.clone(),
                        seen: Seen::Workload(Box::new(workload)),
                    })
                }))
            }
            WatchWhat::Pods(labels) => Box::pin(raw(
                Api::<Pod>::all(self.client.clone()),
                settings.labels(labels),
                |pod| {
                    let pod = PodView::read(pod);
                    let key = format!("{}/{}", pod.namespace, pod.name);
                    Some(Item {
                        key,
                        version: pod.version.clone(),
                        seen: Seen::Pod(Box::new(pod)),
                    })
                },
            )),
            WatchWhat::Nodes => Box::pin(raw(Api::<Node>::all(self.client.clone()), settings, |node| {
                let node = NodeView::read(node);
                Some(Item {
                    key: node.name.clone(),
                    version: node.version.clone(),
                    seen: Seen::Node(Box::new(node)),
                })
            })),
        };
        Watch::new(stream, limits)
    }
}

fn raw<K>(
    api: Api<K>,
    settings: watcher::Config,
    item: impl Fn(&K) -> Option<Item> + Send + 'static,
) -> impl Stream<Item = Raw> + Send
where
    K: Resource + Clone + fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    watcher(api, settings).default_backoff().filter_map(move |event| {
        let raw = match event {
            Ok(Event::Init) => Some(Raw::Start),
            Ok(Event::InitApply(object)) => item(&object).map(Raw::Listed),
            Ok(Event::InitDone) => Some(Raw::Done),
            Ok(Event::Apply(object)) => item(&object).map(Raw::Put),
            Ok(Event::Delete(object)) => item(&object).map(|item| Raw::Gone(item.key)),
            Err(error) => Some(Raw::Lost(error.to_string())),
        };
        std::future::ready(raw)
    })
}

impl Watch {
    fn new(stream: Pin<Box<dyn Stream<Item = Raw> + Send>>, limits: WatchLimits) -> Self {
        Self {
            stream,
            known: BTreeMap::new(),
            listing: None,
            beyond_bound: 0,
            limits,
            waiting: VecDeque::new(),
            heard: Instant::now(),
        }
    }

    /// The next thing that is seen. Waits for it; may be cancelled at any time without losing anything.
    pub async fn next(&mut self) -> Seen {
        loop {
            if let Some(seen) = self.waiting.pop_front() {
                return seen;
            }
            match self.stream.next().await {
                Some(raw) => self.take(raw),
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// How long nothing at all was heard of the server.
    pub fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    fn take(&mut self, raw: Raw) {
        if !matches!(raw, Raw::Lost(_)) {
            self.heard = Instant::now();
        }
        match raw {
            Raw::Start => {
                self.listing = Some(BTreeSet::new());
                self.beyond_bound = 0;
            }
            Raw::Listed(item) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(item.key.clone());
                }
                self.put(item);
            }
            Raw::Done => self.done(),
            Raw::Put(item) => self.put(item),
            Raw::Gone(key) => {
                self.known.remove(&key);
                self.waiting.push_back(Seen::Gone(key));
            }
            Raw::Lost(why) => self.waiting.push_back(Seen::Lost(why)),
        }
    }

    fn put(&mut self, item: Item) {
        if self.known.get(&item.key) == Some(&item.version) {
            return;
        }
        if self.known.contains_key(&item.key) || self.known.len() < self.limits.objects {
            self.known.insert(item.key, item.version);
        } else {
            self.beyond_bound += 1;
        }
        self.waiting.push_back(item.seen);
    }

    fn done(&mut self) {
        let listed = self.listing.take().unwrap_or_default();
        let gone: Vec<String> = self
            .known
            .keys()
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.known.remove(&key);
            self.waiting.push_back(Seen::Gone(key));
        }
        self.waiting.push_back(Seen::Complete {
            objects: listed.len(),
            beyond_bound: self.beyond_bound,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    fn item(key: &str, version: u32) -> Item {
        let seen = Seen::Lost(format!("{key}@{version}"));
        Item {
            key: key.to_owned(),
            version: version.to_string(),
            seen,
        }
    }

    async fn told(raws: Vec<Raw>, objects: usize) -> String {
        let count = raws.len();
        let mut watch = Watch::new(Box::pin(stream::iter(raws)), WatchLimits { objects, page: 1 });
        let mut words = Vec::new();
        for _ in 0..count * 2 {
            let Some(seen) = futures::FutureExt::now_or_never(watch.next()) else {
                break;
            };
            words.push(match seen {
                Seen::Lost(item) => item,
                Seen::Gone(key) => format!("gone {key}"),
                Seen::Complete { objects, beyond_bound } => format!("complete {objects}+{beyond_bound}"),
                Seen::Workload(_) | Seen::Pod(_) | Seen::Node(_) => "object".to_owned(),
            });
        }
        words.join(" ")
    }

    #[tokio::test]
    async fn a_new_list_tells_only_what_differs() {
        let raws = vec![
            Raw::Start,
            Raw::Listed(item("a", 1)),
            Raw::Listed(item("b", 1)),
            Raw::Listed(item("c", 1)),
            Raw::Done,
            Raw::Start,
            Raw::Listed(item("a", 1)),
            Raw::Listed(item("b", 2)),
            Raw::Done,
        ];
        assert_eq!(told(raws, 9).await, "a@1 b@1 c@1 complete 3+0 b@2 gone c complete 2+0");
    }

    #[tokio::test]
    async fn half_a_list_makes_nothing_go() {
        let raws = vec![
            Raw::Start,
            Raw::Listed(item("a", 1)),
            Raw::Listed(item("b", 1)),
            Raw::Done,
            Raw::Start,
            Raw::Listed(item("a", 1)),
            Raw::Lost("broken".to_owned()),
            Raw::Start,
            Raw::Listed(item("a", 1)),
            Raw::Listed(item("b", 1)),
            Raw::Done,
        ];
        assert_eq!(told(raws, 9).await, "a@1 b@1 complete 2+0 broken complete 2+0");
    }

    #[tokio::test]
    async fn what_is_beyond_the_bound_is_said() {
        let raws = vec![
            Raw::Start,
            Raw::Listed(item("a", 1)),
            Raw::Listed(item("b", 1)),
            Raw::Done,
        ];
        assert_eq!(told(raws, 1).await, "a@1 b@1 complete 2+1");
    }
}
