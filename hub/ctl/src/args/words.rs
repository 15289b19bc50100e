//! The grammar of single words: spans, targets, parameters, reasons.
//!
//! An error names the word, the rule that it breaks, and an example.

use std::time::Duration;

use wire::breakglass::MAX_OPEN_MS;
use wire::reading::DeviceId;
use wire::{AgentId, Wall};

use super::{Target, Victim};

/// `500ms`, `30s`, `5m`, `1h`, `7d`.
pub fn span(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let wrong = || format!("`{text}` is not a span: a number and ms, s, m, h or d, for example 30s");
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let ms = match unit.trim() {
        "ms" => number,
        "s" => number.checked_mul(1_000).ok_or_else(wrong)?,
        "m" | "min" => number.checked_mul(60_000).ok_or_else(wrong)?,
        "h" => number.checked_mul(3_600_000).ok_or_else(wrong)?,
        "d" => number.checked_mul(86_400_000).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_millis(ms))
}

/// A span before now, or a time: `30m`, `7d`, `2026-11-24T12:00:00Z`.
pub fn since(text: &str) -> Result<Wall, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = span(text).map_err(|_| {
        format!("`{text}` is neither a span nor a time: give for example 30m, 7d or 2026-11-24T12:00:00Z")
    })?;
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Ok(Wall(crate::context::now_ms().saturating_sub(ago)))
}

/// How long a break-glass token is open: a span of 1 ms to 4 h.
pub fn open_span(text: &str) -> Result<Duration, String> {
    let most = Duration::from_millis(MAX_OPEN_MS);
    match span(text)? {
        Duration::ZERO => Err("a token that is open for no time opens nothing: give 1m to 4h".to_owned()),
        long if long > most => Err(format!(
            "a token is open for at most {}, and `{text}` is longer: give 1m to 4h, and make another one if that is not enough",
            wire::view::span(MAX_OPEN_MS)
        )),
        span => Ok(span),
    }
}

/// `NODE` or `NODE/DEVICE`.
pub fn target(text: &str) -> Result<Target, String> {
    let (node, device) = match text.split_once('/') {
        Some((node, device)) => (node, Some(device)),
        None => (text, None),
    };
    Ok(Target {
        node: AgentId::new(node).map_err(|error| error.to_string())?,
        device: device
            .map(DeviceId::new)
            .transpose()
            .map_err(|error| error.to_string())?,
    })
}

/// `QUANTITY:DELTA:SPAN`, in the quantity's own unit.
pub fn effect(text: &str) -> Result<wire::api::EffectView, String> {
    let wrong = || format!("`{text}` is not QUANTITY:DELTA:SPAN, for example gpu.temperature:-5000:2m");
    let mut parts = text.split(':');
    let (Some(metric), Some(delta), Some(within), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    Ok(wire::api::EffectView {
        metric: metric.to_owned(),
        device: String::new(),
        delta: delta.parse().map_err(|_| wrong())?,
        within_ms: u64::try_from(span(within)?.as_millis()).map_err(|_| wrong())?,
    })
}

/// `4,4,8`: things at once, cores, GiB of memory.
pub fn build_size(text: &str) -> Result<wire::api::BuildSize, String> {
    let numbers: Vec<Option<u32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers[..] {
        [Some(concurrency), Some(cpus), Some(memory_gib)] => Ok(wire::api::BuildSize {
            concurrency,
            cpus,
            memory_gib,
        }),
        _ => Err(format!(
            "`{text}` is no size: three whole numbers, at once, cores and GiB, for example 4,4,8"
        )),
    }
}

/// `KEY=VALUE`.
pub fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!(
            "`{text}` is not a parameter: KEY=VALUE, for example \"to=220 W\""
        )),
    }
}

/// `NODE`, `NODE/gpuN` or `hub`.
pub fn victim(text: &str) -> Result<Victim, String> {
    let (node, gpu) = match text.split_once('/') {
        Some((node, gpu)) => {
            let number = gpu.strip_prefix("gpu").and_then(|digits| digits.parse().ok());
            let number = number.ok_or_else(|| format!("`{gpu}` is not a GPU: gpu0, gpu1 and so on"))?;
            (node, Some(number))
        }
        None => (text, None),
    };
    AgentId::new(node).map_err(|error| format!("{error}; or hub"))?;
    Ok(Victim {
        node: node.to_owned(),
        gpu,
    })
}

/// A reason, without the space around it.
pub fn not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a reason is needed: it is journaled with what it caused".to_owned()),
        reason => Ok(reason.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_three_numbers() {
        let found = build_size("4, 4,8").unwrap();
        assert_eq!((found.concurrency, found.cpus, found.memory_gib), (4, 4, 8));
        for text in ["", "4", "4,4", "4,4,8,1", "4,4,-8", "4,x,8"] {
            assert!(build_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(span(text).unwrap(), Duration::from_millis(ms));
        }
        for text in ["", "5", "5 days", "-1s", "99999999999999999999s"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_open_for_four_hours_at_most() {
        for (text, expected) in [
            ("1h", ""),
            ("240m", ""),
            ("5h", "at most 4 h"),
            ("0s", "no time"),
            ("1", "is not a span"),
        ] {
            let found = open_span(text).err().unwrap_or_default();
            assert!(
                found.contains(expected) && found.is_empty() == expected.is_empty(),
                "{text}: {found}"
            );
        }
    }

    #[test]
    fn a_target_is_a_node_and_perhaps_a_device() {
        let parsed = target("edge-03/fs:/var").unwrap();
        assert_eq!(parsed.node.as_str(), "edge-03");
        assert_eq!(parsed.device.unwrap().as_str(), "fs:/var");
        assert_eq!(target("edge-03").unwrap().device, None);
    }
}
