//! Figures as they are printed: a name, a value, a unit, and what the value is of.

use anyhow::Result;
use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    note: String,
}

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds one at the end.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, note: impl Into<String>) {
        self.figures.push(Figure { name: name.into(), value, unit, note: note.into() });
    }

    /// To standard output: `json`, else a line each.
    pub fn print(&self, output: &str) -> Result<()> {
        if output == "json" {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        for figure in &self.figures {
            println!("{:<52} {:>10.1} {:<5} {}", figure.name, figure.value, figure.unit, figure.note);
        }
        Ok(())
    }
}
