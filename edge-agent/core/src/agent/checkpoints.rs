//! Checkpoints of the hub's journal, as an agent keeps them and gives them back.

use wire::entry::ChainHead;
use wire::frame::{Frame, Welcome};
use wire::ids::{Digest, HubEpoch};
use wire::{Checkpoint, SignedCheckpoint, Wall};

use super::*;
use crate::testing::{BUNDLE, Rig, key};

/// The end of the hub's journal at an epoch and entry. Only a hub can tell what its signature is worth.
fn checkpoint(epoch: u64, seq: u64) -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        head: ChainHead {
            epoch: Epoch(epoch),
            seq: Seq(seq),
            digest: Digest::of(b"entry"),
        },
        at: Wall(0),
        trust_domain: "any".to_owned(),
    };
    SignedCheckpoint::sign(&checkpoint, &key())
}

fn hear(rig: &mut Rig, signed: &SignedCheckpoint) {
    rig.handle(Input::Frame(Frame::Checkpoint(signed.clone())));
}

/// A new session with a hub of this epoch; what was given back in it.
fn again(rig: &mut Rig, hub_epoch: u64) -> Vec<SignedCheckpoint> {
    let reason = "a cut".to_owned();
    rig.handle(Input::LinkDown { reason });
    rig.frames.clear();
    rig.pass(400_000);
    rig.handle(Input::Tick);
    rig.handle(Input::LinkUp);
    rig.handle(Input::Frame(Frame::Welcome(Welcome {
        version: 1,
        hub_epoch: HubEpoch(hub_epoch),
        holds: Vec::new(),
        telemetry: Seq(0),
        bundle: BundleRef::NONE,
        session: 6,
        now: Now::default(),
    })));
    let given = rig.frames.iter().filter_map(|frame| match frame {
        Frame::Checkpoint(signed) => Some(signed.clone()),
        _ => None,
    });
    given.collect()
}

#[test]
fn the_newest_is_given_back_once_at_each_session_and_outlives_the_process() {
    let mut rig = Rig::under(BUNDLE);
    rig.connect();
    assert!(again(&mut rig, 3).is_empty(), "nothing was given to be kept");
    for signed in [checkpoint(3, 5), checkpoint(3, 7), checkpoint(3, 6)] {
        hear(&mut rig, &signed);
    }
    assert_eq!(again(&mut rig, 3), [checkpoint(3, 7)]);
    // The next batch makes it durable.
    rig.live(30, 50, 100);
    rig.crash();
    assert_eq!(again(&mut rig, 3), [checkpoint(3, 7)]);
}

#[test]
fn an_older_copy_of_the_hub_does_not_take_the_proof_away() {
    let mut rig = Rig::under(BUNDLE);
    rig.connect();
    hear(&mut rig, &checkpoint(3, 9));
    assert_eq!(again(&mut rig, 3), [checkpoint(3, 9)]);
    hear(&mut rig, &checkpoint(3, 4));
    assert_eq!(
        again(&mut rig, 3),
        [checkpoint(3, 9)],
        "until it goes on in a new epoch"
    );
    hear(&mut rig, &checkpoint(4, 1));
    assert_eq!(again(&mut rig, 4), [checkpoint(4, 1)]);
}

#[test]
fn one_that_could_never_be_replaced_is_not_kept() {
    let mut rig = Rig::under(BUNDLE);
    rig.connect();
    hear(&mut rig, &checkpoint(u64::MAX, u64::MAX));
    let damaged = SignedCheckpoint {
        payload: vec![255; 2_000],
        ..checkpoint(3, 9)
    };
    hear(&mut rig, &damaged);
    assert!(again(&mut rig, 3).is_empty());
    hear(&mut rig, &checkpoint(3, 1));
    assert_eq!(again(&mut rig, 3), [checkpoint(3, 1)]);
}
