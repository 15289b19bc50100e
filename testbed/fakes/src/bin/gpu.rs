//! `sentinel-fake-gpu --gpus N --control SOCKET`: plays GPUs behind the agent's probe pipe, and says that it does.
//!
//! Speaks `wire::probe` on standard input and output. Faults come over the control socket: `heat`, `grow`, `cool`, `hang`, `unhang`,
//! `fall-off-bus`, `return-to-bus`, `refuse-cap`, `accept-cap`, `status`. Temperatures, caps and faults outlive the process, as real
//! ones do: they are kept in `SOCKET.state`. A hang ends with the process, unless it is `sticky`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use testbed_fakes::control::{self, Order};
use testbed_fakes::gpu::{Gpu, MAX_CAP_MW};
use wire::codec;
use wire::probe::{self, Answer, Ask, Reply, Request};

fn main() {
    let (gpus, socket) = match arguments() {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}; usage: sentinel-fake-gpu --gpus N --control SOCKET");
            std::process::exit(2);
        }
    };
    control::end_with_parent();
    let machine = Arc::new(Machine::load(gpus, &socket));
    let obeyed = machine.clone();
    std::thread::spawn(move || {
        if let Err(error) = control::serve(&socket, |order| obeyed.obey(order)) {
            eprintln!("no control socket at {}: {error}", socket.display());
        }
    });
    if let Err(error) = machine.converse(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        eprintln!("the pipe ended: {error}");
    }
}

fn arguments() -> Result<(u32, PathBuf), String> {
    let (mut gpus, mut socket) = (2, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--gpus" => {
                gpus = value
                    .parse()
                    .ok()
                    .filter(|count| *count <= 64)
                    .ok_or_else(|| format!("--gpus {value} is not a number up to 64"))?;
            }
            "--control" => socket = Some(PathBuf::from(value)),
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok((gpus, socket.ok_or("--control is missing")?))
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    gpus: Vec<Gpu>,
    hung: bool,
    sticky: bool,
    /// When the GPUs were last stepped, milliseconds since 1970.
    at_ms: u64,
}

struct Machine {
    state: Mutex<State>,
    moved: Condvar,
    file: PathBuf,
}

