//! `sentinel-gpu-probe [--library FILE]`: NVML behind the agent's pipe, in a process that may hang or die without harm.
//!
//! Answers `wire::probe` on standard input and output until the pipe closes. It decides nothing: it reads what the driver tells,
//! and sets what the allow-list of `wire::probe::Write` names, within the range that the device itself names.
//!
//! Invariant: one answer for each request, in order; a GPU that hangs costs its own values and no neighbour's.
//! Read next: `devices.rs` (a thread for each GPU), `measure.rs` (what is read), `write.rs` (what may be set).

mod devices;
mod events;
mod fields;
mod measure;
mod write;

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::Duration;

use nvml_wrapper::Nvml;
use wire::codec;
use wire::probe::{self, Answer, Ask, Reply, Request};

use devices::Devices;
use events::Events;

/// For how long version 1 of the protocol waits for a GPU, whose deadline the asker does not tell: half of the agent's usual second.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let library = match arguments() {
        Ok(library) => library,
        Err(reason) => {
            eprintln!("sentinel-gpu-probe: {reason}; usage: sentinel-gpu-probe [--library FILE]");
            return ExitCode::from(2);
        }
    };
    match converse(Probe::new(library), &mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-gpu-probe: the pipe broke: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Option<OsString>, String> {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        None => Ok(None),
        Some(word) if word == "--library" => match words.next() {
            Some(path) => Ok(Some(path)),
            None => Err("--library needs a file".to_owned()),
        },
        Some(word) => Err(format!("`{}` is unknown", word.display())),
    }
}

/// Answers requests until the pipe closes.
fn converse(mut probe: Probe, input: &mut impl Read, output: &mut impl io::Write) -> io::Result<()> {
    let mut header = [0; 4];
    loop {
        match input.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let length = probe::message_length(header).map_err(io::Error::other)?;
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        let Request { number, ask } = codec::decode(&body).map_err(io::Error::other)?;
        let reply = probe.answer(&ask);
        output.write_all(&probe::encode_message(&Answer { number, reply }))?;
        output.flush()?;
    }
}

/// The driver, once it could be opened.
struct Probe {
    library: Option<OsString>,
    driver: Option<Driver>,
}

struct Driver {
    name: String,
    devices: Devices,
    events: Events,
}

impl Probe {
    const fn new(library: Option<OsString>) -> Self {
        Self { library, driver: None }
    }

    fn answer(&mut self, ask: &Ask) -> Reply {
        match self.try_answer(ask) {
            Ok(reply) => reply,
            Err(reason) => Reply::Failed { reason },
        }
    }

    fn try_answer(&mut self, ask: &Ask) -> Result<Reply, String> {
        let driver = match &mut self.driver {
            Some(driver) => driver,
            none => none.insert(Driver::open(self.library.as_ref())?),
        };
        Ok(match ask {
            Ask::Hello => Reply::Hello {
                version: probe::VERSION,
                driver: driver.name.clone(),
                simulated: false,
                gpus: driver.devices.infos(),
            },
            Ask::Describe => Reply::Described(driver.devices.details()),
            Ask::Read => Reply::Read(driver.devices.read(PATIENCE)),
            Ask::Measure { patience_ms } => Reply::Measured {
                gpus: driver.devices.measure(Duration::from_millis((*patience_ms).into())),
                events: driver.events.take(),
            },
            Ask::SetPowerCap { gpu, milliwatts } => {
                let milliwatts = *milliwatts;
                driver.cap(*gpu, probe::Write::PowerCap { milliwatts })?
            }
            Ask::ResetPowerCap { gpu } => driver.cap(*gpu, probe::Write::ResetPowerCap)?,
            Ask::Clients { patience_ms } => {
                Reply::Clients(driver.devices.clients(Duration::from_millis((*patience_ms).into())))
            }
            Ask::Write { uuid, write } => {
                let written = driver.devices.write(uuid, *write, PATIENCE)?;
                Reply::Written {
                    before: written.before,
                    after: written.after,
                }
            }
        })
    }
}

impl Driver {
    /// Opens the library and finds the GPUs. The library stays open as long as the process lives.
    fn open(library: Option<&OsString>) -> Result<Self, String> {
        let mut builder = Nvml::builder();
        if let Some(path) = library {
            builder.lib_path(path);
        }
        let nvml = builder
            .init()
            .map_err(|error| format!("NVML does not start: {error}"))?;
        // Threads hold devices for ever, and one of them may be stuck in the driver when the process ends.
        let nvml: &'static Nvml = Box::leak(Box::new(nvml));
        let version = nvml.sys_driver_version().unwrap_or_else(|_| "unknown".to_owned());
        let devices = Devices::find(nvml)?;
        let events = Events::listen(nvml, &devices);
        Ok(Self {
            name: format!("NVIDIA driver {version}"),
            devices,
            events,
        })
    }

    /// A power limit as version 1 asks for it.
    fn cap(&self, gpu: u32, write: probe::Write) -> Result<Reply, String> {
        let uuid = self.devices.uuid(gpu).ok_or_else(|| format!("there is no gpu{gpu}"))?;
        let written = self.devices.write(&uuid, write, PATIENCE)?;
        let number = |value: Option<i64>, when| {
            value
                .and_then(|value| u32::try_from(value).ok())
                .ok_or_else(|| format!("gpu{gpu} does not tell its power limit {when}"))
        };
        Ok(Reply::PowerCap {
            before: number(written.before, "before it was set")?,
            after: number(written.after, "after it was set")?,
        })
    }
}
