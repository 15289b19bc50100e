//! A task that may not go on now, for a reason that passes by itself: it waits in the queue until then, with the code that says why.
//!
//! Invariant: what was put off is no attempt: nobody could have done it.

use wire::change::{Caller, ChangeRecord};

use super::record::{Task, TaskState};
use super::wishes::Pause;
use super::{Right, Tasks, cut, target};
use crate::cx::Cx;
use crate::effect::Answer;

impl Tasks {
    /// Takes a lease back until a time.
    pub(super) fn put_off(
        &mut self,
        caller: Caller,
        right: &Right,
        pause: &Pause,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.held(right)?;
        task.lease = None;
        task.state = TaskState::Queued;
        task.attempts = task.attempts.saturating_sub(1);
        task.started_at = None;
        // Never before now: a clock that was set back must not make it spin.
        task.not_before = pause.until.max(cx.now.wall);
        task.codes = vec![cut(&pause.code)];
        task.reason = cut(&pause.reason);
        let change = ChangeRecord::new(caller, "task.put-off", target(&task.id))
            .because(cut(&pause.reason))
            .with("code", &pause.code)
            .with("until", task.not_before);
        self.put(task, change, cx)
    }
}
