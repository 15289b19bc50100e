//! Nodes and pods out of the columns of the openb trace, and the random order in which pods come.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hub_core::placement::{DEVICE, Gpus, Health, NodeRoom, Work};

/// A cluster and the work for it.
pub struct Lists {
    pub nodes: Vec<NodeRoom>,
    pub pods: Vec<Work>,
}

/// Pods in the order in which they come, by index into the list.
pub struct Draw {
    pub seed: u64,
    pub order: Vec<usize>,
}

/// A list that comes with the benchmark.
pub fn ours(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/gpu-cluster");
    folder.join(format!("{name}.csv.zst")).display().to_string()
}

impl Lists {
    pub fn read(pods: &str, nodes: &str) -> Result<Self, String> {
        let nodes = rows(nodes, &["sn", "cpu_milli", "memory_mib", "gpu", "model"])?
            .iter()
            .map(node)
            .collect::<Result<_, _>>()?;
        let pods = rows(pods, &["cpu_milli", "memory_mib", "num_gpu", "gpu_milli"])?
            .iter()
            .map(pod)
            .collect::<Result<_, _>>()?;
        Ok(Self { nodes, pods })
    }

    /// All GPUs of the cluster, in thousandths.
    pub fn gpu_milli(&self) -> u64 {
        self.nodes.iter().map(NodeRoom::idle_milli).sum()
    }

    /// The whole list, and more drawn from it until all together ask for `percent` of the GPUs, shuffled.
    pub fn draw(&self, seed: u64, percent: u64) -> Draw {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_5EED);
        let mut order: Vec<usize> = (0..self.pods.len()).collect();
        let mut asked: u64 = self.pods.iter().map(|pod| pod.gpus.milli()).sum();
        while asked < self.gpu_milli() * percent / 100 && self.pods.iter().any(|pod| pod.gpus != Gpus::None) {
            let index = random.below(self.pods.len());
            asked += self.pods[index].gpus.milli();
            order.push(index);
        }
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        Draw { seed, order }
    }
}

/// xorshift64*: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % bound
    }
}

type Row = BTreeMap<String, String>;

fn rows(path: &str, needs: &[&str]) -> Result<Vec<Row>, String> {
    let text = text(path)?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    if let Some(missing) = needs.iter().find(|need| !header.contains(need)) {
        return Err(format!(
            "{path}: column `{missing}` is missing; it has {}",
            header.join(", ")
        ));
    }
    let row = |line: &str| {
        header
            .iter()
            .map(|name| (*name).to_owned())
            .zip(line.split(',').map(str::to_owned))
            .collect()
    };
    Ok(lines.filter(|line| !line.is_empty()).map(row).collect())
}

fn text(path: &str) -> Result<String, String> {
    let unreadable = |cause: std::io::Error| format!("cannot read {path}: {cause}");
    let bytes = match Path::new(path).extension().and_then(|end| end.to_str()) {
        Some("zst") => zstd::stream::decode_all(fs::File::open(path).map_err(unreadable)?).map_err(unreadable)?,
        Some("xz") => {
            let done = Command::new("xz").args(["-dc", path]).output();
            let done = done.map_err(|cause| format!("cannot run xz for {path}: {cause}; install xz-utils"))?;
            if !done.status.success() {
                return Err(format!(
                    "xz cannot read {path}: {}",
                    String::from_utf8_lossy(&done.stderr).trim()
                ));
            }
            done.stdout
        }
        _ => fs::read(path).map_err(unreadable)?,
    };
    String::from_utf8(bytes).map_err(|cause| format!("{path} is not text: {cause}"))
}

fn number<N: std::str::FromStr>(row: &Row, column: &str) -> Result<N, String> {
    let text = row.get(column).map(String::as_str).unwrap_or_default();
    text.parse()
        .map_err(|_| format!("column `{column}` holds `{text}`, which is no number"))
}

fn node(row: &Row) -> Result<NodeRoom, String> {
    Ok(NodeRoom {
        name: row.get("sn").cloned().unwrap_or_default(),
        cpu_milli: number(row, "cpu_milli")?,
        memory_mib: number(row, "memory_mib")?,
        devices: vec![DEVICE; number(row, "gpu")?],
        model: row.get("model").cloned().unwrap_or_default(),
        labels: BTreeMap::new(),
        domain: String::new(),
        health: Health::Known(10_000),
        taints: Vec::new(),
    })
}

fn pod(row: &Row) -> Result<Work, String> {
    let (count, milli) = (number(row, "num_gpu")?, number(row, "gpu_milli")?);
    let models = row.get("gpu_spec").map(String::as_str).unwrap_or_default();
    let mut models: Vec<String> = models
        .split('|')
        .filter(|model| !model.is_empty())
        .map(str::to_owned)
        .collect();
    models.sort();
    Ok(Work {
        cpu_milli: number(row, "cpu_milli")?,
        memory_mib: number(row, "memory_mib")?,
        gpus: Gpus::from_count(count, milli).map_err(|error| error.to_string())?,
        models,
        ..Work::default()
    })
}
