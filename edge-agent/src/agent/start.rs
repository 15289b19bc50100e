//! Builds everything that the turn loop needs, in the order in which it depends on each other, and takes it down again.
//!
//! The sampler comes first: reading a machine touches nothing of it, and its first round is there while a slow disk still opens the journal.
//! Nothing else is touched before the journal is open: without its lock another agent may be at work here.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use edge_agent_core::{Agent, Input, LinkState, Settings};
use tokio::sync::mpsc;
use wire::frame::DeviceInfo;
use wire::{AgentId, DeviceId, Wall};
use wire_transport::CertificateClock;

use super::owner::Owner;
use super::{ASKS, COMPLETIONS, Ears, INPUTS, RunError, Shell, Signals};
use crate::actuators::Actuators;
use crate::actuators::throttle::Shares;
use crate::carried::{self, Pinned};
use crate::ceilings::Ceilings;
use crate::clock;
use crate::config::Config;
use crate::faults::Faults;
use crate::faults::log::KernelLog;
use crate::identity::Identity;
use crate::journal::{Journal, Opened};
use crate::link::{Link, LinkSettings};
use crate::local_api::{self, LocalApi, Snapshot};
use crate::peers::Peers;
use crate::probe::Probe;
use crate::sampler::{LateProbe, Sampler};
use crate::sensors::process::WatchList;
use crate::service::Service;
use crate::supervisor::Supervisor;
use crate::telemetry::otlp;
use crate::units::Units;
use crate::watch::Watch;

/// What is not part of a turn, and is taken down at the end.
pub struct House {
    sampler: Sampler,
    kernel_log: KernelLog,
    supervisor: Supervisor,
    units: Units,
    api: LocalApi,
}

