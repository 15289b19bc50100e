//! Values as people write them (`85 °C`, `220 W`, `200 MiB`, `90 %`, `1h 30min`), as integers in the house's units.
//!
//! Exact or refused: no float is involved, and `0.0001 W`, which is no whole number of milliwatts, is an error.

use wire::reading::Unit;

/// Suffixes of one unit with the factor to the stored unit, as (numerator, denominator).
type Suffixes = &'static [(&'static str, i128)];

/// Milliseconds, as durations are written.
const DURATIONS: Suffixes = &[
    ("ms", 1),
    ("s", 1_000),
    ("sec", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

fn suffixes(unit: Unit) -> (Suffixes, &'static str) {
    const BYTES: Suffixes = &[
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    const RATES: Suffixes = &[
        ("B/s", 1),
        ("kB/s", 1_000),
        ("MB/s", 1_000_000),
        ("GB/s", 1_000_000_000),
        ("KiB/s", 1 << 10),
        ("MiB/s", 1 << 20),
        ("GiB/s", 1 << 30),
    ];
    match unit {
        Unit::MilliCelsius => (&[("C", 1_000), ("°C", 1_000), ("℃", 1_000), ("mC", 1)], "85 °C"),
        Unit::Milliwatt => (&[("mW", 1), ("W", 1_000), ("kW", 1_000_000)], "220 W"),
        Unit::BasisPoints => (&[("%", 100), ("bp", 1)], "90 %"),
        Unit::Milli => (&[("", 1_000)], "4.5"),
        Unit::Bytes => (BYTES, "200 MiB"),
        Unit::BytesPerSecond => (RATES, "50 MB/s"),
        Unit::MilliPerSecond => (&[("/s", 1_000), ("/min", 0)], "100 /s"),
        Unit::Milliseconds => (DURATIONS, "5 s"),
        Unit::Megahertz => (&[("MHz", 1), ("GHz", 1_000)], "1500 MHz"),
        Unit::Count => (&[("", 1), ("k", 1_000)], "3"),
        Unit::Flag => (&[("", 1)], "0 or 1"),
    }
}

/// How a value of this unit is written, for error texts.
pub(crate) fn example(unit: Unit) -> &'static str {
    suffixes(unit).1
}

/// Reads a value in `unit`, or says what is wrong and how it is written.
pub(crate) fn amount(text: &str, unit: Unit) -> Result<i64, String> {
    if unit == Unit::Milliseconds {
        return duration_ms(text).map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    }
    if unit == Unit::Flag {
        match text {
            "yes" | "true" => return Ok(1),
            "no" | "false" => return Ok(0),
            _ => {}
        }
    }
    let (known, example) = suffixes(unit);
    let (number, suffix) =
        split_number(text).ok_or_else(|| format!("`{text}` does not begin with a number; write it as `{example}`"))?;
    let factor = known
        .iter()
        .find(|(name, factor)| *name == suffix && *factor != 0)
        .map(|(_, factor)| *factor)
        .ok_or_else(|| {
            if suffix.is_empty() {
                format!("`{text}` has no unit; write it as `{example}`")
            } else {
                format!("`{suffix}` is not a unit of this quantity; write it as `{example}`")
            }
        })?;
    scale(number, factor).ok_or_else(|| format!("`{text}` is too fine or too large"))
}

/// Why a value of this unit cannot have been meant, and the way out; `None` if it can.
pub(crate) fn implausible(value: i64, unit: Unit) -> Option<String> {
    let outside = |low: i64, high: i64, range: &str| {
        let is_inside = (low..=high).contains(&value);
        (!is_inside).then(|| {
            format!(
                "no device has that; write a value within {range}, such as `{}`",
                example(unit)
            )
        })
    };
    match unit {
        Unit::MilliCelsius => outside(-100_000, 300_000, "-100 °C..=300 °C"),
        Unit::Milliwatt if (1..1_000).contains(&value) => Some(format!(
            "{value} mW is less than a watt; write watts with their unit: `{value} W`"
        )),
        Unit::Milliwatt => outside(0, 1_000_000_000, "1 W..=1000 kW"),
        Unit::Megahertz => outside(0, 100_000, "0 MHz..=100 GHz"),
        Unit::BasisPoints
        | Unit::Milli
        | Unit::Bytes
        | Unit::BytesPerSecond
        | Unit::MilliPerSecond
        | Unit::Milliseconds
        | Unit::Count
        | Unit::Flag => (value < 0).then(|| "it is never below 0".to_owned()),
    }
}

/// Reads a duration such as `5s`, `1h 30min` or `250 ms`, in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err("an empty duration; write it as `5 s`".to_owned());
    }
    while !rest.is_empty() {
        let (number, after) = take_number(rest)
            .filter(|(number, _)| !number.starts_with('-'))
            .ok_or_else(|| format!("`{text}` is not a duration; write it as `5 s` or `1h 30min`"))?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (suffix, next) = after.split_at(end);
        let factor = DURATIONS.iter().find(|(name, _)| *name == suffix);
        let (_, factor) = factor.ok_or_else(|| {
            if suffix.is_empty() {
                format!("`{text}` has no unit; write it as `{number} s`, `{number} min` or `{number} h`")
            } else {
                format!("`{suffix}` is not a unit of time; use ms, s, min, h, d or w")
            }
        })?;
        total = scale(number, *factor)
            .and_then(|ms| u64::try_from(ms).ok())
            .and_then(|ms| total.checked_add(ms))
            // Longer than any clock of ours runs.
            .filter(|ms| *ms <= 100 * 365 * 86_400_000)
            .ok_or_else(|| format!("`{text}` is too fine or too long"))?;
        rest = next.trim_start();
    }
    Ok(total)
}

