//! Whom a node goes through, and how it tells one kind of cut from another.

use wire::frame::Uplink;

use super::*;
use crate::Input;
use crate::testing::{self, Rig};

fn name(text: &str) -> AgentId {
    AgentId::new(text).expect("a name")
}

/// Neighbours of `NAME:REACH:RTT`, with more words behind it: a site `@s`, a carrier `<c`, loss `-50`, `metered`, `away`, `narrow`,
/// `doubted`, `gone`.
fn site(text: &str) -> Vec<NeighbourView> {
    let one = |word: &str| {
        let mut parts = word.split(':');
        let mut next = || parts.next().expect("NAME:REACH:RTT");
        let mut view = NeighbourView::unheard(name(next()));
        view.in_touch = true;
        (view.reach, view.hops) = match next() {
            "direct" => (Reach::Direct, 0),
            "carried" => (Reach::Carried, 1),
            "twice" => (Reach::Carried, 2),
            _ => (Reach::Alone, 0),
        };
        view.rtt_us = next().parse().expect("microseconds");
        for more in parts {
            match more.split_at(1) {
                ("@", site) => site.clone_into(&mut view.site),
                ("<", via) => view.via = Some(name(via)),
                ("-", lost) => view.lost_per_mille = lost.parse().expect("a number"),
                _ if more == "metered" => view.uplink = Uplink::Metered,
                _ if more == "away" => view.hub_away = true,
                _ if more == "narrow" => view.too_narrow = true,
                _ if more == "doubted" => view.doubted = true,
                _ => view.in_touch = false,
            }
        }
        view
    };
    text.split_whitespace().map(one).collect()
}

#[test]
fn the_hub_hears_once_of_each_path_of_a_session_and_nothing_of_an_own_one() {
    let mut rig = Rig::new();
    let told = |rig: &mut Rig| -> Vec<Option<AgentId>> {
        let frames = std::mem::take(&mut rig.frames).into_iter();
        let paths = frames.filter_map(|frame| match frame {
            Frame::NodePath(path) => Some(path.via),
            _ => None,
        });
        paths.collect()
    };
    let path = |via: Option<&str>| Input::Path {
        via: via.map(name),
        metered: false,
    };
    rig.connect();
    rig.handle(path(None));
    assert_eq!(told(&mut rig), []);
    let via = Some(name("edge-04"));
    rig.handle(path(Some("edge-04")));
    rig.handle(path(Some("edge-04")));
    assert_eq!((told(&mut rig), rig.agent.via()), (vec![via.clone()], via.as_ref()));
    rig.handle(Input::Neighbours(site("edge-04:carried:1:<edge-05")));
    assert_eq!(rig.agent.path(), [name("edge-04"), name("edge-05")]);
    rig.handle(path(None));
    assert_eq!((told(&mut rig), rig.agent.via()), (vec![None], None));
}

#[test]
fn the_cheapest_the_shortest_and_the_quickest_way_is_taken() {
    for (neighbours, expected) in [
        ("", ""),
        ("a:alone:1 b:direct:1:gone", ""),
        ("a:carried:1 b:twice:1:<a", ""),
        ("a:carried:1:<me", ""),
        ("a:direct:900 b:direct:300 c:carried:1:<b", "b a c"),
        ("b:direct:300 a:direct:300", "a b"),
        ("a:direct:300:-40 b:direct:20000", "b a"),
        ("a:direct:1:metered b:direct:9000 c:carried:1:<b", "b c a"),
        ("a:direct:1:narrow b:direct:9000", "b"),
        (
            "a:direct:1:doubted b:direct:9000 c:carried:1:<b d:direct:1:metered",
            "b c d a",
        ),
        ("a:direct:1:doubted", "a"),
    ] {
        let neighbours = site(neighbours);
        let carriers = carriers(&name("me"), &neighbours);
        let found: Vec<&str> = carriers.iter().map(|neighbour| neighbour.name.as_str()).collect();
        assert_eq!(found.join(" "), expected, "{neighbours:?}");
    }
}

#[test]
fn a_carrier_is_kept_unless_it_is_gone_or_another_is_much_better() {
    for (neighbours, expected) in [
        ("a:direct:900 b:direct:500", None),
        ("a:direct:900 b:direct:400", Some("b")),
        ("a:carried:1:<b b:direct:900", Some("b")),
        ("a:direct:1:metered b:direct:900", Some("b")),
        ("a:alone:1 b:carried:900:<c", Some("b")),
        ("a:direct:1:gone b:direct:900", Some("b")),
        ("a:direct:1:doubted b:direct:900", Some("b")),
        ("a:direct:900 b:direct:1:doubted", None),
        ("b:direct:900", Some("b")),
        ("a:alone:1", None),
    ] {
        let neighbours = site(neighbours);
        let found = better_than(&name("me"), &name("a"), &neighbours);
        assert_eq!(found.map(|found| found.name.as_str()), expected, "{neighbours:?}");
    }
}

#[test]
fn a_neighbour_that_can_carry_now_is_worth_a_try_also_where_another_one_could() {
    for (before, now, expected) in [
        ("", "a:direct:1", true),
        ("a:direct:1", "a:direct:1", false),
        ("a:direct:1", "a:direct:1 b:carried:1:<c", true),
        ("a:direct:1 b:alone:1", "b:direct:1", true),
        ("a:direct:1 b:direct:1", "b:direct:1", false),
        ("a:alone:1", "a:carried:1:<me", false),
    ] {
        let found = is_there_another(&name("me"), &site(before), &site(now));
        assert_eq!(found, expected, "{before} then {now}");
    }
}

