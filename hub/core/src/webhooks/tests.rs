//! Deliveries as small stories: what became of tries, and where the delivery stands then.

use proptest::prelude::*;

use super::*;
use crate::documents::{MAX_RECORD_BYTES, encode};

fn hook(types: &[&str]) -> Webhook {
    Webhook {
        id: "0198f3c0-0000-7000-8000-000000000001".to_owned(),
        name: "siem".to_owned(),
        url: "https://siem.example/in".to_owned(),
        types: types.iter().map(|text| (*text).to_owned()).collect(),
        secret_version: 1,
        created_at: Wall(0),
        from: None,
    }
}

fn attempt(n: u64, error: Option<&str>, is_final: bool) -> Attempted {
    Attempted {
        event: format!("event-{n}"),
        place: Place {
            arrival: n,
            index: 0,
            number: n,
        },
        kind: "dev.sentinel.hub.user.create.v1".to_owned(),
        status: error.map(|_| 500),
        error: error.map(str::to_owned),
        is_final,
    }
}

#[test]
fn a_delivery_is_tried_ten_times_over_three_days_and_then_is_a_dead_letter() {
    let mut log = DeliveryLog::new(&hook(&[]));
    let mut now = Wall(0);
    let mut tries = 0;
    loop {
        log.attempted(attempt(1, Some("500"), false), now);
        tries += 1;
        match log.next_try() {
            Some(next) => now = next,
            None => break,
        }
    }
    assert_eq!((tries, log.dead.len(), log.pending.len()), (10, 1, 0));
    assert_eq!(now.0 / 3_600_000, 75, "hours");
    assert_eq!(log.dead[0].attempts, 10);
    assert_eq!(log.resend(Some("event-1"), now), Ok(1));
    log.attempted(attempt(1, None, false), now);
    assert_eq!((log.dead.len(), log.pending.len(), log.delivered), (0, 0, 1));
}

#[test]
fn a_receiver_that_is_gone_for_good_is_not_asked_again() {
    let mut log = DeliveryLog::new(&hook(&[]));
    log.attempted(attempt(1, Some("410"), true), Wall(0));
    assert_eq!((log.dead.len(), log.pending.len()), (1, 0));
    assert!(log.resend(Some("event-2"), Wall(0)).is_err());
}

#[test]
fn the_first_success_wakes_what_waits() {
    let mut log = DeliveryLog::new(&hook(&[]));
    for n in 1..=3 {
        for _ in 0..3 {
            log.attempted(attempt(n, Some("refused"), false), Wall(0));
        }
    }
    assert_eq!(log.next_try(), Some(Wall(1_800_000)));
    log.attempted(attempt(4, None, false), Wall(60_000));
    assert_eq!(log.next_try(), Some(Wall(60_000)));
}

#[test]
fn a_pattern_chooses_types() {
    let kind = "dev.sentinel.hub.user.create.v1";
    for (types, wanted) in [
        (&[][..], true),
        (&["dev.sentinel.hub.*"][..], true),
        (&["dev.sentinel.agent.*", kind][..], true),
        (&["dev.sentinel.hub.user"][..], false),
    ] {
        assert_eq!(hook(types).wants(kind), wanted, "{types:?}");
    }
    assert!(hook(&["*x*"]).check().is_err());
    assert!(hook(&["dev.sentinel.*"]).check().is_ok());
}

proptest! {
    #[test]
    fn no_delivery_is_lost_and_the_record_stays_bounded(tries in proptest::collection::vec((0u64..80, any::<bool>(), 0u8..20), 0..600)) {
        let mut log = DeliveryLog::new(&hook(&[]));
        let mut open = std::collections::BTreeSet::new();
        for (n, ok, finally) in tries {
            let is_known = log.pending.iter().any(|known| known.event == format!("event-{n}"));
            if !is_known && !log.has_room() {
                continue;
            }
            let error = (!ok).then_some("x".repeat(400));
            log.attempted(attempt(n, error.as_deref(), finally == 0), Wall(1));
            let is_open = log.pending.iter().any(|known| known.event == format!("event-{n}"));
            if is_open { open.insert(n); } else { open.remove(&n); }
            prop_assert_eq!(log.pending.len(), open.len());
            prop_assert!(log.dead.len() <= MOST_DEAD && log.recent.len() <= MOST_RECENT);
            prop_assert!(encode(&log).len() <= MAX_RECORD_BYTES);
        }
    }
}
