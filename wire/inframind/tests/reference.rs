//! The hub's half against the reference InfraMind: another process, another language, the same contract. Its manners are the drills of bad brains.
//!
//! The first run makes a Python environment in the target folder.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tokio::sync::mpsc;
use wire::ids::{AgentId, PlanId};
use wire::plan::{Plan, PlanOutcome, PlanState};
use wire::reading::{DeviceId, Quantity, Series};
use wire::time::Wall;
use wire_inframind::client::{Address, Client, ClientError};
use wire_inframind::{Batch, Point, Received, Taken};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/fakes/inframind")
}

/// Python with grpcio, made once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inframind-python");
        let python = venv.join("bin/python");
        let is_ready = |python: &Path| {
            let mut ask = Command::new(python);
            ask.args(["-c", "import grpc, grpc_tools"]).stderr(Stdio::null());
            ask.status().is_ok_and(|status| status.success())
        };
        if !is_ready(&python) {
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            let list = folder().join("requirements.txt");
            run(Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "-r"])
                .arg(list));
        }
        python
    })
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// The reference, in a process that ends with the test.
struct Reference {
    process: Child,
    address: Address,
    lines: Receiver<String>,
}

impl Reference {
    fn start(manner: &str) -> Self {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let mut process = Command::new(python())
            .arg(folder().join("inframind.py"))
            .args(["--listen", "127.0.0.1:0", "--manner", manner, "--proto"])
            .arg(proto)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let out = BufReader::new(process.stdout.take().expect("it is piped"));
        let (send, lines) = channel();
        // This test runs a process of its own; what is tested does not.
        #[allow(clippy::disallowed_methods)]
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let ready = lines.recv_timeout(PATIENCE).expect("it gets ready");
        let url = ready.replacen("ready ", "http://", 1);
        Self {
            process,
            address: Address { url, tls: None },
            lines,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.address, "reference").await.expect("it is there")
    }

    /// The next thing that it heard, of this kind.
    fn heard(&self, what: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("it hears it");
            if line.contains(&format!("\"heard\": \"{what}\"")) {
                return line;
            }
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn hot(id: &str) -> Batch {
    let point = Point {
        node: AgentId::new("edge-03").expect("a name"),
        series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
        at: Wall(1),
        value: Some(86_000),
        simulated: true,
    };
    Batch {
        id: id.to_owned(),
        points: vec![point],
        cursor: id.to_owned(),
        gap_before: false,
    }
}

async fn tell(client: &mut Client, id: &str) -> Result<u64, ClientError> {
    let (send, batches) = mpsc::channel(1);
    send.send(hot(id)).await.expect("there is room");
    drop(send);
    client.send(batches, "home").await
}

/// The first plan of a reference of this manner.
async fn first_plan(manner: &str) -> Result<Received, ClientError> {
    let reference = Reference::start(manner);
    let mut client = reference.client().await;
    tell(&mut client, "1").await.expect("acknowledged");
    let mut plans = client.plans("home");
    let next = tokio::time::timeout(PATIENCE, plans.next()).await.expect("it plans");
    next.map(|plan| plan.expect("a plan"))
}

#[tokio::test]
async fn the_loop_closes_over_a_process_in_another_language() {
    let reference = Reference::start("good");
    let mut client = reference.client().await;
    assert_eq!(tell(&mut client, "1").await.expect("acknowledged"), 1);
    // The same batch again is one batch.
    assert_eq!(tell(&mut client, "1").await.expect("acknowledged"), 1);
    let mut plans = client.plans("home");
    let received = plans.next().await.expect("a plan").expect("a plan");
    let draft = received.draft.expect("it reads");
    assert_eq!(draft.steps[0].to_string(), "edge-03/gpu0 power_cap to 280 W");
    let plan = Plan::new(PlanId([7; 16]), draft, Wall(1_000)).expect("a plan");
    let taken = Taken {
        plan_id: received.plan_id.clone(),
        result: Ok(plan.id),
        at: plan.created,
    };
    client.acknowledge(&taken).await.expect("acknowledged");
    assert!(reference.heard("ack").contains("\"success\": true"));

    let outcome = PlanOutcome {
        plan: plan.id,
        prediction: plan.claim.expect("a claim").prediction,
        state: PlanState::Completed,
        steps: Vec::new(),
        at: Wall(2_000),
        detail: "all 1 steps are done".to_owned(),
        censored: false,
    };
    for again in [false, true] {
        assert!(
            client
                .report("41", &received.plan_id, &outcome)
                .await
                .expect("reported")
        );
        let heard = reference.heard("outcome");
        assert!(heard.contains(&format!("\"again\": {again}")), "{heard}");
        assert!(heard.contains("edge-03/gpu0/1"), "{heard}");
    }
}

#[tokio::test]
async fn nonsense_of_a_brain_is_refused_by_its_field_and_the_stream_goes_on() {
    for (manner, part) in [("nan", "prediction.confidence"), ("unknown-verb", "`melt` is no verb")] {
        let received = first_plan(manner).await.expect("a message");
        let problem = received.draft.expect_err("it is nonsense").to_string();
        assert!(problem.contains(part), "{manner}: {problem}");
    }
    let past = first_plan("past").await.expect("a message").draft.expect("it reads");
    let now = Wall(past.not_after.expect("it says so").0 + 60_000);
    let problem = Plan::new(PlanId([7; 16]), past, now).expect_err("it is over");
    assert_eq!(problem.field, "not_after");
}

#[tokio::test]
async fn a_huge_message_ends_the_stream_and_nothing_else() {
    let reference = Reference::start("huge");
    let mut client = reference.client().await;
    tell(&mut client, "1").await.expect("acknowledged");
    let mut plans = client.plans("home");
    let error = plans.next().await.expect_err("it is too large");
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
    assert_eq!(tell(&mut client, "2").await.expect("acknowledged"), 1);
}

#[tokio::test]
async fn a_flood_waits_for_its_reader() {
    let reference = Reference::start("flood");
    let mut client = reference.client().await;
    tell(&mut client, "1").await.expect("acknowledged");
    let mut plans = client.plans("home");
    // Every plan is there when it is asked for, in order, and no sooner: what is not read waits in the brain.
    for number in 0..50 {
        let received = plans.next().await.expect("a plan").expect("a plan");
        assert_eq!(received.plan_id, format!("edge-03/gpu0/{number}"));
    }
    drop(plans);
    assert_eq!(tell(&mut client, "2").await.expect("acknowledged"), 1);
}

#[tokio::test]
async fn telemetry_that_is_refused_does_not_count_as_sent() {
    let reference = Reference::start("refuses");
    let mut client = reference.client().await;
    let error = tell(&mut client, "1").await.expect_err("it is refused");
    assert!(error.to_string().contains("no telemetry today"), "{error}");
}
