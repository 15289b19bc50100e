//! Kafka: one real broker in KRaft mode, on loopback, that can be killed and started again on the same files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Cache, Process, Progress, RunFolder, ServiceError, free_port, wait_until};

const POM: &str = include_str!("../maven/kafka/pom.xml");
/// Time to be ready; 5 s are usual.
const READY: Duration = Duration::from_secs(90);
/// Any id will do: the files are this broker's alone.
const CLUSTER: &str = "c2VudGluZWwtdGVzdGJlZA";

/// Silence after which a topic's reader takes it that there is no more.
const QUIET_MS: u64 = 8_000;
/// Time for a topic's reader to see what is there.
const READ: Duration = Duration::from_secs(90);

/// One record of a topic, as Kafka's own console consumer prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: u32,
    /// `name:value` pairs with commas.
    pub headers: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A broker that runs until it is dropped.
#[derive(Debug)]
pub struct Kafka {
    class_path: String,
    port: u16,
    broker: Option<Process>,
    folder: RunFolder,
}

impl Kafka {
    /// Fetches it if need be and starts it, with topics made as they are asked for, each with three partitions. Blocks until it serves.
    pub fn start(name: &str, progress: Progress<'_>) -> Result<Self, ServiceError> {
        let jars = jars(progress)?;
        let folder = RunFolder::make(name)?;
        let port = free_port()?;
        let properties = folder.path().join("server.properties");
        let text = server_properties(folder.path(), port, free_port()?);
        std::fs::write(&properties, text).map_err(ServiceError::file("write", &properties))?;
        let mut kafka = Self {
            class_path: format!("{}/*", jars.display()),
            port,
            broker: None,
            folder,
        };
        kafka.format(&properties)?;
        kafka.restart()?;
        Ok(kafka)
    }

    /// `HOST:PORT`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the broker at once, as a power cut would; its files stay.
    pub fn kill(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.kill();
        }
    }

    /// Starts the broker on its files, if it does not run. Blocks until it serves.
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        if self.broker.is_some() {
            return Ok(());
        }
        let properties = self.folder.path().join("server.properties");
        let arguments = ["-Xmx384m", "-XX:+UseSerialGC", "-cp", &self.class_path, "kafka.Kafka"];
        let arguments = arguments
            .map(str::to_owned)
            .into_iter()
            .chain([properties.display().to_string()]);
        let started = Process::start("kafka", Path::new("java"), arguments, &[], self.folder.path())?;
        let broker = self.broker.insert(started);
        let address = (std::net::Ipv4Addr::LOCALHOST, self.port);
        wait_until("kafka", READY, || {
            broker.alive()?;
            // It listens before it serves; whoever asks then waits for the answer.
            let listens = std::net::TcpStream::connect(address);
            Ok(listens.err().map(|error| error.to_string()))
        })
    }

    /// Everything in a topic, each partition in its order, as soon as it is at least so many records. Blocks for some seconds after
    /// the last one, so that what is too many is seen too.
    pub fn records(&self, topic: &str, least: usize) -> Result<Vec<Record>, ServiceError> {
        let mut found = Vec::new();
        wait_until("the topic", READ, || {
            found = self.read(topic)?;
            let few = found.len() < least;
            Ok(few.then(|| format!("{} of {least} records", found.len())))
        })?;
        Ok(found)
    }

    fn read(&self, topic: &str) -> Result<Vec<Record>, ServiceError> {
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-cp", &self.class_path])
            .arg("org.apache.kafka.tools.consumer.ConsoleConsumer")
            .args([
                "--bootstrap-server",
                &self.brokers(),
                "--topic",
                topic,
                "--from-beginning",
            ])
            .args(["--timeout-ms", &QUIET_MS.to_string()]);
        for shown in ["partition", "headers", "key"] {
            command.args(["--formatter-property", &format!("print.{shown}=true")]);
        }
        let text = run(command, "a reader of the topic")?;
        Ok(text.lines().filter_map(record).collect())
    }

    fn format(&self, properties: &Path) -> Result<(), ServiceError> {
        let mut command = Command::new("java");
        command
            .args(["-cp", &self.class_path, "kafka.tools.StorageTool", "format"])
            .args(["-t", CLUSTER, "-c"])
            .arg(properties);
        run(command, "the broker's files").map(drop)
    }
}

/// `Partition:0 <tab> headers <tab> key <tab> value`.
fn record(line: &str) -> Option<Record> {
    let mut parts = line.strip_prefix("Partition:")?.splitn(4, '\t');
    let partition = parts.next()?.parse().ok()?;
    let mut next = || parts.next().map(str::to_owned);
    Some(Record {
        partition,
        headers: next()?,
        key: next()?,
        value: next()?,
    })
}

/// The folder with Kafka's jars.
fn jars(progress: Progress<'_>) -> Result<PathBuf, ServiceError> {
    Cache::of_this_checkout().once("kafka", &[POM], "about 20 seconds", progress, |folder| {
        let pom = folder.join("pom.xml");
        std::fs::write(&pom, POM).map_err(ServiceError::file("write", &pom))?;
        let mut command = Command::new("mvn");
        command
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .arg(format!("-DoutputDirectory={}", folder.display()))
            .current_dir(folder);
        run(command, "kafka").map(drop)
    })
}

fn run(mut command: Command, name: &str) -> Result<String, ServiceError> {
    let output = command.output().map_err(|cause| ServiceError::Run {
        program: format!("{:?}", command.get_program()),
        hint: "install a JDK 17 and Maven 3",
        cause,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(ServiceError::Make {
        name: name.to_owned(),
        output: String::from_utf8_lossy(&text).into_owned(),
    })
}

fn server_properties(folder: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\nnum.partitions=3\nauto.create.topics.enable=true\n\
         offsets.topic.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n",
        folder.join("log").display()
    )
}
