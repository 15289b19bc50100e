//! What the InfraMind that exists (2.1.1) can do: size builds. Its messages as JSON over HTTP, and what we make of its answers.
//!
//! That InfraMind knows pipelines and steps, no node and no plan; so it gets no telemetry and sends no plan. It is told of runs
//! (`POST /runs`) and asked for a size (`POST /optimize`), both with the header [`TOKEN_HEADER`].
//!
//! Decides whether an answer can be used, and brings it within the bounds: its optimiser proposes what it likes, and its safety
//! rules count only one of the two spellings of a peak. Never sends anything: that is `hub/src/inframind/sizing.rs`.
//!
//! Invariant: every size that [`read`] returns is within the bounds of the request and of [`MOST`], whatever came in.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::api::{BuildSize, RunRequest, SizeRequest};

/// The header with the shared key. A wrong or missing one is answered with 403.
pub const TOKEN_HEADER: &str = "x-im-token";
/// Largest answer in bytes: a suggestion takes less than one KiB.
pub const MOST_ANSWER_BYTES: usize = 64 * 1024;
/// Most steps of one run: what a person still calls one build.
pub const MOST_STEPS: usize = 1_000;
/// The smallest size. Source: the bounds of the optimiser's grid.
pub const LEAST: BuildSize = BuildSize {
    concurrency: 1,
    cpus: 1,
    memory_gib: 2,
};
/// The largest size. Source: as before.
pub const MOST: BuildSize = BuildSize {
    concurrency: 16,
    cpus: 16,
    memory_gib: 64,
};
/// Most cache that is worth asking for, in GiB: ten times what it proposes by itself.
const MOST_CACHE_GIB: u32 = 100;
/// Longest name of a pipeline, tool, branch, commit or step, in bytes. Source: its columns hold 255 characters.
const MOST_NAME: usize = 255;
/// Longest text of it that is shown, in bytes.
const MOST_TEXT: usize = 500;
const GIB: u64 = 1 << 30;

/// A field of a request that it would not take, or an answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizingError {
    /// A field of what is asked.
    #[error("{field}: {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// Its answer.
    #[error("the answer has no usable `{field}`: {found}")]
    Answer {
        /// Which field.
        field: &'static str,
        /// What stood there.
        found: String,
    },
}

/// Body of `POST /optimize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Optimize {
    pipeline: String,
    run_id: String,
    context: Context,
    constraints: Constraints,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Context {
    tool: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<Requested>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avg_step_duration_s: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Requested {
    concurrency: u32,
    cpu_req: u32,
    mem_req_gb: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Constraints {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ram_gb: Option<u32>,
}

/// Body of `POST /runs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    pipeline: String,
    build_number: u32,
    git_sha: String,
    git_branch: String,
    start_time: String,
    end_time: String,
    duration_s: f64,
    status: &'static str,
    tool: String,
    #[serde(flatten)]
    size: Requested,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Step {
    name: String,
    start_time: String,
    end_time: String,
    duration_s: f64,
    cpu_usage_pct: f64,
    rss_max_bytes: u64,
    io_r_bytes: u64,
    io_w_bytes: u64,
    exit_code: i32,
}

/// What it answers to a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ingested {
    /// Its id of the run: a number or a text.
    pub run_id: Value,
}

/// A size that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sized {
    /// Within the bounds.
    pub size: BuildSize,
    /// Within the bounds.
    pub cache_gib: u32,
    /// Its words.
    pub rationale: String,
    /// What it claims, in hundredths of a percent.
    pub claimed_bp: u32,
    /// What was changed.
    pub adjusted: Vec<String>,
}

