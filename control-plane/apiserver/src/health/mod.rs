//! `/healthz`, `/livez`, `/readyz`: named checks, each also reachable under its own path, with `verbose` and `exclude`.
//!
//! Source of the rules: "Kubernetes API health endpoints"; texts and names are upstream's (`apiserver/pkg/server/healthz`). All
//! together say only that a check fails: why is for the log, and for whoever may read the check's own path.

mod checks;
mod log;
mod report;

pub use checks::StartStep;
pub(crate) use checks::{Steps, of};

use crate::{request::query::Query, response::Answer};
use futures::future::{BoxFuture, join_all};
use http::StatusCode;
use report::Outcome;
use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

/// Whether one part works; Err says why not.
type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The three paths, by which a result is counted.
const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// Which paths a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everywhere,
    /// All but `/livez`: what a new start would not mend at once.
    ButLiveness,
    /// `/readyz` alone.
    Readiness,
}

impl Scope {
    fn covers(self, endpoint: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::ButLiveness => endpoint != "livez",
            Self::Readiness => endpoint == "readyz",
        }
    }
}

/// A check and what came of it so far.
struct Named {
    name: String,
    scope: Scope,
    check: Check,
    /// By path.
    seen: [Seen; ENDPOINTS.len()],
}

#[derive(Default)]
struct Seen {
    /// The last result: 1 success, 0 failure, -1 none yet.
    last: AtomicI64,
    success: AtomicU64,
    error: AtomicU64,
}

/// The checks of a server, in the order in which they are told.
#[derive(Default)]
pub(crate) struct Health {
    checks: Vec<Named>,
}

/// A step of the start: a check that fails until it is done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step(Arc<AtomicBool>);

impl Step {
    /// From now on its check passes.
    pub(crate) fn finish(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> Result<(), String> {
        if self.0.load(Ordering::Acquire) { Ok(()) } else { Err("not finished".to_owned()) }
    }
}

impl Health {
    fn add(&mut self, name: impl Into<String>, scope: Scope, check: Check) {
        let seen = std::array::from_fn(|_| Seen { last: AtomicI64::new(-1), ..Seen::default() });
        self.checks.push(Named { name: name.into(), scope, check, seen });
    }

    /// A check that need not wait for anything.
    pub(crate) fn now(
        &mut self,
        name: impl Into<String>,
        scope: Scope,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add(
            name,
            scope,
            Box::new(move || {
                let result = check();
                Box::pin(async move { result })
            }),
        );
    }

    /// The check of a step of the start.
    fn step(&mut self, name: &str, step: &Step) {
        let step = step.clone();
        self.now(format!("poststarthook/{name}"), Scope::Everywhere, move || step.check());
    }

