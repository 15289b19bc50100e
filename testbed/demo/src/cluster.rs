//! The hub and the agents: started, enrolled, kept running, and stopped in order.
//!
//! Enrolment is what a person would type: `sentinel token create` for each node, then `sentinel-agent join` with what it prints,
//! through the node's own network address.
//! Read next: `cluster/enrol.rs`, `cluster/kube.rs`, `cluster/forge.rs`, `keeper.rs`, `proxy.rs`, `control.rs`.

mod enrol;
mod forge;
mod kube;
mod paths;

pub use kube::DEPLOYMENT;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::builder::{Programs, short, typed};
use crate::control::{Order, Verb};
use crate::fakes;
use crate::folder::{self, Folder};
use crate::keeper::Keeper;
use crate::options::Options;
use crate::proxy::{Lane, Proxy};
use crate::screen::Screen;
use crate::sentinel::Sentinel;
use crate::signals::Stop;

/// GPUs that are simulated on each node.
pub const GPUS: usize = 2;
/// How long one process may take until it is ready; on a busy machine with many nodes it is seconds.
const READY: Duration = Duration::from_secs(60);

/// What runs.
#[derive(Debug)]
pub struct Cluster {
    folder: Folder,
    programs: Programs,
    sentinel: Sentinel,
    stop: Arc<Stop>,
    hub: Keeper,
    kube: Option<Keeper>,
    forge: Option<forge::Forge>,
    proxy: Proxy,
    nodes: Vec<Node>,
    /// Whether `sentinel` without `--context` finds this demo.
    announced: bool,
    context: Arc<Mutex<Value>>,
}

#[derive(Debug)]
struct Node {
    name: String,
    site: &'static str,
    keeper: Keeper,
}

impl Cluster {
    /// Starts everything and waits until every node is connected.
    pub fn start(
        options: &Options,
        programs: Programs,
        folder: Folder,
        screen: &Screen,
        stop: &Arc<Stop>,
    ) -> Result<Arc<Self>, String> {
        let forge = programs.forge.clone();
        let forge = forge.map(|(program, _)| forge::Forge::start(program, &folder, screen, stop));
        let forge = forge.transpose().inspect_err(|_| folder.close())?;
        let file = forge.as_ref().map(forge::Forge::file);
        let (hub, address) = match enrol::start_hub(options, &programs, &folder, file.as_deref(), stop) {
            Ok(started) => started,
            Err(reason) => {
                if let Some(forge) = forge {
                    forge.end(|| true);
                }
                folder.close();
                return Err(reason);
            }
        };
        let names: Vec<String> = (1..=options.nodes).map(|number| format!("edge-{number:02}")).collect();
        let proxy = paths::wanted(&names, address)
            .and_then(|wanted| Proxy::open(&wanted))
            .map_err(|cause| format!("cannot open ports on loopback: {cause}"));
        let proxy = proxy.inspect_err(|_| {
            hub.end(|| true);
            if let Some(forge) = &forge {
                forge.end(|| true);
            }
        })?;
        let mut cluster = Self {
            sentinel: Sentinel {
                program: programs.sentinel.clone(),
                context: folder.context(),
            },
            folder,
            programs,
            stop: Arc::clone(stop),
            hub,
            kube: None,
            forge,
            proxy,
            nodes: Vec::new(),
            announced: false,
            context: Arc::new(Mutex::new(Value::Null)),
        };
        screen.happened(
            "hub",
            &format!("https://{address}, QUIC and HTTPS on one port, with a CA of its own"),
        );
        let started = cluster.start_nodes(options, &names, screen);
        let started = started.and_then(|()| match cluster.programs.control_plane.clone() {
            Some(program) => cluster.start_kube(program, screen),
            None => Ok(()),
        });
        let started = started.and_then(|()| match cluster.programs.forge.clone() {
            Some((_, patchbot)) => cluster.show_forge(&patchbot, screen),
            None => Ok(()),
        });
        match started {
            Ok(()) => Ok(Arc::new(cluster)),
            Err(reason) => {
                cluster.end(screen, stop);
                Err(reason)
            }
        }
    }

