//! The steps in which a person asks for something that the bundle does not let them have: a change in a freeze, and too little power.
//!
//! Nothing here decides. Both questions are put through `sentinel act`, as in a second terminal; what is shown was answered by the
//! hub's copy of the judge or journaled by the node.

use serde_json::Value;

use super::{Tour, text, thousandths};

/// Exit status of `sentinel` for what policy does not allow.
const DENIED: i32 = 4;
const REASON: &str = "the person at the keyboard wants it";

/// Asks hub and node for a restart while changes by hand are frozen.
pub(super) fn freeze(tour: &mut Tour<'_>) -> Result<(), String> {
    let workload = tour.own()?["workloads"][0]["id"].clone();
    let target = format!("{}/{}", tour.node, text(&workload));
    let words = ["act", &target, "restart", "--reason", REASON];
    let from_hub = refused(tour, &words)?;
    tour.screen.happened(
        "freeze",
        &format!("sentinel act {target} restart   (the hub does not even send it)"),
    );
    from_hub.lines().for_each(|line| tour.screen.more(line));
    refused(tour, &[&words[..], &["--local"]].concat())?;
    let row = tour.until(|| {
        let rows = tour.decisions(true)?;
        let held = |row: &&Value| row["action"] == "restart" && row["verdict"] == "hold";
        let row = rows.iter().find(held).cloned();
        row.ok_or_else(|| format!("{} has held no restart", tour.node))
    })?;
    let detail = tour.detail(text(&row["id"]))?;
    let judgement = &detail["decision"]["judgement"];
    let waits_ms = judgement["retry_after_ms"].as_u64();
    let waits_ms = waits_ms.ok_or_else(|| format!("{} names no next open slot", text(&row["id"])))?;
    tour.show_at(
        &row["at"],
        "held",
        &format!(
            "{} the node says the same by rule {}; next open slot {} UTC, in {} min",
            text(&row["id"]),
            text(&row["rule"]),
            slot(text(&row["at"]), waits_ms).ok_or("the node's time cannot be read")?,
            waits_ms.div_ceil(60_000)
        ),
    );
    match text(&row["rule"]) {
        "launch-freeze" => Ok(()),
        other => Err(format!("held by {other}, not by the freeze")),
    }
}

/// The hour and minute that lie `ms` after an RFC 3339 time, rounded up to the next minute.
fn slot(at: &str, ms: u64) -> Option<String> {
    let digits = |range: std::ops::Range<usize>| at.get(range)?.parse::<u64>().ok();
    let of_day = ((digits(11..13)? * 60 + digits(14..16)?) * 60 + digits(17..19)?) * 1_000 + digits(20..23)?;
    let minute = (of_day + ms).div_ceil(60_000) % (24 * 60);
    Some(format!("{:02}:{:02}", minute / 60, minute % 60))
}

/// Asks for less power than the card can live with, sees it clamped, and gives it back.
pub(super) fn clamp(tour: &mut Tour<'_>) -> Result<(), String> {
    // The other GPU was capped seconds ago, and a cap has a cooldown.
    let target = format!("{}/gpu1", tour.node);
    let view = asked(tour, &["act", &target, "power_cap", "to=50 W", "--reason", REASON])?;
    let row = match (text(&view["status"]), text(&view["decision"]["verdict"])) {
        ("done", "clamp") => &view["decision"],
        _ => return Err(format!("the request was answered with {view}")),
    };
    let detail = tour.detail(text(&row["id"]))?;
    let granted = &detail["decision"]["judgement"]["granted"]["kind"]["power_cap"]["milliwatts"];
    tour.show_at(
        &row["at"],
        "clamped",
        &format!(
            "{} asked for 50 W on gpu1 (sim), granted {} by rule {}",
            text(&row["id"]),
            thousandths(granted, "W"),
            text(&row["rule"])
        ),
    );
    let applied = tour.until(|| tour.outcome(text(&row["id"]), "applied"))?;
    tour.show_at(
        &applied["at"],
        "applied",
        &format!(
            "power cap of gpu1 (sim) was {}, read back is {}",
            thousandths(&applied["before"], "W"),
            thousandths(&applied["after"], "W")
        ),
    );
    if granted.as_i64() != applied["after"].as_i64() {
        return Err(format!(
            "{granted} mW were granted and {} mW read back",
            applied["after"]
        ));
    }
    let released = asked(tour, &["act", &target, "release_power_cap", "--reason", REASON])?;
    match text(&released["status"]) {
        "done" => Ok(()),
        _ => Err(format!("the cap is not given back: {}", released["detail"])),
    }
}

/// Runs `sentinel act` and reads its answer, whatever it is.
fn asked(tour: &Tour<'_>, words: &[&str]) -> Result<Value, String> {
    let said = tour.sentinel().run([words, &["-o", "json"]].concat())?;
    serde_json::from_slice(&said.out).map_err(|cause| {
        format!(
            "`sentinel {}` prints no JSON: {cause}; {}",
            words.join(" "),
            said.err.trim()
        )
    })
}

/// Runs `sentinel act`, which policy must refuse, and returns what it prints.
fn refused(tour: &Tour<'_>, words: &[&str]) -> Result<String, String> {
    let said = tour.sentinel().run(words.iter().copied())?;
    match said.code {
        DENIED => Ok(String::from_utf8_lossy(&said.out).into_owned()),
        code => Err(format!(
            "`sentinel {}` should be denied and ended with {code}: {}{}",
            words.join(" "),
            String::from_utf8_lossy(&said.out).trim(),
            said.err.trim()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::slot;

    #[test]
    fn the_next_slot_is_told_in_hours_and_minutes() {
        let check = |at, ms, expected| assert_eq!(slot(at, ms).as_deref(), expected, "{at}");
        check("2026-11-24T20:15:30.500Z", 6_269_500, Some("22:00"));
        check("2026-11-24T23:30:00.000Z", 5_400_000, Some("01:00"));
        check("unix-ms:12", 1, None);
    }
}
