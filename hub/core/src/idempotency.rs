//! What callers want done at most once: the keys that they gave, what they were given for, and what was answered.
//!
//! Decides whether a request with a key is new, is being done, was done, or has another body than the one before it. The key is stored
//! before anything is done, so it survives a crash: what was begun and has no answer is told as such and not done again, because
//! nobody knows how far it came.
//!
//! Invariant: of requests with one key at most one is ever carried out. Bounded by [`Remembered::MOST_LIVE`] and `MOST_BYTES`: the
//! oldest give way first, and none is kept for longer than [`KEPT_MS`].
//!
//! Read next: `hub/src/http/once.rs` (who asks).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wire::ids::Digest;
use wire::time::Wall;

use crate::cx::Cx;
use crate::documents::{Document, Documents, Unreadable};
use crate::effect::Answer;
use crate::hub::recover;
use crate::input::Recovered;

/// How long a key is kept, in milliseconds: a day, so that whoever was cut off over night is still answered.
pub const KEPT_MS: i64 = 24 * 3_600_000;
/// Longest answer that is kept whole, in bytes.
pub const MOST_ANSWER_BYTES: usize = 16 * 1024;
/// Bytes of all kept answers.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// A request that somebody wants done at most once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Hash of who asks, the key and the route, so that nobody meets another's.
    pub id: String,
    /// Hash of everything else that the request says.
    pub request: Digest,
    /// When it came.
    pub came_at: Wall,
    /// What was answered; `None` while that is not known.
    pub answer: Option<KeptAnswer>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Status.
    pub status: u16,
    /// Content type.
    pub kind: String,
    /// The body; `None` for one that held a secret, or was too long.
    pub body: Option<Vec<u8>>,
}

/// What the shell asks about keys.
#[derive(Debug, Clone)]
pub enum KeyRequest {
    /// Somebody wants this done.
    Begin {
        /// Hash of who asks, the key and the route.
        id: String,
        /// Hash of everything else.
        request: Digest,
    },
    /// It was done, and this was answered.
    Finish {
        /// Which.
        id: String,
        /// What.
        answer: KeptAnswer,
    },
    /// Nothing was done: the key is free again.
    Forget {
        /// Which.
        id: String,
    },
}

/// How a request with a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody gave this key before: do it.
    New,
    /// It is being done.
    UnderWay,
    /// It was done.
    Done(KeptAnswer),
    /// The key was given for something else.
    OtherRequest,
    /// It was begun before the hub stopped, and nobody knows how far it came.
    Lost,
}

/// All keys.
#[derive(Debug, Default)]
pub struct Keys {
    kept: Documents<Remembered>,
    /// Those that this process is doing.
    under_way: BTreeSet<String>,
}

impl Keys {
    pub(crate) fn recovered(recovered: &mut Recovered) -> Result<Self, Unreadable> {
        Ok(Self {
            kept: recover::<Remembered, _>(recovered, Documents::recovered)?,
            under_way: BTreeSet::new(),
        })
    }

