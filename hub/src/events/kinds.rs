//! What the hub's own journal tells, by verb: the types `dev.sentinel.hub.VERB.v1`, for the handbook and for those who filter.

/// One verb of the hub's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Subject and verb.
    pub verb: &'static str,
    /// What has happened.
    pub meaning: &'static str,
}

const fn kind(verb: &'static str, meaning: &'static str) -> Kind {
    Kind { verb, meaning }
}

/// Every verb with a name of its own, sorted. A plan's other verbs are `plan.STATE`, one for each state that it enters.
pub const KINDS: &[Kind] = &[
    kind(
        "agent.change",
        "A remediation agent was changed: its name, its key, whether it is trusted.",
    ),
    kind("agent.register", "A remediation agent registered."),
    kind("agent.remove", "A remediation agent was removed."),
    kind(
        "agent.status",
        "A remediation agent came back or is not heard any more.",
    ),
    kind("api-token.create", "A token for a program was made."),
    kind("api-token.revoke", "A token of a program was revoked."),
    kind(
        "audit.accept",
        "A person accepted that the journal is not what agents have seen.",
    ),
    kind(
        "audit.contradict",
        "An agent has seen a checkpoint that this journal does not lead to.",
    ),
    kind(
        "brain.tier",
        "What a brain may do with a verb without a person has changed.",
    ),
    kind("build.size", "An InfraMind said what size a build should have."),
    kind(
        "cluster.register",
        "A Kubernetes cluster was registered, or registered anew.",
    ),
    kind("cluster.remove", "A Kubernetes cluster was removed."),
    kind("command.cancel", "An order to a node was called off."),
    kind(
        "command.order",
        "A person or program ordered something of a node; the same verb tells what came of it.",
    ),
    kind(
        "deployment.create",
        "A workload was created in a cluster, or that was tried.",
    ),
    kind(
        "deployment.delete",
        "A workload was deleted in a cluster, or that was tried.",
    ),
    kind(
        "deployment.deploy",
        "A workload was placed and created, or that was tried.",
    ),
    kind(
        "deployment.drift",
        "A workload is not as it was last wanted here; the entry names whose field manager did it.",
    ),
    kind("deployment.image", "A workload got another image, or that was tried."),
    kind("deployment.pin", "A workload was bound to nodes, or that was tried."),
    kind("deployment.restart", "A workload was restarted, or that was tried."),
    kind(
        "deployment.rollback",
        "A workload was taken back to a revision, or that was tried.",
    ),
    kind("deployment.scale", "A workload was scaled, or that was tried."),
    kind("join-token.create", "A token that joins one node was made."),
    kind("join-token.revoke", "A token that joins a node was revoked."),
    kind("login-link.create", "A link that opens the console once was made."),
    kind("node.allow", "A node that was shut out may come back."),
    kind(
        "node.cordon",
        "A node of a cluster takes no new pods, or that was tried.",
    ),
    kind("node.deny", "A node was shut out."),
    kind("node.drain", "A node of a cluster was emptied, or that was tried."),
    kind("node.enrol", "A node joined."),
    kind("node.fault", "A node told of a fault."),
    kind(
        "node.fork",
        "Two histories of one node were seen: a copy of its folder runs.",
    ),
    kind("node.leave", "A node left for good."),
    kind("node.quarantine", "A node was put into quarantine, and why."),
    kind(
        "node.rejoin",
        "A token was made by which another machine takes over a node's name and history.",
    ),
    kind("node.remove", "A node was removed."),
    kind("node.rename", "A node got another name."),
    kind(
        "node.renew-by-key",
        "A node whose certificate had ended came back by its own key.",
    ),
    kind("node.taint", "A cluster's node got the taint of a fault."),
    kind(
        "node.uncordon",
        "A node of a cluster takes pods again, or that was tried.",
    ),
    kind("node.untaint", "The taint of a fault was taken from a cluster's node."),
    kind("node.well", "A node told that its fault is over."),
    kind(
        "plan.refused",
        "A plan of the hub itself, to scale a workload, could not be taken in.",
    ),
    kind("plan.submit", "Somebody sent a plan."),
    kind(
        "plan.unwritten",
        "A step of a plan could not be written down, so it was not done.",
    ),
    kind(
        "policy.export",
        "Policy was written to a file that is carried to nodes.",
    ),
    kind("policy.publish", "A bundle was published."),
    kind("roles.trust", "A document of the signing roles was taken over."),
    kind("rollout.abort", "A person had a rollout taken back."),
    kind("rollout.change", "A rollout changes something in its cluster."),
    kind("rollout.check", "The analysis of a canary said something new."),
    kind("rollout.move", "A rollout entered another state."),
    kind("rollout.open", "A person opened a gate of a rollout."),
    kind("rollout.pause", "A person paused a rollout."),
    kind("rollout.promote", "A person sent a rollout on."),
    kind("rollout.resume", "A person let a rollout go on."),
    kind("rollout.retry", "A rollback that had failed is tried again."),
    kind("rollout.start", "A rollout was asked for."),
    kind("session.close", "Somebody logged out."),
    kind("session.open", "Somebody logged in."),
    kind(
        "session.refresh",
        "A session was prolonged, or a refresh token was used twice, which ends all of its family.",
    ),
    kind("task.approve", "A person approved what a repair proposes."),
    kind("task.cancel", "A task was cancelled."),
    kind("task.create", "A failed check became a task."),
    kind("task.finish", "A task ended, with its code."),
    kind("task.flaky", "A check failed and passed on the same commit."),
    kind("task.green", "The remote checks of a repair's pull request passed."),
    kind("task.judge", "Policy judged a repair."),
    kind("task.lease", "An agent took a task."),
    kind(
        "task.lease-lost",
        "An agent was not heard for too long; its task is free again.",
    ),
    kind(
        "task.outcome",
        "What became of a pull request: merged, red, taken back, closed.",
    ),
    kind("task.propose", "An agent proposed a repair, with its certificate."),
    kind("task.publish", "A pull request was opened, or that was tried."),
    kind(
        "task.put-off",
        "A task waits for a time: a freeze, a budget of its repository, or a forge that is away.",
    ),
    kind("task.ready", "A pull request is no draft any more."),
    kind("task.reassign", "A task was given to another agent."),
    kind("task.rerun", "A check is run once more."),
    kind("task.resume", "A collaborator let repairs of a pull request go on."),
    kind("task.retry", "A task is tried again."),
    kind("task.stop", "A collaborator stopped repairs of a pull request."),
    kind(
        "task.taken-over",
        "Somebody pushed to a repair's branch, so it is theirs.",
    ),
    kind("user.accept", "An invited person set a password."),
    kind(
        "user.change",
        "A person's role, tenant or password has changed, or the account was disabled.",
    ),
    kind("user.create", "A person was created."),
    kind("user.invite", "A person was invited anew."),
    kind("user.remove", "A person was removed."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// What looks like a verb and is the name of a file or a quantity.
    const NO_VERBS: &[&str] = &[
        "agent.cpu",
        "agent.files",
        "agent.journal",
        "agent.memory",
        "agent.threads",
        "hub.new",
        "hub.redb",
        "hub.refused",
        "hub.test",
        "policy.key",
        "roles.parcel",
    ];

    /// Every `"subject.verb"` in the sources of a folder, without their tests.
    fn said(folder: &Path, subjects: &BTreeSet<&str>, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                said(&path, subjects, found);
            } else if name.ends_with(".rs") && !["tests.rs", "kinds.rs", "suite.rs"].contains(&name.as_str()) {
                let text = std::fs::read_to_string(&path).expect("a source");
                let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                let is_verb = |word: &&str| {
                    let letters = |part: &str| {
                        !part.is_empty() && part.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
                    };
                    let parts = word.split_once('.');
                    parts.is_some_and(|(subject, verb)| subjects.contains(subject) && letters(verb))
                };
                found.extend(text.split('"').filter(is_verb).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_verb_of_the_hub_stands_here() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let subjects = KINDS
            .iter()
            .filter_map(|kind| kind.verb.split_once('.'))
            .map(|(subject, _)| subject);
        let subjects: BTreeSet<&str> = subjects.chain(["hub"]).collect();
        let mut found = BTreeSet::new();
        for folder in ["src", "core/src", "../wire/src"] {
            said(&root.join(folder), &subjects, &mut found);
        }
        let known: BTreeSet<String> = KINDS.iter().map(|kind| kind.verb.to_owned()).collect();
        let no_verbs = NO_VERBS.iter().map(|word| (*word).to_owned()).collect();
        let new: Vec<&String> = found
            .difference(&known)
            .filter(|verb| !BTreeSet::contains(&no_verbs, *verb))
            .collect();
        let gone: Vec<&String> = known.difference(&found).collect();
        assert!(
            new.is_empty() && gone.is_empty(),
            "not in the table: {new:?}; nothing says: {gone:?}"
        );
        assert!(KINDS.is_sorted_by_key(|kind| kind.verb));
    }
}
