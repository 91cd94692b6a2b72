//! Columns that fit the terminal.

use std::io::IsTerminal;

/// Blanks between two columns, as kubectl has them.
const GAP: usize = 3;
/// A column is not cut below this.
const COLUMN_MIN: usize = 8;

/// A table: a heading, and rows of as many cells.
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text; where `width` is given, the widest columns of text are cut so that lines fit.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.heading.iter().map(|title| title.chars().count()).collect();
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
        }
        if let Some(width) = width {
            fit(&mut widths, width);
        }
        let heading: Vec<_> = self.heading.iter().map(ToString::to_string).collect();
        let lines = std::iter::once(&heading).chain(&self.rows).map(|row| line(row, &widths));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }
}

/// Takes from the widest column until all fit, or none can be cut any more.
fn fit(widths: &mut [usize], total: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > total {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > COLUMN_MIN) else { return };
        *widest -= 1;
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, &width)| {
        let cut = cell.chars().count() > width;
        let kept: String = cell.chars().take(if cut { width - 1 } else { width }).collect();
        let text = if cut { kept + "…" } else { kept };
        format!("{text:<width$}")
    });
    cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// Columns of the terminal; `None` where the output is none.
pub(crate) fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    columns.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_column_is_cut_until_lines_fit() {
        let mut table = Table::new(&["NAMESPACE", "SERVICE", "P50"]);
        table.push(vec!["default".into(), "a-service-with-a-very-long-name".into(), "14.2us".into()]);
        assert_eq!(
            table.render(None).lines().nth(1),
            Some("default     a-service-with-a-very-long-name   14.2us")
        );
        let narrow = table.render(Some(40));
        assert_eq!(narrow.lines().nth(1), Some("default     a-service-with-a-v…   14.2us"));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    }
}
