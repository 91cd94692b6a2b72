//! Who asked, and whether he was believed and allowed; when his certificate ends.

use keelson_auth::authz::{Decision, Verdict};
use keelson_metrics::{
    Group, Histogram, HistogramVec, IntCounter, IntCounterVec, Stability::Alpha, exponential,
};
use std::time::Duration;

/// Upper bounds of what is left of client certificates, in seconds: half an hour to a year.
const CERTIFICATE_S: [f64; 15] = [
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
    62_208_000.0,
];

/// User names that are told; upstream's, which bound the number of series. Addresses of mail and all others share one.
const USERS: [&str; 7] =
    ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", MAIL, OTHER];
const MAIL: &str = "email_id";
const OTHER: &str = "other";

/// What authorization comes to.
const RESULTS: [&str; 4] = ["allowed", "denied", "no-opinion", "error"];

/// One question by its answer.
struct Judged {
    count: IntCounter,
    took: Histogram,
}

pub(crate) struct Identities {
    believed: Judged,
    disbelieved: Judged,
    /// By [`RESULTS`].
    judged: [Judged; RESULTS.len()],
    /// By [`USERS`].
    users: [IntCounter; USERS.len()],
    certificate: Histogram,
}

impl Judged {
    fn new((count, took): (&IntCounterVec, &HistogramVec), result: &str) -> Self {
        Self { count: count.with_label_values(&[result]), took: took.with_label_values(&[result]) }
    }

    fn note(&self, took: Duration) {
        self.count.inc();
        self.took.observe(took.as_secs_f64());
    }
}

impl Identities {
    pub(super) fn new(group: &Group) -> Self {
        let bounds = exponential(0.001, 2.0, 15);
        let judged = |name: &str, attempts: &str, duration: &str| {
            let counters = group.counters(
                Alpha,
                &format!("{name}_attempts{attempts}"),
                "Counter of attempts, by result.",
                &["result"],
            );
            let histograms =
                group.histograms(Alpha, &format!("{name}_duration_seconds"), duration, &["result"], &bounds);
            (counters, histograms)
        };
        let authentication =
            judged("authentication", "", "Authentication duration in seconds broken out by result.");
        let authorization =
            judged("authorization", "_total", "Authorization duration in seconds broken out by result.");
        let of = |pair: &(IntCounterVec, HistogramVec), result: &str| Judged::new((&pair.0, &pair.1), result);
        let users = group.counters(
            Alpha,
            "authenticated_user_requests",
            "Counter of authenticated requests broken out by username.",
            &["username"],
        );
        let certificate = group.histogram(
            Alpha,
            "apiserver_client_certificate_expiration_seconds",
            "Distribution of the remaining lifetime on the certificate used to authenticate a request.",
            &CERTIFICATE_S,
        );
        Self {
            believed: of(&authentication, "success"),
            disbelieved: of(&authentication, "failure"),
            judged: RESULTS.map(|result| of(&authorization, result)),
            users: USERS.map(|user| users.with_label_values(&[user])),
            certificate,
        }
    }

    /// Somebody was believed, or (None) nobody.
    pub(crate) fn authenticated(&self, user: Option<&str>, took: Duration) {
        let Some(user) = user else { return self.disbelieved.note(took) };
        self.believed.note(took);
        self.users[place(user)].inc();
    }

    /// A request was judged.
    pub(crate) fn authorized(&self, verdict: &Verdict, took: Duration) {
        self.judged[result(verdict)].note(took);
    }

    /// A certificate that authenticated a request, by the seconds that it has left.
    pub(crate) fn certificate(&self, left_s: i64) {
        self.certificate.observe(left_s as f64);
    }
}

/// Its place in [`RESULTS`].
fn result(verdict: &Verdict) -> usize {
    match verdict.decision {
        Decision::Allow => 0,
        _ if verdict.error.is_some() => 3,
        Decision::Deny => 1,
        Decision::NoOpinion => 2,
    }
}

/// Which series counts a user.
fn place(user: &str) -> usize {
    let of = |name: &str| USERS.iter().position(|known| *known == name);
    let shared = if user.contains('@') { MAIL } else { OTHER };
    of(user).or_else(|| of(shared)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_apart_as_far_as_upstream_does() {
        let rows = [("admin", 0), ("kubelet", 3), ("a@example.com", 5), ("system:node:n1", 6), ("", 6)];
        for (user, wanted) in rows {
            assert_eq!(place(user), wanted, "{user}");
        }
    }
}
