//! The probe as a process, against a library that speaks NVML's C ABI: what it reads, what it sets, and what each fault becomes.

use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nvidia_ml_fake::scenario::{self, Event, Fault, Gpu, Machine, Model, Startup};
use wire::probe::{self, Answer, Ask, GpuEvent, GpuEventKind, GpuReport, GpuState, Reply, Request, Write};
use wire::{Quantity, codec};

const PATIENCE: Duration = Duration::from_secs(20);

/// The library lies beside this test program: cargo built it as a dependency.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let path = test.with_file_name("libnvidia_ml_fake.so");
    assert!(path.is_file(), "{}", path.display());
    path
}

struct Running {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    number: u64,
    machine: Machine,
    folder: tempfile::TempDir,
}

impl Running {
    fn start(machine: Machine) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        machine.write(&folder.path().join("machine.json")).expect("written");
        let (child, input, output) = spawn(&folder);
        Self {
            child,
            input,
            output,
            number: 0,
            machine,
            folder,
        }
    }

    /// The machine goes on while the process is another.
    fn restart(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        (self.child, self.input, self.output) = spawn(&self.folder);
    }

    fn change(&mut self, what: impl FnOnce(&mut Machine)) {
        what(&mut self.machine);
        self.machine
            .write(&self.folder.path().join("machine.json"))
            .expect("written");
    }

    fn send(&mut self, ask: Ask) {
        self.number += 1;
        let number = self.number;
        let bytes = probe::encode_message(&Request { number, ask });
        self.input.write_all(&bytes).expect("its pipe is open");
    }

    fn receive(&mut self) -> Option<Reply> {
        let mut header = [0; 4];
        self.output.read_exact(&mut header).ok()?;
        let mut body = vec![0; probe::message_length(header).expect("within the bound")];
        self.output.read_exact(&mut body).ok()?;
        let answer: Answer = codec::decode(&body).expect("an answer");
        assert_eq!(answer.number, self.number);
        Some(answer.reply)
    }

    fn ask(&mut self, ask: Ask) -> Reply {
        self.send(ask);
        self.receive().expect("it answers")
    }

    fn measure(&mut self, patience_ms: u32) -> (Vec<GpuReport>, Vec<GpuEvent>) {
        match self.ask(Ask::Measure { patience_ms }) {
            Reply::Measured { gpus, events } => (gpus, events),
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, uuid: &str, write: Write) -> Reply {
        let uuid = uuid.to_owned();
        self.ask(Ask::Write { uuid, write })
    }

    fn until(&mut self, what: &str, mut found: impl FnMut(&[GpuReport], &[GpuEvent]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (gpus, events) = self.measure(100);
            if found(&gpus, &events) {
                return;
            }
            assert!(Instant::now() < deadline, "not in time: {what}: {gpus:?} {events:?}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(folder: &tempfile::TempDir) -> (Child, ChildStdin, ChildStdout) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sentinel-gpu-probe"))
        .arg("--library")
        .arg(library())
        .env(scenario::VARIABLE, folder.path().join("machine.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let input = child.stdin.take().expect("a pipe");
    let output = child.stdout.take().expect("a pipe");
    (child, input, output)
}

fn gpu(name: &str, model: Model) -> Gpu {
    Gpu {
        model,
        uuid: format!("GPU-{name}"),
        ..Gpu::default()
    }
}

/// Two GPUs, of which the second is busy.
fn two() -> Machine {
    Machine {
        gpus: vec![
            gpu("a", Model::L40s),
            Gpu {
                used_percent: 90,
                temperature_c: 77,
                pci_bus: 0x65,
                processes: vec![17, 18],
                ecc_corrected: 3,
                ..gpu("b", Model::H100)
            },
        ],
        ..Machine::default()
    }
}

fn value(report: &GpuReport, quantity: Quantity) -> Option<i64> {
    let found = report.values.iter().find(|(number, _)| *number == quantity as u16);
    found.and_then(|(_, value)| *value)
}

fn has(report: &GpuReport, quantity: Quantity) -> bool {
    report.values.iter().any(|(number, _)| *number == quantity as u16)
}

#[test]
fn two_gpus_are_named_and_read_through_the_c_abi() {
    let mut probe = Running::start(two());
    match probe.ask(Ask::Hello) {
        Reply::Hello {
            version: probe::VERSION,
            simulated: false,
            driver,
            gpus,
        } => {
            assert_eq!(driver, "NVIDIA driver 570.86.15");
            assert_eq!(gpus[1].uuid, "GPU-b");
            assert_eq!(gpus[1].model, "NVIDIA H100 80GB HBM3");
            assert_eq!((gpus[1].min_power_cap_mw, gpus[1].max_power_cap_mw), (200_000, 700_000));
        }
        other => panic!("{other:?}"),
    }
    match probe.ask(Ask::Describe) {
        Reply::Described(details) => {
            assert_eq!(details[1].pci, "0000:65:00");
            assert_eq!(details[0].max_clock_mhz, Some(2_520));
        }
        other => panic!("{other:?}"),
    }
    match probe.ask(Ask::Clients { patience_ms: 2_000 }) {
        Reply::Clients(clients) => {
            let pids: Vec<_> = clients
                .iter()
                .map(|gpu| (gpu.uuid.as_str(), gpu.pids.as_slice()))
                .collect();
            assert_eq!(pids, [("GPU-a", &[][..]), ("GPU-b", &[17, 18][..])]);
        }
        other => panic!("{other:?}"),
    }
    let (gpus, _) = probe.measure(2_000);
    let busy = &gpus[1];
    for (quantity, expected) in [
        (Quantity::GpuTemperature, 77_000),
        (Quantity::GpuMemoryTemperature, 82_000),
        (Quantity::GpuTemperatureSlowdownMargin, -2_000),
        (Quantity::GpuUsed, 9_000),
        (Quantity::GpuPower, 637_000),
        (Quantity::GpuPowerCap, 700_000),
        (Quantity::GpuPowerEnforced, 700_000),
        (Quantity::GpuMemoryTotal, 81_559 << 20),
        (Quantity::GpuClock, 1_980),
        (Quantity::GpuEccCorrected, 3),
        (Quantity::GpuEccUncorrected, 0),
        (Quantity::GpuRowRemapPending, 0),
        (Quantity::GpuPcieWidth, 16),
        (Quantity::GpuPcieSent, 90 * 1_000 * 1_024),
        (Quantity::GpuNvlinks, 18),
        (Quantity::GpuNvlinkErrors, 0),
        (Quantity::GpuProcesses, 2),
        (Quantity::GpuMig, 0),
        (Quantity::GpuPersistence, 1),
    ] {
        assert_eq!(value(busy, quantity), Some(expected), "{quantity}");
    }
}

#[test]
fn what_a_model_does_not_support_is_absent_and_never_0() {
    let mut probe = Running::start(Machine {
        gpus: vec![gpu("game", Model::Rtx3080), gpu("server", Model::L40s)],
        ..Machine::default()
    });
    for _ in 0..2 {
        let (gpus, _) = probe.measure(2_000);
        for absent in [
            Quantity::GpuEccCorrected,
            Quantity::GpuRowRemapPending,
            Quantity::GpuMig,
            Quantity::GpuNvlinkErrors,
            Quantity::GpuMemoryTemperature,
            Quantity::GpuRecoveryAction,
        ] {
            assert!(!has(&gpus[0], absent), "{absent}");
        }
        assert_eq!(value(&gpus[0], Quantity::GpuTemperatureSlowdown), Some(95_000));
        assert_eq!(value(&gpus[0], Quantity::GpuFan), Some(3_000));
        assert!(!has(&gpus[1], Quantity::GpuFan), "a passive card has no fan");
    }
}

#[test]
fn each_write_stays_in_the_range_of_the_device_and_is_read_back() {
    let mut probe = Running::start(two());
    let written = |before, after| Reply::Written {
        before: Some(before),
        after: Some(after),
    };
    let cap = Write::PowerCap { milliwatts: 220_000 };
    assert_eq!(probe.write("GPU-a", cap), written(350_000, 220_000));
    assert_eq!(probe.write("GPU-a", cap), written(220_000, 220_000), "twice is once");
    probe.restart();
    assert_eq!(value(&probe.measure(2_000).0[0], Quantity::GpuPowerCap), Some(220_000));
    assert_eq!(probe.write("GPU-a", Write::ResetPowerCap), written(220_000, 350_000));
    let lock = Write::ClockLock {
        min_mhz: 210,
        max_mhz: 1_200,
    };
    assert_eq!(probe.write("GPU-b", lock), written(1_980, 1_200));
    assert_eq!(probe.write("GPU-b", Write::ResetClockLock), written(1_200, 1_980));
    assert_eq!(probe.write("GPU-b", Write::Persistence { on: false }), written(1, 0));
    // As version 1 asks.
    let asked = probe.ask(Ask::SetPowerCap {
        gpu: 1,
        milliwatts: 500_000,
    });
    assert_eq!(
        asked,
        Reply::PowerCap {
            before: 700_000,
            after: 500_000
        }
    );
    for (uuid, write, part) in [
        ("GPU-a", Write::PowerCap { milliwatts: 99_999 }, "100000 to 350000 mW"),
        (
            "GPU-a",
            Write::ClockLock {
                min_mhz: 210,
                max_mhz: 9_000,
            },
            "up to 2520 MHz",
        ),
        ("GPU-c", cap, "there is no GPU GPU-c"),
    ] {
        match probe.write(uuid, write) {
            Reply::Failed { reason } => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_limit_that_is_accepted_and_not_applied_shows_in_what_is_read_back() {
    let mut machine = two();
    machine.gpus[0].fault = Some(Fault::StuckLimit);
    machine.gpus[1].fault = Some(Fault::NoPermission);
    let mut probe = Running::start(machine);
    let cap = Write::PowerCap { milliwatts: 220_000 };
    assert_eq!(
        probe.write("GPU-a", cap),
        Reply::Written {
            before: Some(350_000),
            after: Some(350_000)
        }
    );
    match probe.write("GPU-b", cap) {
        Reply::Failed { reason } => assert!(reason.contains("needs root"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(probe.measure(2_000).0[1].state, GpuState::Answers, "it can be read");
}

#[test]
fn a_fault_of_one_gpu_hides_no_neighbour() {
    let mut probe = Running::start(two());
    assert_eq!(probe.measure(2_000).0[0].state, GpuState::Answers);
    for (fault, expected) in [
        (Fault::Lost, GpuState::Lost),
        (Fault::ResetRequired, GpuState::ResetRequired),
    ] {
        probe.change(|machine| machine.gpus[0].fault = Some(fault));
        let (gpus, _) = probe.measure(2_000);
        assert_eq!((&gpus[0].state, gpus[0].values.len()), (&expected, 0));
        assert_eq!(gpus[0].uuid, "GPU-a");
        assert_eq!(value(&gpus[1], Quantity::GpuTemperature), Some(77_000));
    }
}

#[test]
fn a_hang_of_one_gpu_costs_its_own_values_and_nobody_waits_twice() {
    let mut probe = Running::start(two());
    assert_eq!(probe.measure(2_000).0[0].state, GpuState::Answers);
    probe.change(|machine| machine.gpus[0].fault = Some(Fault::Hang));
    let hung = |gpus: &[GpuReport]| {
        let is_hung = matches!(gpus[0].state, GpuState::Hung { .. });
        assert_eq!(gpus[1].state, GpuState::Answers);
        is_hung
    };
    probe.until("the first GPU hangs", |gpus, _| hung(gpus));
    match probe.write("GPU-a", Write::ResetPowerCap) {
        Reply::Failed { reason } => assert!(reason.contains("has not returned"), "{reason}"),
        other => panic!("{other:?}"),
    }
    // The second look does not wait at all for a call that is under way.
    let began = Instant::now();
    assert!(hung(&probe.measure(19_000).0));
    assert!(began.elapsed() < Duration::from_secs(10));
    probe.change(|machine| machine.gpus[0].fault = None);
    probe.until("it answers again", |gpus, _| gpus[0].state == GpuState::Answers);
}

#[test]
fn a_gpu_that_cannot_be_opened_keeps_its_place() {
    let mut machine = two();
    machine.gpus[0].fault = Some(Fault::Lost);
    let mut probe = Running::start(machine);
    match probe.ask(Ask::Hello) {
        Reply::Hello { gpus, .. } => {
            assert_eq!(gpus[0].uuid, "unreadable-0");
            assert_eq!(gpus[1].uuid, "GPU-b");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(probe.measure(2_000).0[0].state, GpuState::Lost);
}

#[test]
fn a_storm_of_corrected_errors_still_has_values() {
    let mut machine = two();
    machine.gpus[0].fault = Some(Fault::EccStorm);
    machine.gpus[0].storm_delay_ms = 20;
    machine.gpus[0].ecc_corrected = 17_700;
    let mut probe = Running::start(machine);
    probe.until("a round is whole", |gpus, _| {
        value(&gpus[0], Quantity::GpuEccCorrected) == Some(17_700)
    });
}

#[test]
fn a_frozen_sensor_is_told_as_it_reads() {
    let mut machine = two();
    machine.gpus[0].fault = Some(Fault::FrozenPower);
    let mut probe = Running::start(machine);
    // Whether 700 W on a card of 350 W can be is for the agent's profile to say.
    assert_eq!(value(&probe.measure(2_000).0[0], Quantity::GpuPower), Some(700_000));
}

#[test]
fn events_of_the_driver_come_with_the_next_measure() {
    let mut probe = Running::start(two());
    assert_eq!(probe.measure(2_000).1, []);
    probe.change(|machine| {
        machine.gpus[1].recovery_action = Some(1);
        let event = |gpu, xid| Event { gpu, xid };
        machine.events = vec![event(0, Some(79)), event(1, None)];
    });
    let mut seen = Vec::new();
    probe.until("both events", |_, events| {
        seen.extend_from_slice(events);
        seen.len() == 2
    });
    let event = |name: &str, what| GpuEvent {
        uuid: name.to_owned(),
        what,
    };
    assert_eq!(
        seen,
        [
            event("GPU-a", GpuEventKind::Xid(79)),
            event("GPU-b", GpuEventKind::RecoveryAction)
        ]
    );
}

#[test]
fn a_driver_that_does_not_start_says_why() {
    for (init, part) in [
        (Startup::DriverNotLoaded, "driver is not loaded"),
        (Startup::VersionMismatch, "version mismatch"),
        (Startup::NoPermission, "does not have permission"),
    ] {
        let mut probe = Running::start(Machine { init, ..two() });
        match probe.ask(Ask::Hello) {
            Reply::Failed { reason } => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
        // A driver that comes up later is found by the same process.
        probe.change(|machine| machine.init = Startup::Ok);
        assert!(matches!(probe.ask(Ask::Hello), Reply::Hello { .. }));
    }
}

#[test]
fn a_crash_inside_the_driver_ends_the_process_and_nothing_else() {
    let mut probe = Running::start(two());
    assert_eq!(probe.measure(2_000).0[0].state, GpuState::Answers);
    probe.change(|machine| machine.gpus[0].fault = Some(Fault::Crash));
    probe.send(Ask::Measure { patience_ms: 2_000 });
    assert_eq!(probe.receive(), None, "its pipe ended");
}