    /// Answers a path; None when it is not one of these.
    pub(crate) async fn answer(&self, path: &str, query: &Query) -> Option<Answer> {
        let path = path.trim_start_matches('/');
        let (endpoint, single) = match path.split_once('/') {
            Some((endpoint, check)) => (endpoint, Some(check)),
            None => (path, None),
        };
        let at = ENDPOINTS.iter().position(|known| *known == endpoint)?;
        let mut checks = self.checks.iter().filter(|check| check.scope.covers(endpoint));
        let Some(name) = single else {
            return Some(all(at, checks.collect(), query).await);
        };
        let known = checks.find(|known| known.name == name)?;
        Some(match (known.check)().await {
            Ok(()) => Answer::text(StatusCode::OK, "ok"),
            Err(why) => {
                let text = format!("internal server error: {why}\n");
                Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        })
    }

    /// What the checks came to when they were last asked together, in the Prometheus text format under upstream's names.
    pub(crate) fn render(&self, out: &mut String) {
        let seen = || {
            self.checks.iter().flat_map(|check| {
                let by_path = ENDPOINTS.iter().zip(&check.seen);
                by_path.filter_map(|(endpoint, seen)| {
                    let last = seen.last.load(Ordering::Relaxed);
                    (last >= 0).then_some((&check.name, endpoint, seen, last))
                })
            })
        };
        out.push_str("# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.\n# TYPE kubernetes_healthcheck gauge\n");
        for (name, endpoint, _, last) in seen() {
            let _ = writeln!(out, "kubernetes_healthcheck{{name=\"{name}\",type=\"{endpoint}\"}} {last}");
        }
        out.push_str("# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.\n# TYPE kubernetes_healthchecks_total counter\n");
        for (name, endpoint, seen, _) in seen() {
            for (status, count) in [("error", &seen.error), ("success", &seen.success)] {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let _ = writeln!(
                        out,
                        "kubernetes_healthchecks_total{{name=\"{name}\",status=\"{status}\",type=\"{endpoint}\"}} {count}"
                    );
                }
            }
        }
    }
}

/// Asks the checks, all at once, but those that are excluded.
async fn all(endpoint: usize, checks: Vec<&Named>, query: &Query) -> Answer {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let results = join_all(checks.into_iter().map(|check| {
        let is_excluded = excluded.contains(&check.name.as_str());
        async move {
            if is_excluded {
                return (check.name.as_str(), Outcome::Excluded);
            }
            let result = (check.check)().await;
            check.seen[endpoint].note(result.is_ok());
            (check.name.as_str(), result.map_or_else(Outcome::Failed, |()| Outcome::Passed))
        }
    }))
    .await;
    report::answer(ENDPOINTS[endpoint], &results, &excluded, query.first("verbose").is_some())
}

impl Seen {
    fn note(&self, passed: bool) {
        self.last.store(i64::from(passed), Ordering::Relaxed);
        (if passed { &self.success } else { &self.error }).fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bed() -> (Health, Step) {
        let (mut health, step) = (Health::default(), Step::default());
        health.now("ping", Scope::Everywhere, || Ok(()));
        health.step("start", &step);
        health.now("caches", Scope::Readiness, || Err("still filling".into()));
        (health, step)
    }

    async fn ask(health: &Health, path: &str, query: &str) -> Option<(u16, String)> {
        let answer = health.answer(path, &Query::parse(query)).await?;
        let Answer::Whole { code, bytes, .. } = answer else { panic!("it does not stream") };
        Some((code.as_u16(), String::from_utf8(bytes.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn each_path_has_its_checks() {
        let (health, step) = bed();
        let failed = |endpoint: &str, caches: &str| {
            Some((
                500,
                format!(
                    "[+]ping ok\n[-]poststarthook/start failed: reason withheld\n{caches}{endpoint} check failed\n"
                ),
            ))
        };
        assert_eq!(ask(&health, "/livez", "").await, failed("livez", ""));
        assert_eq!(
            ask(&health, "/readyz", "").await,
            failed("readyz", "[-]caches failed: reason withheld\n")
        );
        step.finish();
        let ok = Some((200, "ok".to_owned()));
        let rows = [
            ("/livez", "", ok.clone()),
            ("/healthz", "", ok.clone()),
            (
                "/healthz",
                "verbose",
                Some((200, "[+]ping ok\n[+]poststarthook/start ok\nhealthz check passed\n".to_owned())),
            ),
            ("/readyz", "exclude=caches", ok.clone()),
            ("/readyz/ping", "", ok.clone()),
            ("/livez/poststarthook/start", "", ok),
            ("/readyz/caches", "", Some((500, "internal server error: still filling\n".to_owned()))),
            ("/livez/caches", "", None),
            ("/readyz/nothing", "", None),
            ("/other", "", None),
        ];
        for (path, query, wanted) in rows {
            assert_eq!(ask(&health, path, query).await, wanted, "{path}?{query}");
        }
    }

    #[tokio::test]
    async fn results_are_counted_by_check_and_path() {
        let (health, _) = bed();
        ask(&health, "/readyz", "exclude=ping").await;
        ask(&health, "/livez", "").await;
        let mut text = String::new();
        health.render(&mut text);
        for line in [
            r#"kubernetes_healthcheck{name="ping",type="livez"} 1"#,
            r#"kubernetes_healthcheck{name="caches",type="readyz"} 0"#,
            r#"kubernetes_healthchecks_total{name="poststarthook/start",status="error",type="readyz"} 1"#,
        ] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
        assert!(!text.contains(r#"name="ping",type="readyz""#), "{text}");
    }
}
