//! Which APIServices cannot be reached, under upstream's names (`kube-aggregator/pkg/controllers/status/metrics`).

use keelson_metrics::{Group, IntCounterVec, Stability::Alpha};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// What the loop has found.
pub(crate) struct Metrics {
    group: Group,
    available: Arc<Mutex<BTreeMap<String, bool>>>,
    /// How often an APIService became unavailable, by the reason.
    lost: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let (group, available) = (Group::default(), Arc::<Mutex<BTreeMap<String, bool>>>::default());
        let told = available.clone();
        group.measured(
            Alpha,
            "aggregator_unavailable_apiservice",
            "Gauge of APIServices which are marked as unavailable broken down by APIService name.",
            &["name"],
            move |tell| {
                told.lock()
                    .iter()
                    .for_each(|(name, available)| tell(&[name], f64::from(u8::from(!available))));
            },
        );
        let lost = group.counters(
            Alpha,
            "aggregator_unavailable_apiservice_total",
            "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
            &["name", "reason"],
        );
        Self { group, available, lost }
    }
}

impl Metrics {
    /// An APIService that was available is not any more.
    pub(super) fn lost(&self, name: &str, reason: &'static str) {
        self.lost.with_label_values(&[name, reason]).inc();
    }

    /// All that there are; others are forgotten.
    pub(super) fn set_available(&self, available: BTreeMap<String, bool>) {
        *self.available.lock() = available;
    }

    /// As it was found when it was last looked at.
    pub(super) fn is_available(&self, name: &str) -> Option<bool> {
        self.available.lock().get(name).copied()
    }

    pub(crate) fn render(&self, out: &mut String) {
        self.group.render(out);
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