/// The body that asks for a size, under this id.
pub fn ask(request: &SizeRequest, id: &str) -> Result<Optimize, SizingError> {
    name("pipeline", &request.pipeline, 1)?;
    name("tool", &request.tool, 0)?;
    if let Some(last) = &request.last {
        within("last", last)?;
    }
    bounded(
        "most_concurrency",
        request.most_concurrency,
        LEAST.concurrency,
        MOST.concurrency,
    )?;
    bounded(
        "least_memory_gib",
        request.least_memory_gib,
        LEAST.memory_gib,
        MOST.memory_gib,
    )?;
    if let Some(peak) = request
        .peak_memory_bytes
        .filter(|peak| needed_gib(*peak) > MOST.memory_gib)
    {
        let problem = format!(
            "{peak} bytes with a fifth to spare are more than the most, {} GiB",
            MOST.memory_gib
        );
        return Err(SizingError::Field {
            field: "peak_memory_bytes",
            problem,
        });
    }
    Ok(Optimize {
        pipeline: request.pipeline.clone(),
        run_id: id.to_owned(),
        context: Context {
            tool: request.tool.clone(),
            last_success: request.last.as_ref().map(Requested::of),
            max_rss_bytes: request.peak_memory_bytes,
            num_steps: request.steps,
            avg_step_duration_s: request.step_ms.map(|ms| ms.div_ceil(1_000)),
        },
        constraints: Constraints {
            max_concurrency: request.most_concurrency,
            min_ram_gb: request.least_memory_gib,
        },
    })
}

/// The body that tells of a run.
pub fn tell(run: &RunRequest) -> Result<Run, SizingError> {
    name("pipeline", &run.pipeline, 1)?;
    name("tool", &run.tool, 1)?;
    name("commit", &run.commit, 1)?;
    name("branch", &run.branch, 1)?;
    within("size", &run.size)?;
    if run.steps.len() > MOST_STEPS {
        let problem = format!("there are {}, at most {MOST_STEPS} are one run", run.steps.len());
        return Err(SizingError::Field {
            field: "steps",
            problem,
        });
    }
    for step in &run.steps {
        name("steps.name", &step.name, 1)?;
    }
    let ended = |began: wire::Wall, took_ms: u64| {
        let took = i64::try_from(took_ms).unwrap_or(i64::MAX);
        wire::Wall(began.0.saturating_add(took)).to_string()
    };
    let steps = run.steps.iter().map(|step| Step {
        name: step.name.clone(),
        start_time: step.began.to_string(),
        end_time: ended(step.began, step.took_ms),
        duration_s: seconds(step.took_ms),
        cpu_usage_pct: f64::from(step.cpu_bp) / 100.0,
        rss_max_bytes: step.peak_memory_bytes,
        io_r_bytes: step.read_bytes,
        io_w_bytes: step.written_bytes,
        exit_code: step.exit,
    });
    Ok(Run {
        pipeline: run.pipeline.clone(),
        build_number: run.number,
        git_sha: run.commit.clone(),
        git_branch: run.branch.clone(),
        start_time: run.began.to_string(),
        end_time: ended(run.began, run.took_ms),
        duration_s: seconds(run.took_ms),
        status: if run.ok { "success" } else { "failed" },
        tool: run.tool.clone(),
        size: Requested::of(&run.size),
        steps: steps.collect(),
    })
}

