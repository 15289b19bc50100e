//! The profiles that count on one node: those of this release, and people's own, which come first.
//!
//! One's own profile replaces the release's for its models; whatever it says, the device's own word narrows it.
//!
//! Invariant: for every model one profile counts at most.

use std::sync::Arc;

use crate::{Profile, of};

/// What counts on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    own: Arc<[Profile]>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { own: Arc::new([]) }
    }
}

impl Catalogue {
    /// With people's own. An error names the model that two of them are of.
    pub fn with(own: Vec<Profile>) -> Result<Self, String> {
        for (index, profile) in own.iter().enumerate() {
            let twice = |model: &&String| own[..index].iter().any(|other| other.names(model));
            if let Some(model) = profile.models.iter().find(twice) {
                return Err(format!(
                    "two profiles are of the model `{model}`; the second is `{}`",
                    profile.id
                ));
            }
        }
        Ok(Self { own: own.into() })
    }

    /// The profile of a model, as [`crate::of`] finds it.
    pub fn of(&self, model: &str) -> Option<&Profile> {
        self.own
            .iter()
            .find(|profile| profile.names(model))
            .or_else(|| of(model))
    }

    /// The power caps that a device may be asked for, in milliwatts: those that it accepts by its own word, within its profile. Empty,
    /// with the first above the second, if the two have nothing in common.
    pub fn power_caps_mw(&self, model: &str, accepts: (u32, u32)) -> (u32, u32) {
        match self.of(model) {
            Some(profile) => profile.power.narrowed_mw(accepts),
            None => accepts,
        }
    }

    /// The cap that a device has after it was given back, in milliwatts: its default, or the greatest of its profile if that is less.
    pub fn released_cap_mw(&self, model: &str, default: u32) -> u32 {
        match self.of(model) {
            Some(profile) => default.min(profile.power.range_mw().1),
            None => default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: &str, model: &str, (min, max): (i64, i64)) -> Profile {
        let text = format!(
            "id = \"{id}\"\nmodels = [\"{model}\"]\n[power]\nmin = {{ value = {min}, source = \"us\" }}\nmax = {{ value = {max}, source = \"us\" }}\n"
        );
        Profile::parse(&text).expect("a profile")
    }

    #[test]
    fn ones_own_profile_counts_before_the_releases() {
        let catalogue = Catalogue::with(vec![profile("our-l40s", "NVIDIA L40S", (150, 250))]).expect("one of each");
        assert_eq!(
            catalogue.of("NVIDIA L40S").map(|found| found.id.as_str()),
            Some("our-l40s")
        );
        assert_eq!(
            catalogue.power_caps_mw("NVIDIA L40S", (100_000, 350_000)),
            (150_000, 250_000)
        );
        assert_eq!(
            catalogue.power_caps_mw("NVIDIA L40S", (200_000, 350_000)),
            (200_000, 250_000)
        );
        assert_eq!(catalogue.released_cap_mw("Sim L40S", 350_000), 250_000);
        assert_eq!(
            catalogue.of("NVIDIA L4").map(|found| found.id.as_str()),
            Some("nvidia-l4")
        );
    }

    #[test]
    fn two_of_ones_own_for_one_model_are_refused() {
        let both = vec![profile("a", "V M", (1, 2)), profile("b", "v m", (1, 3))];
        let error = Catalogue::with(both).expect_err("twice");
        assert!(error.contains("`v m`") && error.contains("`b`"), "{error}");
    }

    #[test]
    fn without_any_the_releases_count() {
        let none = Catalogue::default();
        for profile in crate::all() {
            let model = &profile.models[0];
            let accepts = (0, u32::MAX);
            assert_eq!(none.power_caps_mw(model, accepts), profile.power.narrowed_mw(accepts));
        }
        assert_eq!(none.power_caps_mw("a model of next year", (1, 2)), (1, 2));
        assert_eq!(none.released_cap_mw("a model of next year", 600_000), 600_000);
    }
}