/// Builds the agent, and says on standard output where it answers.
pub async fn start(config: &Config) -> Result<(Shell, Ears, House), RunError> {
    let system = |what| move |cause| RunError::System { what, cause };
    let profiles = config.catalogue()?;
    let signals = Signals::listen().map_err(system("listen for signals"))?;
    let (watch, died) = Watch::new();
    let (done_sender, done) = mpsc::channel(COMPLETIONS);
    let (input_sender, inputs) = mpsc::channel(INPUTS);
    let (ask_sender, asks) = mpsc::channel(ASKS);
    // A node gets one name at a time.
    let (renamed_sender, renamed) = mpsc::channel(1);
    let (late_probe, watched) = (LateProbe::default(), WatchList::default());
    let sampler = Sampler::start(
        config.sample_every,
        late_probe.clone(),
        watched.clone(),
        input_sender.clone(),
        &watch,
    )
    .map_err(system("start the sampler"))?;
    let Opened {
        journal,
        mut recovered,
        clock,
    } = Journal::open(&config.state_dir, config.journal_limit, done_sender)?;
    let wall_floor = clock.floor();
    let identity = Identity::load(&config.state_dir)?;
    let seed = random();
    let settings = Settings {
        profiles: profiles.clone(),
        ..settings(config, identity.as_ref(), wall_floor, seed)
    };
    let (agent, site) = (settings.agent.clone(), site_of(identity.as_ref()).to_owned());
    let labels = settings.labels.iter().cloned().collect();
    let trust_domain = settings.trust_domain.clone();
    let (former, owner) = Owner::read(&config.state_dir, &agent);
    if let Some(former) = former.filter(|_| recovered.damage.is_none()) {
        recovered.damage = Some(format!("renamed from {former}"));
    }
    tracing::info!(%agent, damage = recovered.damage, joined = identity.is_some(), "agent starts");
    let named = config.bundle.as_deref().map(carried::read).transpose()?;
    let lies_at = carried::waiting(&config.state_dir);
    let waiting = lies_at.as_deref().map(carried::read).transpose()?;
    let core = Agent::new(settings, recovered, clock.now());

    let workloads = config.workloads();
    let names = workloads.iter().map(|workload| workload.device.name());
    let shares = Arc::new(Shares::prepare(&agent, names));
    let others = devices(config);
    let supervisor = Supervisor::start(
        &config.state_dir.join("workloads"),
        workloads,
        (shares.clone(), watched.clone()),
        input_sender.clone(),
        &watch,
    )
    .map_err(system("start the supervisor"))?;
    let units = Units::start(config.units(), watched.clone(), input_sender.clone(), &watch)
        .map_err(system("start the thread that watches units"))?;
    let faults = Faults::new(input_sender.clone());
    let kernel_log = KernelLog::start(
        config.kernel_log.clone(),
        config.state_dir.join("kernel-log"),
        faults.clone(),
        &watch,
    )
    .map_err(system("start the kernel log's thread"))?;
    let probe = config
        .probe()
        .map_err(system("prepare the GPU probe"))?
        .map(|settings| {
            Probe::start(
                settings,
                others.clone(),
                input_sender.clone(),
                (faults.clone(), watched, &watch),
            )
        })
        .transpose()
        .map_err(system("start the GPU probe's thread"))?;
    if let Some(probe) = probe.clone() {
        // Set once, here.
        let _ = late_probe.set(probe);
    }
    let actuators = Actuators::new(
        (probe, profiles.clone()),
        (config.hooks.clone(), &config.state_dir),
        supervisor.orders(),
        shares,
        config.units(),
        input_sender.clone(),
    );
    let link = identity.map(|identity| {
        let timing = wire_transport::Timing {
            idle: config.silence,
            keep_alive: config.silence / 3,
            ..wire_transport::Timing::default()
        };
        let clock = CertificateClock::new(wall_floor.max(identity.certificate_issued()));
        let mesh = config.mesh.clone();
        let peers = mesh.map(|mesh| {
            let place = (clock.clone(), config.state_dir.as_path());
            Peers::start(mesh, &identity, place, timing, input_sender.clone(), &watch)
        });
        let settings = LinkSettings {
            state_dir: config.state_dir.clone(),
            hub: config.hub.clone(),
            timing,
            seed,
            peers: peers.transpose()?,
            renamed: renamed_sender.clone(),
        };
        Ok(Link::start(identity, clock, settings, input_sender, &watch))
    });
    let link = link
        .transpose()
        .map_err(system("listen for neighbours at `mesh.listen`"))?;

    let now = clock.now();
    let first = Snapshot {
        status: core.status(now),
        connected: matches!(core.link_state(now), LinkState::Up { .. }),
        since: None,
        hub_epoch: core.hub_epoch(),
        backlog_entries: core.backlog_entries(),
        acked: core.acked(),
        bundle: None,
        roles: core.roles().into(),
        clock_error: core.clock_error(now),
        unhealthy: core.unhealthy().map(str::to_owned),
        findings: core.findings(),
        path: core.path(),
        isolation: core.isolation(),
        neighbours: core.neighbours().into(),
        waits_for_turn: core.waits_for_turn(),
        glass: core.glass(now),
        users: core.users().clone(),
        ladder: core.ladder(now),
        disagreements: core.disagreements(),
        latest: Arc::default(),
    };
    let otlp = otlp::Settings::read(|name| std::env::var(name).ok())?.map(|settings| local_api::Export {
        settings,
        trust_domain,
        state_dir: config.state_dir.clone(),
    });
    let served = local_api::Settings {
        socket: config.socket(),
        page: config.page,
        agent: agent.clone(),
        site,
        labels,
        profiles,
        telemetry: local_api::Telemetry {
            metrics: config.metrics,
            compat: config.metrics_compat.clone(),
            otlp,
            faults,
        },
    };
    let (api, feed) = LocalApi::start(&served, first, journal.reader(), ask_sender).await?;
    say_ready(config, &api);

    let mut shell = Shell {
        core,
        config: config.clone(),
        agent,
        clock,
        pulse: sampler.pulse(),
        journal,
        link,
        actuators,
        feed,
        waiting: VecDeque::from([Input::Devices(others)]),
        appending: VecDeque::new(),
        replies: BTreeMap::new(),
        requests: 0,
        neighbours: (None, Arc::from([])),
        latest: Arc::default(),
        bundle: None,
        connected: false,
        since: None,
        stopped: false,
        damage: None,
        ceilings: Ceilings::new(config.ceilings),
        beyond: None,
        owner,
        service: Service::from_env(),
    };
    if let Some(parcel) = named {
        shell.import(parcel, None);
    }
    if let Some(parcel) = waiting {
        shell.import(parcel, lies_at);
    }
    let ears = Ears {
        inputs,
        done,
        asks,
        died,
        renamed,
        signals,
    };
    let house = House {
        sampler,
        kernel_log,
        supervisor,
        units,
        api,
    };
    Ok((shell, ears, house))
}

impl House {
    /// Takes everything down. The turn loop's ears are closed by now, so no thread waits for it.
    pub async fn end(self, shell: Shell) {
        self.sampler.stop();
        self.kernel_log.stop();
        self.units.stop();
        self.api.stop();
        if let Some(link) = shell.link {
            link.stop().await;
        }
        self.supervisor.stop();
        shell.journal.close();
        tracing::info!("stopped");
    }
}

/// Where the node stands, by its identity.
fn site_of(identity: Option<&Identity>) -> &str {
    identity.map_or("default", Identity::site)
}

fn settings(config: &Config, identity: Option<&Identity>, wall_floor: Wall, seed: u64) -> Settings {
    // Whoever joined trusts what the hub gave.
    let pinned = match identity {
        Some(_) => None,
        None => Pinned::load(&config.state_dir),
    };
    let own_domain = pinned
        .as_ref()
        .map_or(config.trust_domain.as_str(), |pinned| &pinned.trust_domain);
    let mut labels = config.labels.clone();
    labels.insert("site".to_owned(), site_of(identity).to_owned());
    let pin = config.root_pin.filter(|_| identity.is_none());
    Settings {
        agent: identity.map_or_else(
            || config.name.clone().unwrap_or_else(machine_name),
            |identity| identity.agent().clone(),
        ),
        site: site_of(identity).to_owned(),
        trust_domain: identity.map_or(own_domain, Identity::trust_domain).to_owned(),
        labels: labels.into_iter().collect(),
        policy_keys: identity.map_or_else(|| config.key_ring(), |identity| identity.policy_keys().clone()),
        root_pin: pin.or(pinned.map(|pinned| pinned.pin)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: random(),
        seed,
        journal_limit_bytes: config.journal_limit,
        block_every: config.block_every,
        append_deadline: config.append_deadline,
        climbs: config.faults.act,
        profiles: firmware_profiles::Catalogue::default(),
        certificate_ends: identity.map_or(Wall(0), Identity::certificate_ends),
        rejoins: identity.map_or(0, Identity::rejoins),
        wall_floor,
    }
}

/// A number that no other process draws.
fn random() -> u64 {
    // The kernel's source does not fail once the machine runs; a node must start even if it did.
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) ^ clock::boot_ms())
}

