//! Which APIServices cannot be reached, in the Prometheus text format under upstream's names (`kube-aggregator/pkg/controllers/status/metrics`).

use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt::Write};

/// What the loop has found. Names are those of APIServices, which need no escapes.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<State>);

#[derive(Default)]
struct State {
    available: BTreeMap<String, bool>,
    /// How often an APIService became unavailable, by the reason.
    lost: BTreeMap<(String, &'static str), u64>,
}

impl Metrics {
    /// An APIService that was available is not any more.
    pub(super) fn lost(&self, name: &str, reason: &'static str) {
        *self.0.lock().lost.entry((name.to_owned(), reason)).or_default() += 1;
    }

    /// All that there are; others are forgotten.
    pub(super) fn set_available(&self, available: BTreeMap<String, bool>) {
        self.0.lock().available = available;
    }

    /// As it was found when it was last looked at.
    pub(super) fn is_available(&self, name: &str) -> Option<bool> {
        self.0.lock().available.get(name).copied()
    }

    pub(crate) fn render(&self, out: &mut String) {
        let state = self.0.lock();
        if !state.available.is_empty() {
            out.push_str("# HELP aggregator_unavailable_apiservice [ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name.\n# TYPE aggregator_unavailable_apiservice gauge\n");
        }
        for (name, available) in &state.available {
            let _ = writeln!(
                out,
                "aggregator_unavailable_apiservice{{name=\"{name}\"}} {}",
                u8::from(!available)
            );
        }
        if !state.lost.is_empty() {
            out.push_str("# HELP aggregator_unavailable_apiservice_total [ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService name and reason.\n# TYPE aggregator_unavailable_apiservice_total counter\n");
        }
        for ((name, reason), count) in &state.lost {
            let _ = writeln!(
                out,
                "aggregator_unavailable_apiservice_total{{name=\"{name}\",reason=\"{reason}\"}} {count}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unavailable_is_told_as_long_as_it_is_there() {
        let (metrics, mut text) = (Metrics::default(), String::new());
        metrics.render(&mut text);
        assert_eq!(text, "");
        metrics.lost("v1.x.example.com", "FailedDiscoveryCheck");
        metrics.set_available([("v1.x.example.com".to_owned(), false), ("v1.".to_owned(), true)].into());
        metrics.render(&mut text);
        for line in [
            r#"aggregator_unavailable_apiservice{name="v1.x.example.com"} 1"#,
            r#"aggregator_unavailable_apiservice{name="v1."} 0"#,
            r#"aggregator_unavailable_apiservice_total{name="v1.x.example.com",reason="FailedDiscoveryCheck"} 1"#,
        ] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
        metrics.set_available(BTreeMap::new());
        text.clear();
        metrics.render(&mut text);
        assert!(!text.contains("aggregator_unavailable_apiservice{"), "{text}");
    }
}