#[test]
fn how_far_a_cut_goes_is_told_apart() {
    let (own, away) = (Some("connected"), Some("hub away"));
    for (state, neighbours, expected) in [
        (own, "", None),
        (own, "a:alone:1", None),
        (Some("a"), "a:direct:1", Some(Isolation::Node)),
        (Some("a"), "a:carried:1:<b", Some(Isolation::Node)),
        (None, "a:direct:1 b:alone:1", Some(Isolation::Node)),
        (None, "a:carried:1:<b", Some(Isolation::Node)),
        (None, "a:alone:1 b:alone:1", Some(Isolation::Site)),
        (None, "a:direct:1:gone b:alone:1", Some(Isolation::Site)),
        (None, "", Some(Isolation::Unknown)),
        (None, "a:alone:1:gone", Some(Isolation::Unknown)),
        // A member of another site reaches it, or carries: our site does not.
        (None, "a:alone:1:@ours b:direct:1:@theirs", Some(Isolation::Site)),
        (Some("b"), "a:alone:1:@ours b:direct:1:@theirs", Some(Isolation::Site)),
        (
            Some("a"),
            "a:carried:1:@ours:<b b:direct:1:@theirs",
            Some(Isolation::Site),
        ),
        (Some("b"), "a:direct:1:@ours b:direct:1:@theirs", Some(Isolation::Node)),
        // Nobody reaches it, and somebody knows why.
        (None, "a:alone:1:@ours b:alone:1:@theirs", Some(Isolation::Hub)),
        (None, "a:alone:1:@ours:away", Some(Isolation::Hub)),
        (away, "a:alone:1", Some(Isolation::Hub)),
        (away, "", Some(Isolation::Hub)),
        (away, "a:direct:1", Some(Isolation::Node)),
    ] {
        let via = state.filter(|state| ![own, away].contains(&Some(state))).map(name);
        let found = isolation(&Seen {
            connected: state == own || via.is_some(),
            via: via.as_ref(),
            hub_away: state == away,
            site: "ours",
            neighbours: &site(neighbours),
        });
        assert_eq!(found, expected, "{state:?} {neighbours}");
    }
}

#[test]
fn a_path_that_is_too_small_is_told_until_it_is_wide_enough() {
    let mut rig = Rig::new();
    let mut told = |neighbours: &str| {
        rig.handle(Input::Neighbours(site(neighbours)));
        let findings = rig.agent.findings();
        let of_paths = findings.iter().find_map(|text| text.strip_prefix("the local path to "));
        of_paths.map(|text| text.split(" has no room").next().unwrap_or(text).to_owned())
    };
    assert_eq!(told("a:direct:1 b:direct:1"), None);
    assert_eq!(told("a:direct:1:narrow b:direct:1").as_deref(), Some("a"));
    let all = "a:direct:1:narrow b:alone:1:narrow c:direct:1:narrow d:direct:1:narrow e:direct:1:narrow";
    assert_eq!(told(all).as_deref(), Some("a, b, c and 2 more"));
    assert_eq!(
        told("a:direct:1:narrow:gone b:direct:1"),
        None,
        "nothing is known of one that is gone"
    );
    assert_eq!(rig.agent.unhealthy(), None, "the node itself is well");
}

#[test]
fn a_hub_that_takes_its_leave_is_away_until_it_is_heard_again() {
    let mut rig = Rig::new();
    rig.connect();
    assert_eq!(rig.agent.isolation(), None);
    rig.handle(Input::Frame(Frame::Goodbye(wire::frame::Goodbye {
        reason: wire::frame::GoodbyeReason::Stopping,
        retry_after_ms: 0,
        detail: "stopping".to_owned(),
    })));
    rig.handle(Input::LinkDown {
        reason: "stopping".to_owned(),
    });
    assert_eq!(rig.agent.isolation(), Some(Isolation::Hub));
    rig.connect();
    rig.handle(Input::LinkDown {
        reason: "cut".to_owned(),
    });
    assert_eq!(rig.agent.isolation(), Some(Isolation::Unknown));
    rig.handle(Input::HubAsked { refused: true });
    assert_eq!(rig.agent.isolation(), Some(Isolation::Hub));
}

#[test]
fn rules_know_how_far_a_cut_goes_and_a_decision_keeps_it() {
    let rule = "
  - id: quiet-while-cut-off
    kind: cel
    require: 'action.kind != \"restart\" || facts[\"isolation.site\"] == 0'
";
    let mut rig = Rig::under(&format!("{}{rule}", testing::BUNDLE));
    rig.handle(Input::Neighbours(site("edge-04:alone:1")));
    let judged = |rig: &mut Rig| {
        let judge = rig.agent.judge.as_ref().expect("a bundle");
        judge.fact("isolation.site")
    };
    assert_eq!(judged(&mut rig), Some(1));
    rig.handle(Input::Neighbours(site("edge-04:direct:1")));
    assert_eq!(judged(&mut rig), Some(0));
}