/// The machine's own name, as far as it is a valid one.
fn machine_name() -> AgentId {
    let name = sysinfo::System::host_name().unwrap_or_default();
    let label = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    AgentId::new(label).unwrap_or_else(|_| AgentId::new("node").expect("a constant that follows the grammar"))
}

/// The devices that are not GPUs.
fn devices(config: &Config) -> Vec<DeviceInfo> {
    let plain = |id, model| DeviceInfo {
        id,
        model,
        simulated: false,
        power_cap_range_mw: None,
    };
    let system = sysinfo::System::long_os_version().unwrap_or_else(|_| "Linux".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut found = vec![plain(
        DeviceId::node(),
        format!("{system}, {cores} cores {}", std::env::consts::ARCH),
    )];
    for workload in config.workloads() {
        let program = workload.command.first().map_or("", String::as_str);
        let model = program.rsplit('/').next().unwrap_or_default().to_owned();
        found.push(plain(workload.device, model));
    }
    found.extend(config.units().into_iter().map(|unit| plain(unit.device, unit.unit)));
    found
}

/// The one line that whoever started the agent waits for.
fn say_ready(config: &Config, api: &LocalApi) {
    let mut line = format!("ready {}", config.socket().display());
    if let Some(page) = api.page {
        line.push_str(&format!(" page http://{page}"));
    }
    if let Some(metrics) = api.metrics {
        line.push_str(&format!(" metrics http://{metrics}/metrics"));
    }
    // Nobody may be listening, which is no reason not to run.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A state folder as the first build of version 0.1.0 left it, whose marks, floor, clock and identity had other layouts: `edge-7` of
    /// a hub in `lab`, under generation 1, held by its administrator.
    const OLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/agent/older");
    const LIMIT: u64 = 64 << 20;

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("room");
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            let target = to.join(entry.file_name());
            match entry.file_type().expect("a type").is_dir() {
                true => copy(&entry.path(), &target),
                false => drop(fs::copy(entry.path(), target).expect("room")),
            }
        }
    }

    /// What an agent that starts on this folder says of itself, and the name that it has.
    fn starts(folder: &Path) -> (wire::frame::Status, Option<String>, AgentId) {
        let (done, _completions) = mpsc::channel(COMPLETIONS);
        let opened = Journal::open(folder, LIMIT, done).expect("it opens");
        let damage = opened.recovered.damage.clone();
        let identity = Identity::load(folder).expect("it is whole");
        let settings = settings(&Config::default(), identity.as_ref(), opened.clock.floor(), 1);
        let name = settings.agent.clone();
        let now = opened.clock.now();
        let status = Agent::new(settings, opened.recovered, now).status(now);
        opened.journal.close();
        (status, damage, name)
    }

    #[test]
    fn a_state_folder_of_a_former_build_is_carried_on() {
        let folder = tempfile::tempdir().expect("a folder");
        copy(Path::new(OLDER), folder.path());
        let (status, damage, name) = starts(folder.path());
        assert_eq!((damage, name.as_str()), (None, "edge-7"));
        assert_eq!((status.head.epoch.0, status.bundle.generation.0), (1, 1));
        assert_eq!(
            status.held_by.as_deref(),
            Some("administrator"),
            "whoever held it still does"
        );
        assert!(status.head.seq.0 > 1, "and its entries are there");
    }

    #[test]
    fn what_is_lost_of_it_never_makes_another_machine_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        copy(Path::new(OLDER), folder.path());
        fs::write(folder.path().join("identity/identity.bin"), "").expect("written");
        let error = Identity::load(folder.path()).map(|identity| identity.is_some());
        let found = error.map_err(|error| error.to_string());
        assert!(found != Ok(false), "{found:?}");
        fs::write(folder.path().join("identity/identity.previous"), "").expect("written");
        assert!(Identity::load(folder.path()).is_err(), "nothing whole is left");
        // A journal that is gone costs its epoch, and nothing that the floor knows.
        copy(Path::new(OLDER), folder.path());
        fs::remove_file(folder.path().join("journal.redb")).expect("there");
        let (status, damage, name) = starts(folder.path());
        assert_eq!((damage.as_deref(), name.as_str()), (Some("emptied"), "edge-7"));
        assert_eq!(status.head.epoch.0, 2);
    }
}
