//! Gauges that nobody keeps: measured when they are told.

use parking_lot::Mutex;
use prometheus::{
    GaugeVec,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// By which the values of a family's labels are told with what was measured; those of the same labels add up.
pub type Tell<'a> = dyn FnMut(&[&str], f64) + 'a;

/// A family with the question for its series.
pub(crate) struct Asked {
    /// Held while it is told, by one reader at a time: what is gone must not be told.
    family: Mutex<GaugeVec>,
    /// As the family's own.
    desc: Vec<Desc>,
    measure: Box<dyn Fn(&mut Tell<'_>) + Send + Sync>,
}

impl Asked {
    pub(crate) fn new(family: GaugeVec, measure: impl Fn(&mut Tell<'_>) + Send + Sync + 'static) -> Self {
        let desc = family.desc().into_iter().cloned().collect();
        Self { family: Mutex::new(family), desc, measure: Box::new(measure) }
    }
}

impl Collector for Asked {
    fn desc(&self) -> Vec<&Desc> {
        self.desc.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let family = self.family.lock();
        family.reset();
        (self.measure)(&mut |labels, value| family.with_label_values(labels).add(value));
        family.collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Group, Stability::Alpha};
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    #[test]
    fn what_is_measured_is_told_as_it_is_now() {
        let (group, now) = (Group::default(), Arc::new(AtomicU64::new(1)));
        let value = now.clone();
        group.measured(Alpha, "age_seconds", "Age.", &["of"], move |tell| {
            let now = value.load(Relaxed);
            tell(&[&format!("n{now}")], now as f64 / 2.0);
            tell(&[&format!("n{now}")], 1.0);
        });
        for (now_is, wanted) in [(1, "age_seconds{of=\"n1\"} 1.5\n"), (3, "age_seconds{of=\"n3\"} 2.5\n")] {
            now.store(now_is, Relaxed);
            let mut text = String::new();
            group.render(&mut text);
            assert!(text.ends_with(wanted), "{text}");
            assert_eq!(text.lines().count(), 3, "{text}");
        }
    }
}
