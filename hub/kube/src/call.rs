//! One call to an API server: its deadline, and when it is made again.
//!
//! A call that was refused as too much (429) was not carried out, so it is made again after the time that the server asks for. A call
//! that got lost is made again, because doing it twice is the same as doing it once: only reading, applying a whole intent under a
//! resource version, and deleting by identity go through here. An eviction does not (`drain.rs`). Never waits beyond the deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::KubeError;

/// Pause after the first lost call; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Makes a call until it is answered, or the deadline is over.
pub async fn call<T, F>(
    cluster: &str,
    what: &str,
    within: Duration,
    mut make: impl FnMut() -> F,
) -> Result<T, KubeError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let deadline = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match timeout_at(deadline, make()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => KubeError::sort(cluster, what, error),
            Err(_) => {
                return Err(KubeError::TimedOut {
                    cluster: cluster.to_owned(),
                    what: what.to_owned(),
                    within,
                });
            }
        };
        let wait = match &error {
            KubeError::Busy { retry_after, .. } => retry_after.unwrap_or(pause),
            other if other.may_pass() => pause,
            _ => return Err(error),
        };
        if Instant::now() + wait >= deadline {
            return Err(error);
        }
        tracing::debug!(cluster, what, wait_ms = wait.as_millis(), %error, "asking the cluster again");
        sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use kube::core::response::StatusDetails;
    use std::cell::Cell;

    async fn answers(codes: &[(u16, u32)]) -> (Result<(), KubeError>, usize, Duration) {
        let calls = Cell::new(0);
        let started = Instant::now();
        let result = call("c", "get it", Duration::from_secs(60), || {
            let (code, seconds) = codes.get(calls.get()).copied().unwrap_or((200, 0));
            calls.set(calls.get() + 1);
            async move {
                if code == 200 {
                    return Ok(());
                }
                let details = StatusDetails {
                    name: String::new(),
                    group: String::new(),
                    kind: String::new(),
                    uid: String::new(),
                    causes: Vec::new(),
                    retry_after_seconds: seconds,
                };
                Err(kube::Error::Api(
                    Status::failure("no", "No")
                        .with_code(code)
                        .with_details(details)
                        .boxed(),
                ))
            }
        })
        .await;
        (result, calls.get(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_left_alone_as_long_as_it_asks() {
        let (result, calls, took) = answers(&[(429, 7)]).await;
        assert!(result.is_ok() && calls == 2 && took >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_got_lost_is_made_again_until_the_deadline_and_no_longer() {
        assert_eq!(answers(&[(503, 0), (500, 0), (504, 0)]).await.1, 4);
        let (result, calls, took) = answers(&[(503, 0); 100]).await;
        assert!(result.is_err() && calls > 5 && took <= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_an_answer() {
        for code in [400, 401, 403, 404, 409, 410, 422] {
            let (result, calls, _) = answers(&[(code, 0); 3]).await;
            let error = result.expect_err("refused");
            assert!(!error.may_have_happened(), "{code}");
            assert_eq!(calls, 1, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_beyond_the_deadline_is_told_and_not_waited_for() {
        let (result, calls, took) = answers(&[(429, 3_600)]).await;
        assert!(matches!(
            result,
            Err(KubeError::Busy {
                retry_after: Some(_),
                ..
            })
        ));
        assert!(calls == 1 && took < Duration::from_secs(1));
    }
}
