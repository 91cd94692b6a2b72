//! Figures as they are printed: a name, a value, a unit, and what the value is of.

use anyhow::Result;
use serde::Serialize;

/// One figure.
#[derive(Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    note: String,
}

/// All figures of a run.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &str, value: f64, unit: &'static str, note: impl Into<String>) {
        self.figures.push(Figure { name: name.into(), value, unit, note: note.into() });
    }

    pub(crate) fn print(&self, output: &str) -> Result<()> {
        if output == "json" {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        for figure in &self.figures {
            println!("{:<44} {:>10.1} {:<4} {}", figure.name, figure.value, figure.unit, figure.note);
        }
        Ok(())
    }
}

/// The value below which the fraction `p` of the samples lies; samples are sorted here.
pub(crate) fn percentile(samples: &mut [f64], p: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get((last as f64 * p).round() as usize).copied().unwrap_or(f64::NAN)
}