impl Machine {
    fn load(count: u32, socket: &Path) -> Self {
        let mut file = socket.as_os_str().to_owned();
        file.push(".state");
        let file = PathBuf::from(file);
        let kept = std::fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok())
            .filter(|state| state.gpus.len() == count as usize);
        let mut state = kept.unwrap_or_else(|| State {
            gpus: (0..count).map(Gpu::new).collect(),
            hung: false,
            sticky: false,
            at_ms: now_ms(),
        });
        state.hung = state.sticky;
        Self {
            state: Mutex::new(state),
            moved: Condvar::new(),
            file,
        }
    }

    /// The state as of now: time passes for the GPUs whether anyone looks or not, in small steps, at most ten minutes of them.
    fn now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = now_ms();
        let passed = now.saturating_sub(state.at_ms).min(600_000);
        state.at_ms = now;
        for gpu in &mut state.gpus {
            for _ in 0..passed / 50 {
                gpu.step(0.05);
            }
            gpu.step((passed % 50) as f64 / 1_000.0);
        }
        state
    }

    fn keep(&self, state: &State) {
        let fresh = self.file.with_extension("new");
        let kept = serde_json::to_vec(state)
            .map_err(io::Error::from)
            .and_then(|bytes| std::fs::write(&fresh, bytes))
            .and_then(|()| std::fs::rename(&fresh, &self.file));
        if let Err(error) = kept {
            eprintln!("cannot keep {}: {error}", self.file.display());
        }
    }

    fn obey(&self, order: &Order) -> Result<String, String> {
        let mut state = self.now();
        if let Some(gpu) = order.gpu
            && gpu as usize >= state.gpus.len()
        {
            return Err(format!("there is no gpu{gpu}, there are {}", state.gpus.len()));
        }
        let chosen = |index: usize| order.gpu.is_none_or(|gpu| gpu as usize == index);
        let each = |state: &mut State, change: fn(&mut Gpu)| {
            state
                .gpus
                .iter_mut()
                .enumerate()
                .filter(|(index, _)| chosen(*index))
                .for_each(|(_, gpu)| change(gpu));
        };
        match order.verb.as_str() {
            "heat" => each(&mut state, |gpu| gpu.faults.hot = true),
            "grow" => each(&mut state, |gpu| gpu.faults.growing_s = Some(0.0)),
            "cool" => each(&mut state, |gpu| (gpu.faults.hot, gpu.faults.growing_s) = (false, None)),
            "fall-off-bus" => each(&mut state, |gpu| gpu.faults.lost = true),
            "return-to-bus" => each(&mut state, |gpu| gpu.faults.lost = false),
            "refuse-cap" => each(&mut state, |gpu| gpu.faults.refuses_cap = true),
            "accept-cap" => each(&mut state, |gpu| gpu.faults.refuses_cap = false),
            "hang" => (state.hung, state.sticky) = (true, order.sticky),
            "unhang" => (state.hung, state.sticky) = (false, false),
            "status" => {}
            other => {
                return Err(format!(
                    "`{other}` is unknown: heat, grow, cool, hang, unhang, fall-off-bus, return-to-bus, refuse-cap, accept-cap or status"
                ));
            }
        }
        self.moved.notify_all();
        self.keep(&state);
        Ok(format!("{} done (simulated); {}", order.verb, describe(&state)))
    }

    /// Answers requests until the pipe closes. While it hangs it answers nothing, as a call into a hung driver would.
    fn converse(&self, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
        let mut header = [0; 4];
        loop {
            match input.read_exact(&mut header) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                result => result?,
            }
            let length = probe::message_length(header).map_err(io::Error::other)?;
            let mut body = vec![0; length];
            input.read_exact(&mut body)?;
            let request: Request = codec::decode(&body).map_err(io::Error::other)?;
            let reply = {
                let mut state = self.now();
                while state.hung {
                    state = self
                        .moved
                        .wait(state)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                drop(state);
                let mut state = self.now();
                let reply = reply(&mut state.gpus, &request.ask);
                self.keep(&state);
                reply
            };
            let number = request.number;
            output.write_all(&probe::encode_message(&Answer { number, reply }))?;
            output.flush()?;
        }
    }
}

fn reply(gpus: &mut [Gpu], ask: &Ask) -> Reply {
    let mut set = |index: u32, milliwatts: u32| {
        let result = gpus
            .get_mut(index as usize)
            .ok_or_else(|| format!("there is no gpu{index}"))
            .and_then(|gpu| gpu.set_cap(milliwatts));
        match result {
            Ok((before, after)) => Reply::PowerCap { before, after },
            Err(reason) => Reply::Failed { reason },
        }
    };
    match ask {
        Ask::Hello => Reply::Hello {
            // Version 1 on purpose: it shows that an agent gets along with a probe that is older than itself.
            version: probe::OLDEST,
            driver: "simulated GPUs".to_owned(),
            simulated: true,
            gpus: gpus.iter().map(Gpu::info).collect(),
        },
        Ask::Read => Reply::Read(gpus.iter().map(Gpu::read).collect()),
        Ask::SetPowerCap { gpu, milliwatts } => set(*gpu, *milliwatts),
        Ask::ResetPowerCap { gpu } => set(*gpu, MAX_CAP_MW),
        Ask::Describe | Ask::Measure { .. } | Ask::Write { .. } | Ask::Clients { .. } => Reply::Failed {
            reason: "this probe speaks version 1 of the protocol".to_owned(),
        },
    }
}

fn describe(state: &State) -> String {
    let mut words = Vec::new();
    for (index, gpu) in state.gpus.iter().enumerate() {
        words.push(match gpu.read() {
            Ok(values) => format!(
                "gpu{index} {:.1} °C {} W of {} W",
                values.temperature_mc.unwrap_or_default() as f64 / 1_000.0,
                values.power_mw.unwrap_or_default() / 1_000,
                values.power_cap_mw.unwrap_or_default() / 1_000
            ),
            Err(_) => format!("gpu{index} lost"),
        });
    }
    if state.hung {
        words.push("hung".to_owned());
    }
    words.join(", ")
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |span| span.as_millis() as u64)
}
