use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    id: String,
    text: String,
    live: bool,
    key: Option<String>,
}

impl Document for Note {
    const KIND: &'static str = "note";
    const VERSION: u8 = 2;
    const MOST_LIVE: usize = 4;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn unique(&self) -> Vec<String> {
        self.key.iter().cloned().collect()
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        let (id, text): (String, String) = codec::decode(bytes).ok()?;
        (version == 1).then_some(Self {
            id,
            text,
            live: true,
            key: None,
        })
    }
}

fn note(id: &str, text: &str) -> Note {
    Note {
        id: id.to_owned(),
        text: text.to_owned(),
        live: true,
        key: None,
    }
}

fn text(found: Option<&Note>) -> &str {
    found.map_or("-", |note| &note.text)
}

#[test]
fn the_newest_and_the_stored_revision_are_told_apart() {
    let mut notes = Documents::default();
    let first = notes.put(note("a", "one"), 0).expect("room");
    assert_eq!((text(notes.get("a")), text(notes.stored("a"))), ("one", "-"));
    notes.settle("a", first.revision, true);
    let second = notes.put(note("a", "two"), 0).expect("room");
    assert_eq!((first.revision, second.revision), (1, 2));
    assert_eq!((text(notes.get("a")), text(notes.stored("a"))), ("two", "one"));
}

#[test]
fn a_failure_takes_back_what_followed_and_the_next_revision_fits_the_store() {
    let mut notes = Documents::default();
    notes.put(note("a", "one"), 0).expect("room");
    notes.settle("a", 1, true);
    notes.put(note("a", "two"), 0).expect("room");
    notes.put(note("a", "three"), 0).expect("room");
    notes.settle("a", 2, false);
    assert_eq!(text(notes.get("a")), "one");
    assert_eq!(notes.put(note("a", "four"), 0).expect("room").revision, 2);
}

#[test]
fn a_unique_key_belongs_to_one_document_also_when_that_is_finished() {
    let keyed = |id: &str, live| Note {
        key: Some("k".to_owned()),
        live,
        ..note(id, "")
    };
    let mut notes = Documents::default();
    notes.put(keyed("a", false), 0).expect("free");
    notes.settle("a", 1, true);
    assert!(notes.is_empty(), "finished");
    let refused = notes.put(keyed("b", true), 0).expect_err("taken");
    assert_eq!(refused.to_string(), "`k` belongs to note `a`");
    assert_eq!(notes.holder("k"), Some("a"), "nothing of the refused one stays");
}

#[test]
fn a_key_that_was_given_up_in_vain_is_its_former_owners_again() {
    let keyed = |id: &str, key: Option<&str>| Note {
        key: key.map(str::to_owned),
        ..note(id, "")
    };
    for order in [["a", "b"], ["b", "a"]] {
        let mut notes = Documents::default();
        notes.put(keyed("a", Some("k")), 0).expect("room");
        notes.settle("a", 1, true);
        let given = notes.put(keyed("a", None), 0).expect("its own");
        let taken = notes.put(keyed("b", Some("k")), 0).expect("it is free");
        for id in order {
            let put = if id == "a" { &given } else { &taken };
            notes.settle(id, put.revision, false);
        }
        assert_eq!(notes.holder("k"), Some("a"), "{order:?}");
        assert!(notes.put(keyed("c", Some("k")), 0).is_err(), "{order:?}");
    }
}

#[test]
fn bounds_are_named() {
    let mut notes = Documents::default();
    let long = notes.put(note("a", &"x".repeat(MAX_RECORD_BYTES)), 0);
    assert!(long.expect_err("too long").to_string().contains("the most is 65536"));
    for id in ["a", "b", "c", "d"] {
        notes.put(note(id, ""), 0).expect("room");
    }
    let full = notes.put(note("e", ""), 0).expect_err("full");
    assert!(full.to_string().starts_with("4 documents of kind `note` are live"));
}

#[test]
fn older_versions_are_read_and_newer_ones_are_named() {
    let mut older = vec![1];
    older.extend(codec::encode(&("a", "text")));
    assert_eq!(decode::<Note>("a", &older), Ok(note("a", "text")));
    let error = decode::<Note>("a", &[3, 0]).expect_err("unknown");
    assert!(error.to_string().contains("version Some(3)"), "{error}");
}

proptest! {
    /// Whatever fails and in which order: the newest revision is what a reader of the store plus the pending rows would get.
    #[test]
    fn revisions_stay_consecutive_over_failures(steps in proptest::collection::vec((0u8..3, any::<bool>()), 1..40)) {
        let mut notes = Documents::default();
        let mut flying: VecDeque<u64> = VecDeque::new();
        let mut stored = 0;
        for (step, (kind, is_stored)) in steps.into_iter().enumerate() {
            if kind > 0 {
                let put = notes.put(note("a", &step.to_string()), 0).expect("one document");
                prop_assert_eq!(put.revision, flying.back().copied().unwrap_or(stored) + 1);
                flying.push_back(put.revision);
            } else if let Some(revision) = flying.pop_front() {
                notes.settle("a", revision, is_stored);
                if is_stored { stored = revision } else { flying.clear() }
            }
        }
        prop_assert_eq!(notes.get("a").is_some(), stored > 0 || !flying.is_empty());
    }
}