/// A duration as people write it, which [`duration_ms`] reads back.
pub(crate) fn show_duration(ms: u64) -> String {
    for (suffix, factor) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{} {suffix}", ms / factor);
        }
    }
    if ms >= 3_600_000 {
        format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000)
    } else if ms >= 60_000 {
        format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000)
    } else if ms >= 1_000 {
        format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
    } else {
        format!("{ms} ms")
    }
}

fn split_number(text: &str) -> Option<(&str, &str)> {
    let (number, rest) = take_number(text.trim())?;
    Some((number, rest.trim()))
}

/// Splits off `-12.5` from the front.
fn take_number(text: &str) -> Option<(&str, &str)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(digits.len());
    let end = end + (text.len() - digits.len());
    let number = &text[..end];
    number
        .bytes()
        .any(|b| b.is_ascii_digit())
        .then_some((number, &text[end..]))
}

/// `number * factor`, if that is a whole `i64`.
fn scale(number: &str, factor: i128) -> Option<i64> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if digits.len() > 24 || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let parse = |text: &str| match text.replace('_', "") {
        text if text.is_empty() => Some(0i128),
        text => text.parse::<i128>().ok(),
    };
    let denominator = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let value = parse(whole)?
        .checked_mul(denominator)?
        .checked_add(parse(fraction)?)?
        .checked_mul(factor)?;
    if value % denominator != 0 {
        return None;
    }
    let value = value / denominator;
    i64::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, unit: Unit, expected: Result<i64, &str>) {
        match (amount(text, unit), expected) {
            (Ok(found), Ok(value)) => assert_eq!(found, value, "{text}"),
            (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
            (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn values_are_read_exactly() {
        check("85 C", Unit::MilliCelsius, Ok(85_000));
        check("85°C", Unit::MilliCelsius, Ok(85_000));
        check("-0.5 °C", Unit::MilliCelsius, Ok(-500));
        check("220 W", Unit::Milliwatt, Ok(220_000));
        check("0.22 kW", Unit::Milliwatt, Ok(220_000));
        check("200 MiB", Unit::Bytes, Ok(200 << 20));
        check("1.5 GB", Unit::Bytes, Ok(1_500_000_000));
        check("90 %", Unit::BasisPoints, Ok(9_000));
        check("99.95%", Unit::BasisPoints, Ok(9_995));
        check("4.5", Unit::Milli, Ok(4_500));
        check("3", Unit::Count, Ok(3));
        check("yes", Unit::Flag, Ok(1));
        check("1h 30min", Unit::Milliseconds, Ok(5_400_000));
        check("1h30m", Unit::Milliseconds, Ok(5_400_000));
        check("250ms", Unit::Milliseconds, Ok(250));
    }

    #[test]
    fn a_wrong_value_is_told_the_right_spelling() {
        check("85", Unit::MilliCelsius, Err("has no unit; write it as `85 °C`"));
        check("85 F", Unit::MilliCelsius, Err("`F` is not a unit"));
        check("hot", Unit::MilliCelsius, Err("does not begin with a number"));
        check("0.0001 W", Unit::Milliwatt, Err("too fine"));
        check("9999999999999999999 W", Unit::Milliwatt, Err("too large"));
        check("5", Unit::Milliseconds, Err("has no unit; write it as `5 s`"));
        check("5 parsecs", Unit::Milliseconds, Err("not a unit of time"));
        check("-5 s", Unit::Milliseconds, Err("not a duration"));
        check("1..5 W", Unit::Milliwatt, Err("too fine"));
    }

    #[test]
    fn what_no_device_can_have_is_told_apart_with_the_way_out() {
        for (value, unit, expected) in [
            (-300_000, Unit::MilliCelsius, "within -100 °C..=300 °C"),
            (850_000, Unit::MilliCelsius, "no device has that"),
            (220, Unit::Milliwatt, "write watts with their unit: `220 W`"),
            (2_000_000_000, Unit::Milliwatt, "no device has that"),
            (-1, Unit::Bytes, "never below 0"),
            (85_000, Unit::MilliCelsius, ""),
            (220_000, Unit::Milliwatt, ""),
            (0, Unit::Milliwatt, ""),
            (0, Unit::Count, ""),
        ] {
            let found = implausible(value, unit).unwrap_or_default();
            assert!(
                found.contains(expected) && found.is_empty() == expected.is_empty(),
                "{value}: {found}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn a_shown_duration_of_whole_seconds_reads_back(seconds in 1u64..10_000_000) {
            let exact = seconds * 1_000;
            let shown = show_duration(exact);
            let back = duration_ms(&shown).expect("our own text");
            // Three-part durations are shown with two parts.
            proptest::prop_assert!(back <= exact && exact - back < 60_000, "{} {}", shown, exact);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[-0-9._ a-zA-Z%°]{0,40}") {
            let _ = duration_ms(&text);
            for unit in [Unit::Milliwatt, Unit::Bytes, Unit::Count, Unit::Milli, Unit::Flag] {
                let _ = amount(&text, unit);
            }
        }
    }
}