/// Makes a size of its answer to [`ask`].
pub fn read(request: &SizeRequest, answer: &Value) -> Result<Sized, SizingError> {
    let suggested = &answer["suggestions"];
    let asked = BuildSize {
        concurrency: whole("suggestions.concurrency", &suggested["concurrency"])?,
        cpus: whole("suggestions.cpu_req", &suggested["cpu_req"])?,
        memory_gib: whole("suggestions.mem_req_gb", &suggested["mem_req_gb"])?,
    };
    let most = request.most_concurrency.unwrap_or(MOST.concurrency);
    let peak = request.peak_memory_bytes.map_or(LEAST.memory_gib, needed_gib);
    let least = request.least_memory_gib.unwrap_or(LEAST.memory_gib).max(peak);
    let mut adjusted = Vec::new();
    let concurrency = clamp(
        "concurrency",
        asked.concurrency,
        (LEAST.concurrency, most),
        &mut adjusted,
    );
    // A core for every four things at once: below that they wait for each other.
    let least_cpus = concurrency.div_ceil(4).max(LEAST.cpus);
    let size = BuildSize {
        concurrency,
        cpus: clamp("cpus", asked.cpus, (least_cpus, MOST.cpus), &mut adjusted),
        memory_gib: clamp(
            "memory_gib",
            asked.memory_gib,
            (least, MOST.memory_gib.max(least)),
            &mut adjusted,
        ),
    };
    let confidence = answer["confidence"]
        .as_f64()
        .filter(|share| (0.0..=1.0).contains(share));
    Ok(Sized {
        size,
        cache_gib: suggested["cache"]
            .as_u64()
            .map_or(0, |gib| saturated(gib).min(MOST_CACHE_GIB)),
        rationale: text(&answer["rationale"]),
        claimed_bp: confidence.map_or(0, |share| (share * 10_000.0).round() as u32),
        adjusted,
    })
}

impl Requested {
    const fn of(size: &BuildSize) -> Self {
        Self {
            concurrency: size.concurrency,
            cpu_req: size.cpus,
            mem_req_gb: size.memory_gib,
        }
    }
}

/// Memory for a peak, with a fifth to spare, in whole GiB.
fn needed_gib(peak_bytes: u64) -> u32 {
    saturated(peak_bytes.saturating_add(peak_bytes.div_ceil(5)).div_ceil(GIB))
}

fn saturated(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn clamp(field: &str, found: u32, (least, most): (u32, u32), adjusted: &mut Vec<String>) -> u32 {
    let kept = found.clamp(least, most);
    if kept != found {
        adjusted.push(format!("{field}: it said {found}, which is out of {least} to {most}"));
    }
    kept
}

/// A whole number, also one that is written as `4.0`.
fn whole(field: &'static str, value: &Value) -> Result<u32, SizingError> {
    let integer = value.as_u64().and_then(|whole| u32::try_from(whole).ok());
    let decimal = value
        .as_f64()
        .filter(|share| (0.0..=f64::from(u32::MAX)).contains(share));
    // Rounded up: half a core less than was meant is the dearer mistake.
    integer
        .or(decimal.map(|share| share.ceil() as u32))
        .ok_or_else(|| SizingError::Answer {
            field,
            found: text(value),
        })
}

/// Its words in one line, as many as are kept.
fn text(value: &Value) -> String {
    let said = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line: String = said.chars().filter(|c| !c.is_control()).collect();
    if line.len() > MOST_TEXT {
        let end = (0..=MOST_TEXT).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or(0));
    }
    line
}

fn name(field: &'static str, found: &str, least: usize) -> Result<(), SizingError> {
    if (least..=MOST_NAME).contains(&found.len()) && !found.chars().any(char::is_control) {
        return Ok(());
    }
    let problem = format!(
        "`{}` has {} bytes: {least} to {MOST_NAME} without control characters are taken",
        found.escape_default().take(40).collect::<String>(),
        found.len()
    );
    Err(SizingError::Field { field, problem })
}

fn within(field: &'static str, size: &BuildSize) -> Result<(), SizingError> {
    bounded(field, Some(size.concurrency), LEAST.concurrency, MOST.concurrency)?;
    bounded(field, Some(size.cpus), LEAST.cpus, MOST.cpus)?;
    bounded(field, Some(size.memory_gib), LEAST.memory_gib, MOST.memory_gib)
}

fn bounded(field: &'static str, found: Option<u32>, least: u32, most: u32) -> Result<(), SizingError> {
    match found.filter(|found| !(least..=most).contains(found)) {
        None => Ok(()),
        Some(found) => Err(SizingError::Field {
            field,
            problem: format!("{found} is out of {least} to {most}, between which it sizes builds"),
        }),
    }
}

#[cfg(test)]
mod tests;