    fn start_nodes(&mut self, options: &Options, names: &[String], screen: &Screen) -> Result<(), String> {
        self.read_context()?;
        // Whoever has named another context in this terminal reaches that one.
        self.announced = self.folder.announce()? && std::env::var_os("SENTINEL_CONTEXT").is_none();
        // All at once: each waits for the network and for the disk, not for the others.
        let keepers: Vec<Result<Keeper, String>> = std::thread::scope(|scope| {
            let this = &*self;
            let enrolling: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(index, name)| scope.spawn(move || this.enrol(name, paths::site(index, names.len()), index)))
                .collect();
            enrolling
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err("an enrolling thread panicked".to_owned()))
                })
                .collect()
        });
        let mut failed = None;
        for (index, (name, keeper)) in names.iter().zip(keepers).enumerate() {
            match keeper {
                Ok(keeper) => self.nodes.push(Node {
                    name: name.clone(),
                    site: paths::site(index, names.len()),
                    keeper,
                }),
                Err(reason) => failed = Some(reason),
            }
        }
        // Those that did start are stopped with the rest.
        failed.map_or(Ok(()), Err)?;
        for node in &self.nodes {
            node.keeper.ready(&self.stop, READY)?;
        }
        self.stop.until(READY, || self.all_connected())?;
        let last = names.last().map_or("", String::as_str);
        screen.happened(
            "nodes",
            &format!(
                "{} (edge-01 to {last}) enrolled over QUIC with mutual TLS, each by a token that works once",
                options.nodes
            ),
        );
        screen.more(&format!(
            "{} GPUs are simulated and say so (sim); CPU, memory, disks and network are this machine's own",
            options.nodes * GPUS
        ));
        if !self.announced {
            screen.more(&format!(
                "`sentinel` reaches another one; this one with --context {}",
                self.folder.context().display()
            ));
        }
        Ok(())
    }

    /// The hub's own context, which the nodes are added to.
    fn read_context(&self) -> Result<(), String> {
        let path = self.folder.path().join("hub/admin.json");
        let text = std::fs::read(&path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))?;
        let mut context: Value =
            serde_json::from_slice(&text).map_err(|cause| format!("{} is not a context: {cause}", path.display()))?;
        context["demo_socket"] = json!(self.folder.demo_socket());
        context["nodes"] = json!({});
        self.folder.write_context(&context)?;
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = context;
        Ok(())
    }

    /// Writes where the node answers into the context, each time that it has started.
    fn on_ready(&self, name: &str) -> crate::keeper::OnReady {
        let context = Arc::clone(&self.context);
        let (name, path) = (name.to_owned(), self.folder.context());
        Box::new(move |line| {
            let (socket, page) = match line.split_once(" page ") {
                Some((socket, page)) => (socket, Some(page)),
                None => (line, None),
            };
            let mut node = json!({ "socket": socket });
            if let Some(page) = page {
                node["page"] = json!(page);
            }
            let mut context = context.lock().unwrap_or_else(PoisonError::into_inner);
            if context["nodes"][&name] != node {
                context["nodes"][&name] = node;
                if let Err(reason) = folder::write_context(&path, &context) {
                    eprintln!("sentinel-demo: {reason}");
                }
            }
        })
    }

    fn all_connected(&self) -> Result<(), String> {
        let rows = self.sentinel.items("get nodes")?;
        let connected = rows.iter().filter(|row| row["state"] == "connected").count();
        match connected == self.nodes.len() {
            true => Ok(()),
            false => Err(format!("{connected} of {} nodes are connected", self.nodes.len())),
        }
    }

    /// Does what `sentinel demo` asks for, and says what was done.
    pub fn obey(&self, order: &Order) -> Result<String, String> {
        let node = order.node.as_str();
        match order.verb {
            Verb::Cut => self.cut(order),
            Verb::Heal => self.heal(order),
            Verb::Heat => self.fake(order, "gpu", "heat"),
            Verb::Grow => self.fake(order, "gpu", "grow"),
            Verb::Cool => self.fake(order, "gpu", "cool"),
            Verb::HangGpu => self.fake(order, "gpu", "hang"),
            Verb::Leak => self.fake(order, "workload", "leak"),
            Verb::Kill => self.keeper(node)?.kill(),
            Verb::Stop => self.keeper(node)?.stop(|| self.stop.hurry()),
            Verb::Start => self.keeper(node)?.start_again(),
        }
    }

    fn cut(&self, order: &Order) -> Result<String, String> {
        let (whom, changed) = (
            self.whom(order),
            self.lanes(order)?.iter().filter(|lane| lane.cut()).count(),
        );
        match (changed, &order.from) {
            (0, _) => Err(format!("{whom} is cut off already")),
            (_, Some(from)) => Ok(format!(
                "{} is cut off from {from}: every packet between the two is dropped, both ways",
                order.node
            )),
            (_, None) if self.is_site(&order.node) => Ok(format!(
                "every node of {whom} is cut off from the hub; they reach each other, and act under the policy that they have"
            )),
            (_, None) => Ok(format!(
                "{whom} is cut off: every packet is dropped, both ways; it acts alone under the policy that it has"
            )),
        }
    }

    fn heal(&self, order: &Order) -> Result<String, String> {
        let (whom, lanes) = (self.whom(order), self.lanes(order)?);
        let changed = lanes.iter().filter(|lane| lane.heal()).count();
        let dropped: u64 = lanes.iter().map(|lane| lane.dropped()).sum();
        match changed {
            0 => Err(format!("{whom} is not cut off")),
            _ => Ok(format!("packets of {whom} pass again; {dropped} were dropped so far")),
        }
    }

    fn fake(&self, order: &Order, which: &str, verb: &str) -> Result<String, String> {
        let node = &order.node;
        if node == "hub" {
            return Err(format!("the hub has nothing to {verb}; name a node"));
        }
        self.keeper(node)?;
        let mut told = json!({ "do": verb });
        if let Some(gpu) = order.gpu.filter(|_| which == "gpu") {
            told["gpu"] = json!(gpu);
        }
        let text = fakes::order(&self.fake_socket(node, which), &told, &self.stop)?;
        Ok(format!("{node}: {text}"))
    }

    fn keeper(&self, name: &str) -> Result<&Keeper, String> {
        match self.nodes.iter().find(|node| node.name == name) {
            Some(node) => Ok(&node.keeper),
            None if name == "hub" => Ok(&self.hub),
            None => Err(self.nobody(name)),
        }
    }

    /// Whom an order is about, for people.
    fn whom(&self, order: &Order) -> String {
        match &order.from {
            Some(from) => format!("{} towards {from}", order.node),
            None => order.node.clone(),
        }
    }

    fn is_site(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.site == name)
    }

    /// The paths that an order is about: of a node all of them, of a site or the hub those between nodes and hub.
    fn lanes(&self, order: &Order) -> Result<Vec<&Lane>, String> {
        let name = order.node.as_str();
        let of_site = |lane: &Lane| {
            self.nodes
                .iter()
                .any(|node| node.site == name && node.name == lane.node)
        };
        let is_meant = |lane: &Lane| match (order.from.as_deref(), &lane.neighbour) {
            (None, None) => name == "hub" || lane.node == name || of_site(lane),
            (None, Some(_)) => lane.touches(name),
            (Some("hub"), None) => lane.node == name || of_site(lane),
            (Some(from), Some(_)) => lane.touches(name) && lane.touches(from) && name != from,
            (Some(_), None) => false,
        };
        let lanes: Vec<&Lane> = self
            .proxy
            .lanes
            .iter()
            .map(Arc::as_ref)
            .filter(|lane| is_meant(lane))
            .collect();
        match (lanes.is_empty(), &order.from) {
            (false, _) => Ok(lanes),
            (true, Some(from)) => Err(format!(
                "there is no path between {name} and {from}; only nodes of a site have one"
            )),
            (true, None) => Err(self.nobody(name)),
        }
    }

    fn nobody(&self, name: &str) -> String {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        format!("there is no `{name}`; there are hub, {}", names.join(", "))
    }

    /// Packets of a node that were dropped so far.
    pub fn dropped(&self, name: &str) -> u64 {
        self.lanes(&Order::new(Verb::Cut, name, None))
            .map_or(0, |lanes| lanes.iter().map(|lane| lane.dropped()).sum())
    }

    /// The command line with this demo's context.
    pub fn sentinel(&self) -> &Sentinel {
        &self.sentinel
    }

    /// The state folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Whether a Kubernetes cluster runs beside it.
    pub fn has_kube(&self) -> bool {
        self.kube.is_some()
    }

    /// The nodes' names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    fn fake_socket(&self, node: &str, which: &str) -> PathBuf {
        self.folder.path().join(format!("run/{node}-{which}.sock"))
    }

    fn context_word(&self, name: &str) -> String {
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        context[name].as_str().unwrap_or_default().to_owned()
    }

    fn hub_url(&self) -> String {
        self.context_word("hub")
    }

    fn hub_ca(&self) -> String {
        self.context_word("ca_pem")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("logs/{name}.log"))
    }

    /// The console's link, and what to type in another terminal.
    pub fn say_how_to_go_on(&self, screen: &Screen) {
        let node = self.names().get(2).copied().unwrap_or("edge-01").to_owned();
        let link = self.sentinel.text("login");
        let link = link.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        screen.note("");
        screen.note(&format!(
            "  console   {}   (opens once)",
            link.unwrap_or_else(|reason| reason)
        ));
        let context = (!self.announced).then(|| self.folder.context());
        let sentinel = typed(&short(&self.programs.sentinel), context.as_deref());
        screen.note("  try, in another terminal:");
        let mut lines = Vec::new();
        if self.kube.is_some() {
            let web = kube::DEPLOYMENT;
            lines.push(format!("scale {web} 7 --reason 'more people'"));
            lines.push(format!(
                "rollout start {web} --image web:bad --first 20 --step 80 --analyse 20s --reason 'a newer image'"
            ));
            lines.push("get rollouts".to_owned());
        }
        if self.forge.is_some() {
            lines.push("get tasks".to_owned());
        }
        for line in [
            "get nodes".to_owned(),
            format!("demo cut {node}"),
            format!("demo heat {node}/gpu0"),
            format!("demo grow {node}/gpu1"),
            format!("why --last --node {node} --local"),
            format!("demo heal {node}"),
            format!("demo cut {node} --from hub"),
            "verify --wait".to_owned(),
            "get decisions --watch".to_owned(),
            format!("act {node}/gpu0 power_cap 'to=20 W' --reason 'too low'"),
        ]
        .into_iter()
        .chain(lines)
        {
            screen.note(&format!("    {sentinel} {line}"));
        }
        let state = self.folder.path().display();
        screen.note(&match self.folder.is_kept() {
            true => format!("  stop      Ctrl-C; the state stays in {state}"),
            false => {
                format!("  stop      Ctrl-C; the state in {state} is removed (--keep keeps it)")
            }
        });
    }

    /// Stops the agents, then the hub, then removes what is temporary.
    pub fn end(&self, screen: &Screen, stop: &Stop) {
        screen.happened("stopping", "agents first, then the hub");
        std::thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| {
                    node.keeper.end(|| stop.hurry());
                    // A workload outlives an agent that could not stop it.
                    fakes::kill(&self.fake_socket(&node.name, "workload"));
                });
            }
        });
        if let Some(kube) = &self.kube {
            kube.end(|| stop.hurry());
        }
        if let Some(forge) = &self.forge {
            forge.end(|| stop.hurry());
        }
        self.hub.end(|| stop.hurry());
        self.folder.close();
        screen.happened(
            "stopped",
            match self.folder.is_kept() {
                true => "everything; the state is kept",
                false => "everything; the temporary state is removed",
            },
        );
    }
}
