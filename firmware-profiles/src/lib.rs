//! Firmware profiles: what is known of a device's model before it is asked, and the bounds that follow from it.
//!
//! A profile is a file in `profiles/`, one for each model, in which every number names its source. It bounds everything that an agent may
//! ask of such a device; what the device itself reports narrows that further. A model without a profile is bounded by its own word
//! alone. To add one, write a file: the tests find it by themselves.
//!
//! Invariant: a range that comes out of here lies within both, the profile's and the device's; where they have nothing in common it
//! is empty, and everything is refused.
//!
//! Decides nothing. Read next: `profile.rs` (what a file says), `catalogue.rs` (people's own beside it), `edge-agent/core` (who asks).

mod catalogue;
mod profile;

use std::sync::OnceLock;

pub use catalogue::Catalogue;
pub use profile::{Memory, Power, Profile, Sourced, Style, Temperature};

/// The files, as they were when this was built.
#[derive(rust_embed::Embed)]
#[folder = "profiles"]
struct Files;

/// Every profile, in the order of their ids.
///
/// A file that cannot be read is left out, so that its devices are bounded by their own word; a test reads every one.
pub fn all() -> &'static [Profile] {
    static ALL: OnceLock<Vec<Profile>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all: Vec<Profile> = Files::iter().filter_map(|name| read(&name).ok()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    })
}

/// The profile of a model, by the name that its driver tells: `NVIDIA L40S`. A simulated device (`Sim L40S`) has the profile of what it
/// plays. Letters may be large or small.
pub fn of(model: &str) -> Option<&'static Profile> {
    all().iter().find(|profile| profile.names(model))
}

fn read(name: &str) -> Result<Profile, String> {
    let file = Files::get(name).ok_or_else(|| format!("{name} is not there"))?;
    let text = std::str::from_utf8(&file.data).map_err(|cause| format!("{name}: {cause}"))?;
    Profile::parse(text).map_err(|problem| format!("{name}: {problem}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_a_profile_and_no_two_are_of_one_model() {
        let mut names = BTreeMap::new();
        for file in Files::iter() {
            let profile = read(&file).unwrap_or_else(|problem| panic!("{problem}"));
            let stem = Path::new(&*file).with_extension("");
            let stem = stem.to_string_lossy().replace(['/', '\\'], "-");
            assert_eq!(profile.id, stem, "{file}: the id is the path");
            for model in &profile.models {
                let other = names.insert(model.to_lowercase(), file.clone());
                assert_eq!(other, None, "{file}: {model} is in another file too");
                assert_eq!(of(model).map(|found| &found.id), Some(&profile.id), "{model}");
            }
        }
        assert!(all().len() >= 12, "{} profiles", all().len());
    }

    #[test]
    fn a_model_is_found_by_its_whole_name() {
        let check = |model: &str, expected: Option<&str>| {
            assert_eq!(of(model).map(|profile| profile.id.as_str()), expected, "{model}");
        };
        check("NVIDIA L40S", Some("nvidia-l40s"));
        check("nvidia l40s", Some("nvidia-l40s"));
        check("Sim L40S", Some("nvidia-l40s"));
        check("NVIDIA L4", Some("nvidia-l4"));
        check("NVIDIA L40", None);
        check("L40S", None);
        check("", None);
    }

    #[test]
    fn what_a_device_accepts_is_narrowed_by_its_profile() {
        let check = |model: &str, accepts: (u32, u32), expected: (u32, u32)| {
            assert_eq!(
                Catalogue::default().power_caps_mw(model, accepts),
                expected,
                "{model} {accepts:?}"
            );
        };
        check("NVIDIA L40S", (100_000, 350_000), (100_000, 350_000));
        check("NVIDIA L40S", (150_000, 300_000), (150_000, 300_000));
        check("NVIDIA L40S", (0, u32::MAX), (100_000, 350_000));
        // Another device than it says it is: nothing may be asked of it.
        check("NVIDIA L40S", (400_000, 700_000), (400_000, 350_000));
        check("a model of next year", (1, 2), (1, 2));
    }

    #[test]
    fn what_is_given_back_is_no_more_than_the_profile_has() {
        for (model, default, expected) in [
            ("NVIDIA L40S", 350_000, 350_000),
            ("NVIDIA L40S", 300_000, 300_000),
            ("NVIDIA L40S", 600_000, 350_000),
            ("a model of next year", 600_000, 600_000),
        ] {
            assert_eq!(
                Catalogue::default().released_cap_mw(model, default),
                expected,
                "{model} {default}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn a_range_lies_within_both(index in 0usize..64, low in 0u32..1_200_000, high in 0u32..1_200_000) {
            let profile = &all()[index % all().len()];
            let (min, max) = Catalogue::default().power_caps_mw(&profile.models[0], (low, high));
            proptest::prop_assert!(min >= low && max <= high);
            proptest::prop_assert!(i64::from(min) >= profile.power.min.value * 1_000);
            proptest::prop_assert!(i64::from(max) <= profile.power.max.value * 1_000);
        }
    }
}
