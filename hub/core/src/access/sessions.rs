//! What people have open, and the tokens of their programs.
//!
//! Decides when a session ends: by its date, by its person, by a change of the account, or because a refresh token came a second
//! time, which means that two hold it.
//!
//! Invariant: a person has at most [`MOST_EACH`] sessions; the oldest gives way.

use wire::change::{Caller, ChangeRecord};
use wire::ids::Digest;

use super::{Access, ApiToken, Session};
use crate::cx::Cx;
use crate::documents::Document;
use crate::effect::Answer;

/// Sessions of one person: their screens and shells.
const MOST_EACH: usize = 32;
/// Tokens of one person.
const MOST_TOKENS_EACH: usize = 64;

impl Access {
    pub(super) fn open(&mut self, caller: Caller, session: Session, cx: &mut Cx<'_>) -> Result<Answer, String> {
        if self.users.get(&session.user).is_none_or(|user| user.disabled) {
            return Err(format!("the account `{}` is closed", session.name));
        }
        while let Some(oldest) = self.oldest_beyond(&session.user) {
            self.drop_session(&oldest, cx);
        }
        let put = self
            .sessions
            .put(session.clone(), 0)
            .map_err(|error| error.to_string())?;
        cx.record(ChangeRecord::new(caller, "session.open", super::target(&session.name)));
        cx.put(put);
        Ok(Answer::Session(Box::new(session)))
    }

    fn oldest_beyond(&self, user: &str) -> Option<String> {
        let of_user = || self.sessions.iter().filter(|session| session.user == user);
        // Ids are UUIDv7, so the first is the oldest.
        (of_user().count() >= MOST_EACH).then(|| of_user().next().map(|session| session.id.clone()))?
    }

    pub(super) fn refresh(
        &mut self,
        caller: Caller,
        id: &str,
        given: &Digest,
        next: Digest,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, String> {
        let ended = || "this session has ended: log in again".to_owned();
        let session = self.sessions.get(id).filter(|session| session.ends > cx.now.wall);
        let mut session = session.cloned().ok_or_else(ended)?;
        if session.secret != *given {
            let change = ChangeRecord::new(caller, "session.refresh", super::target(&session.name));
            let reason = "a refresh token was used twice, so two hold it: the session is ended";
            cx.record(change.refused("reused", reason));
            self.drop_session(id, cx);
            // Told when the end of the session is stored, and not before.
            return Ok(Answer::Rejected { reason: ended() });
        }
        session.secret = next;
        let put = self
            .sessions
            .put(session.clone(), 0)
            .map_err(|error| error.to_string())?;
        cx.put(put);
        Ok(Answer::Session(Box::new(session)))
    }

    pub(super) fn close(&mut self, caller: Caller, id: &str, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let Some(session) = self.sessions.get(id).cloned() else {
            return Err("this session has ended already".to_owned());
        };
        cx.record(ChangeRecord::new(caller, "session.close", super::target(&session.name)));
        self.drop_session(id, cx);
        Ok(Answer::Session(Box::new(session)))
    }

    /// Ends everything that a person has open.
    pub(super) fn close_all(&mut self, user: &str, cx: &mut Cx<'_>) {
        let of_user = self.sessions.iter().filter(|session| session.user == user);
        let ids: Vec<String> = of_user.map(|session| session.id.clone()).collect();
        ids.iter().for_each(|id| self.drop_session(id, cx));
    }

    fn drop_session(&mut self, id: &str, cx: &mut Cx<'_>) {
        if let Some(put) = self.sessions.remove(id) {
            cx.put(put);
        }
    }

    pub(super) fn create_token(&mut self, caller: Caller, token: ApiToken, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let of_owner = self.tokens.iter().filter(|known| known.user == token.user);
        if of_owner.count() >= MOST_TOKENS_EACH {
            return Err(format!(
                "`{}` has {MOST_TOKENS_EACH} tokens, which is the most: revoke one",
                token.owner
            ));
        }
        let put = self.tokens.put(token.clone(), 0).map_err(|error| error.to_string())?;
        let change = ChangeRecord::new(caller, "api-token.create", token_target(&token));
        cx.record(change.with("role", token.role).with("ends", token.ends));
        cx.put(put);
        Ok(Answer::ApiToken(Box::new(token)))
    }

    pub(super) fn revoke_token(&mut self, caller: Caller, id: &str, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let Some(token) = self.tokens.get(id).cloned() else {
            return Err(format!(
                "there is no API token `{id}`: `sentinel get tokens` lists them"
            ));
        };
        if let Some(put) = self.tokens.remove(id) {
            cx.record(ChangeRecord::new(caller, "api-token.revoke", token_target(&token)));
            cx.put(put);
        }
        Ok(Answer::ApiToken(Box::new(token)))
    }

    pub(super) fn token_used(&mut self, id: &str, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let Some(token) = self.tokens.get(id).cloned() else {
            return Err(format!("there is no API token `{id}`"));
        };
        let token = ApiToken {
            used_at: Some(cx.now.wall),
            ..token
        };
        cx.put(self.tokens.put(token.clone(), 0).map_err(|error| error.to_string())?);
        Ok(Answer::ApiToken(Box::new(token)))
    }

    pub(super) fn remove_tokens(&mut self, user: &str, cx: &mut Cx<'_>) {
        let of_user = self.tokens.iter().filter(|token| token.user.as_deref() == Some(user));
        let ids: Vec<String> = of_user.map(|token| token.id.clone()).collect();
        for put in ids.iter().filter_map(|id| self.tokens.remove(id)) {
            cx.put(put);
        }
    }

    /// Sessions that have ended by their date.
    pub(super) fn sweep(&mut self, cx: &mut Cx<'_>) {
        let ended = self.sessions.iter().filter(|session| session.ends <= cx.now.wall);
        let ids: Vec<String> = ended.map(|session| session.id.clone()).collect();
        ids.iter().for_each(|id| self.drop_session(id, cx));
    }
}

fn token_target(token: &ApiToken) -> String {
    format!("{}/{}", ApiToken::KIND, token.name)
}
