//! Which task is next in line: a pure function of all tasks and the time.
//!
//! Order: priority, then the repository that has the fewest leases at present (nobody's flood starves another), then age. A
//! repository never has more than [`PER_REPOSITORY`] at once, a branch one. How many the hub has at once is policy's
//! (`judge.rs`).

use wire::time::Wall;

use super::record::{Task, TaskState};

/// Of one repository.
pub const PER_REPOSITORY: usize = 2;
/// Leases that a task may have before it is dead.
pub const ATTEMPTS: u32 = 3;
/// A lease is lost this long after its last extension.
pub const LEASE_MS: i64 = 60_000;
/// Tasks that may be leased now, the next one first.
pub fn line<'a>(tasks: impl Iterator<Item = &'a Task> + Clone, now: Wall) -> Vec<&'a Task> {
    let busy = || {
        tasks
            .clone()
            .filter(|task| matches!(task.state, TaskState::Leased | TaskState::Publishing))
    };
    let of = |repository: &str| busy().filter(|task| task.repository == repository).count();
    let fits = |task: &&Task| {
        task.state == TaskState::Queued
            && task.agent.is_none()
            && task.not_before <= now
            && of(&task.repository) < PER_REPOSITORY
            && !busy().any(|other| other.repository == task.repository && other.branch == task.branch)
    };
    let mut line: Vec<&Task> = tasks.clone().filter(fits).collect();
    line.sort_by_key(|task| {
        (
            std::cmp::Reverse(task.priority),
            of(&task.repository),
            task.created_at,
            &task.id,
        )
    });
    line
}

/// How long a task waits after its `attempts`-th lost lease: 60 s, as the original meant, then four times as long each time.
pub fn backoff_ms(attempts: u32) -> i64 {
    60_000 * 4_i64.pow(attempts.saturating_sub(1).min(4))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::record::{Lease, Priority};
    use super::*;

    pub(crate) fn task(id: &str, repository: &str, branch: &str, created_at: i64) -> Task {
        Task {
            id: id.to_owned(),
            source: "gitea".to_owned(),
            repository: repository.to_owned(),
            commit: "c0ffee".to_owned(),
            check: id.to_owned(),
            branch: branch.to_owned(),
            delivery: id.to_owned(),
            not_before: Wall(0),
            ..Task::fresh(Wall(created_at))
        }
    }

    fn leased(mut task: Task) -> Task {
        task.state = TaskState::Leased;
        task.lease = Some(Lease {
            id: "l".to_owned(),
            agent: "a".to_owned(),
            until: Wall(60_000),
            deadline: Wall(60_000),
        });
        task
    }

    fn next_id(tasks: &[Task]) -> Option<&str> {
        line(tasks.iter(), Wall(100)).first().map(|task| task.id.as_str())
    }

    #[test]
    fn the_default_branch_goes_first_and_then_the_oldest() {
        let mut tasks = vec![
            task("a", "r/a", "x", 2),
            task("b", "r/b", "x", 1),
            task("c", "r/c", "main", 3),
        ];
        assert_eq!(next_id(&tasks), Some("b"));
        tasks[2].priority = Priority::High;
        assert_eq!(next_id(&tasks), Some("c"));
    }

    #[test]
    fn a_flood_of_one_repository_does_not_starve_another() {
        let tasks = [
            leased(task("a", "r/a", "one", 1)),
            task("b", "r/a", "two", 2),
            task("c", "r/b", "x", 9),
        ];
        assert_eq!(next_id(&tasks), Some("c"));
        assert_eq!(next_id(&tasks[..2]), Some("b"));
    }

    #[test]
    fn a_branch_has_one_at_once_and_a_held_head_does_not_hide_the_next() {
        let mut waiting = task("a", "r/a", "x", 1);
        waiting.not_before = Wall(101);
        assert_eq!(next_id(&[waiting, task("b", "r/b", "x", 2)]), Some("b"));
        let same_branch = [leased(task("a", "r/a", "x", 1)), task("b", "r/a", "x", 2)];
        assert_eq!(next_id(&same_branch), None);
    }
}