    pub(crate) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.kept.settle(id, revision, is_stored);
        if self.kept.get(id).is_none() {
            self.under_way.remove(id);
        }
    }

    pub(crate) fn handle(&mut self, request: u64, what: KeyRequest, cx: &mut Cx<'_>) {
        match what {
            KeyRequest::Begin { id, request: of } => self.begin(request, id, of, cx),
            KeyRequest::Finish { id, answer } => {
                self.under_way.remove(&id);
                if let Some(mut known) = self.kept.get(&id).cloned() {
                    known.answer = Some(answer);
                    self.put(known, cx);
                }
                cx.reply_when_stored(request, Answer::Noted);
            }
            KeyRequest::Forget { id } => {
                self.under_way.remove(&id);
                self.drop_key(&id, cx);
                cx.reply_when_stored(request, Answer::Noted);
            }
        }
    }

    fn begin(&mut self, request: u64, id: String, of: Digest, cx: &mut Cx<'_>) {
        let standing = self.standing(&id, &of, cx.now.wall);
        if standing != Standing::New {
            return cx.reply(request, Answer::Key(standing));
        }
        self.drop_key(&id, cx);
        self.make_room(cx);
        self.under_way.insert(id.clone());
        let key = Remembered {
            id,
            request: of,
            came_at: cx.now.wall,
            answer: None,
        };
        self.put(key, cx);
        cx.reply_when_stored(request, Answer::Key(Standing::New));
    }

    fn standing(&self, id: &str, of: &Digest, now: Wall) -> Standing {
        let known = self.kept.get(id).filter(|known| !known.is_over(now));
        match known {
            None => Standing::New,
            Some(known) if known.request != *of => Standing::OtherRequest,
            Some(Remembered {
                answer: Some(answer), ..
            }) => Standing::Done(answer.clone()),
            Some(_) if self.under_way.contains(id) => Standing::UnderWay,
            Some(_) => Standing::Lost,
        }
    }

    /// The oldest give way, so that nobody is refused for what others asked.
    fn make_room(&mut self, cx: &mut Cx<'_>) {
        loop {
            let bytes: usize = self.kept.iter().map(Remembered::bytes).sum();
            let count = self.kept.iter().count();
            if count < Remembered::MOST_LIVE && bytes < MOST_BYTES {
                return;
            }
            let idle = self.kept.iter().filter(|known| !self.under_way.contains(&known.id));
            let Some(oldest) = idle.min_by_key(|known| known.came_at).map(|known| known.id.clone()) else {
                return;
            };
            self.drop_key(&oldest, cx);
        }
    }

    /// What is over goes.
    pub(crate) fn sweep(&mut self, cx: &mut Cx<'_>) {
        let over = self.kept.iter().filter(|known| known.is_over(cx.now.wall));
        let over: Vec<String> = over.map(|known| known.id.clone()).collect();
        over.iter().for_each(|id| self.drop_key(id, cx));
    }

    fn put(&mut self, key: Remembered, cx: &mut Cx<'_>) {
        // Refused only when too many are under way at once: then it is not remembered, and a second one is done again.
        if let Ok(put) = self.kept.put(key, 0) {
            cx.put(put);
        }
    }

    fn drop_key(&mut self, id: &str, cx: &mut Cx<'_>) {
        if let Some(put) = self.kept.remove(id) {
            cx.put(put);
        }
    }
}

impl Remembered {
    fn is_over(&self, now: Wall) -> bool {
        now.0.saturating_sub(self.came_at.0) > KEPT_MS
    }

    fn bytes(&self) -> usize {
        let body = self.answer.as_ref().and_then(|answer| answer.body.as_ref());
        body.map_or(0, Vec::len)
    }
}

impl Document for Remembered {
    const KIND: &'static str = "idempotency_key";
    const VERSION: u8 = 1;
    /// A day of programs that act once every ten seconds or so.
    const MOST_LIVE: usize = 10_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{StoredDocument, encode};

    fn keys(kept: &[Remembered]) -> Keys {
        let rows = kept.iter().map(|known| StoredDocument {
            kind: Remembered::KIND.to_owned(),
            id: known.id.clone(),
            revision: 1,
            record: encode(known),
        });
        Keys {
            kept: Documents::recovered(rows, []).expect("of this version"),
            under_way: BTreeSet::new(),
        }
    }

    fn key(answer: Option<KeptAnswer>) -> Remembered {
        Remembered {
            id: "k".to_owned(),
            request: Digest::of(b"body"),
            came_at: Wall(1_000),
            answer,
        }
    }

    #[test]
    fn a_key_stands_as_what_became_of_its_request() {
        let answer = KeptAnswer {
            status: 200,
            kind: "application/json".to_owned(),
            body: Some(b"{}".to_vec()),
        };
        let (same, other) = (Digest::of(b"body"), Digest::of(b"other"));
        let now = Wall(2_000);
        assert_eq!(keys(&[]).standing("k", &same, now), Standing::New);
        let done = keys(&[key(Some(answer.clone()))]);
        assert_eq!(done.standing("k", &same, now), Standing::Done(answer));
        assert_eq!(done.standing("k", &other, now), Standing::OtherRequest);
        assert_eq!(
            done.standing("k", &same, Wall(1_001 + KEPT_MS)),
            Standing::New,
            "a day later"
        );
    }

    #[test]
    fn what_was_begun_before_a_crash_is_never_done_again() {
        let mut keys = keys(&[key(None)]);
        let same = Digest::of(b"body");
        assert_eq!(keys.standing("k", &same, Wall(2_000)), Standing::Lost);
        keys.under_way.insert("k".to_owned());
        assert_eq!(keys.standing("k", &same, Wall(2_000)), Standing::UnderWay);
    }
}
