//! `/healthz`, `/livez`, `/readyz`: named checks, each also reachable under its own path, with `verbose` and `exclude`.
//!
//! Source of the rules: "Kubernetes API health endpoints". A check says why it fails only in the log, as upstream.

use crate::{request::query::Query, response::Answer};
use http::StatusCode;
use std::fmt::Write;

/// Whether one part works.
pub(crate) type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks of a server.
#[derive(Default)]
pub(crate) struct Health {
    live: Vec<(&'static str, Check)>,
    ready: Vec<(&'static str, Check)>,
}

impl Health {
    /// A check of liveness (and so of readiness too).
    pub(crate) fn live(&mut self, name: &'static str, check: Check) {
        self.live.push((name, check));
    }

    /// A check of readiness alone.
    pub(crate) fn ready(&mut self, name: &'static str, check: Check) {
        self.ready.push((name, check));
    }

    /// Answers a path; None when it is not one of these.
    pub(crate) fn answer(&self, path: &str, query: &Query) -> Option<Answer> {
        let (endpoint, single) = match path.trim_start_matches('/').split_once('/') {
            Some((endpoint, check)) => (endpoint, Some(check)),
            None => (path.trim_start_matches('/'), None),
        };
        let ready: &[_] = match endpoint {
            "healthz" | "readyz" => &self.ready,
            "livez" => &[],
            _ => return None,
        };
        let checks: Vec<_> = self.live.iter().chain(ready).collect();
        match single {
            Some(name) => {
                let (_, check) = checks.iter().find(|(known, _)| *known == name)?;
                Some(match check() {
                    Ok(()) => Answer::text(StatusCode::OK, "ok"),
                    Err(why) => {
                        tracing::warn!(check = name, why, "health check failed");
                        Answer::text(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            format!("internal server error: {name}: {why}\n"),
                        )
                    }
                })
            }
            None => Some(report(endpoint, &checks, query)),
        }
    }
}

fn report(endpoint: &str, checks: &[&(&'static str, Check)], query: &Query) -> Answer {
    let mut text = String::new();
    let mut failed = false;
    let excluded: Vec<&str> = query.all("exclude").collect();
    for (name, check) in checks {
        if excluded.contains(name) {
            let _ = writeln!(text, "[+]{name} excluded: ok");
            continue;
        }
        match check() {
            Ok(()) => {
                let _ = writeln!(text, "[+]{name} ok");
            }
            Err(why) => {
                tracing::warn!(check = name, why, "health check failed");
                failed = true;
                let _ = writeln!(text, "[-]{name} failed: reason withheld");
            }
        }
    }
    if failed {
        return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{endpoint} check failed\n"));
    }
    if query.first("verbose").is_some() {
        return Answer::text(StatusCode::OK, format!("{text}{endpoint} check passed\n"));
    }
    Answer::text(StatusCode::OK, "ok")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_fails_with_its_check_and_liveness_does_not() {
        let mut health = Health::default();
        health.live("ping", Box::new(|| Ok(())));
        health.ready("caches", Box::new(|| Err("still filling".into())));
        let code =
            |path: &str, query: &str| health.answer(path, &Query::parse(query)).map(|a| a.code().as_u16());
        assert_eq!(code("/livez", ""), Some(200));
        assert_eq!(code("/readyz", ""), Some(500));
        assert_eq!(code("/readyz", "exclude=caches"), Some(200));
        assert_eq!(code("/readyz/ping", ""), Some(200));
        assert_eq!(code("/readyz/nothing", ""), None);
        assert_eq!(code("/other", ""), None);
    }
}
