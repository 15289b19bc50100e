//! Numbers as people and programs outside read them: base units, with the unit in the field's name.
//!
//! Inside, a quantity is an integer of a small unit: it is compared, hashed and stored exactly. In JSON it is the base unit, so that
//! nobody has to know what `mw` or `bp` means: `temperature_celsius`, `power_watts`, `used_ratio`, `age_seconds`. Reading rounds to the
//! nearest small unit, so what was written is read back as it was.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// Thousandths inside, ones outside: milliseconds and seconds, milliwatts and watts, thousandths of a degree and degrees.
pub mod thousandths {
    use super::*;

    /// Writes ones.
    pub fn serialize<T: Small, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.outside(1e3).serialize(serializer)
    }

    /// Reads ones.
    pub fn deserialize<'de, T: Small, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::inside(T::Outside::deserialize(deserializer)?, 1e3).map_err(D::Error::custom)
    }
}

/// Millionths inside, ones outside: microseconds and seconds.
pub mod millionths {
    use super::*;

    /// Writes ones.
    pub fn serialize<T: Small, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.outside(1e6).serialize(serializer)
    }

    /// Reads ones.
    pub fn deserialize<'de, T: Small, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::inside(T::Outside::deserialize(deserializer)?, 1e6).map_err(D::Error::custom)
    }
}

/// Ten-thousandths inside, a share from 0 to 1 outside.
pub mod ratio {
    use super::*;

    /// Writes a share.
    pub fn serialize<T: Small, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.outside(1e4).serialize(serializer)
    }

    /// Reads a share.
    pub fn deserialize<'de, T: Small, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::inside(T::Outside::deserialize(deserializer)?, 1e4).map_err(D::Error::custom)
    }
}

/// An integer of a small unit, or several or perhaps none of them.
pub trait Small: Sized {
    /// The same in base units.
    type Outside: Serialize + for<'de> Deserialize<'de>;

    /// In base units, `per` small ones each.
    fn outside(&self, per: f64) -> Self::Outside;

    /// In small units; the error says what does not fit.
    fn inside(outside: Self::Outside, per: f64) -> Result<Self, String>;
}

macro_rules! small {
    ($($integer:ty)*) => {$(
        impl Small for $integer {
            type Outside = f64;

            fn outside(&self, per: f64) -> f64 {
                *self as f64 / per
            }

            fn inside(outside: f64, per: f64) -> Result<Self, String> {
                let small = (outside * per).round();
                // The greatest integers are no doubles: what rounds up to the bound is beyond it.
                if small.is_finite() && small >= Self::MIN as f64 && small < Self::MAX as f64 {
                    Ok(small as Self)
                } else {
                    Err(format!("{outside} is outside of what can be, {} to {}", Self::MIN as f64 / per, Self::MAX as f64 / per))
                }
            }
        }
    )*};
}
small!(i64 u64 u32 u16);

impl<T: Small> Small for Option<T> {
    type Outside = Option<T::Outside>;

    fn outside(&self, per: f64) -> Self::Outside {
        self.as_ref().map(|value| value.outside(per))
    }

    fn inside(outside: Self::Outside, per: f64) -> Result<Self, String> {
        outside.map(|value| T::inside(value, per)).transpose()
    }
}

impl<T: Small> Small for (T, T) {
    type Outside = (T::Outside, T::Outside);

    fn outside(&self, per: f64) -> Self::Outside {
        (self.0.outside(per), self.1.outside(per))
    }

    fn inside(outside: Self::Outside, per: f64) -> Result<Self, String> {
        Ok((T::inside(outside.0, per)?, T::inside(outside.1, per)?))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct View {
        #[serde(rename = "temperature_celsius", default, with = "super::thousandths")]
        temperature_mc: Option<i64>,
        #[serde(rename = "caps_watts", default, with = "super::thousandths")]
        caps_mw: Option<(u32, u32)>,
        #[serde(rename = "used_ratio", with = "super::ratio")]
        used_bp: u16,
    }

    #[test]
    fn people_read_base_units_and_nothing_is_lost_on_the_way_back() {
        let view = View {
            temperature_mc: Some(-40_500),
            caps_mw: Some((100_000, 350_001)),
            used_bp: 9_999,
        };
        let json = serde_json::to_value(&view).expect("plain data");
        assert_eq!(
            json,
            serde_json::json!({ "temperature_celsius": -40.5, "caps_watts": [100.0, 350.001], "used_ratio": 0.9999 })
        );
        assert_eq!(serde_json::from_value::<View>(json).expect("its own"), view);
        let unknown: View =
            serde_json::from_str(r#"{ "used_ratio": 1 }"#).expect("whole numbers do, and what is absent is unknown");
        assert_eq!((unknown.temperature_mc, unknown.used_bp), (None, 10_000));
    }

    #[test]
    fn every_whole_number_of_milliseconds_is_read_back() {
        for milliseconds in (0_u64..100_000).chain([u64::from(u32::MAX), 1_795_000_000_123, 1 << 52]) {
            use super::Small;
            assert_eq!(u64::inside(milliseconds.outside(1e3), 1e3), Ok(milliseconds));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_value() {
        for wrong in ["-0.5", "7", "1e300"] {
            let error = serde_json::from_str::<View>(&format!(r#"{{ "used_ratio": {wrong} }}"#))
                .expect_err("too much or too little");
            assert!(
                error.to_string().contains("outside of what can be, 0 to 6.5535"),
                "{error}"
            );
        }
    }
}
