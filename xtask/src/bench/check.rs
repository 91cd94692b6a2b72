//! Promises against figures. `bench/promises.tsv` is where reaches are stated; `bench/numbers.md` quotes it, which `tidy`
//! sees to.

use crate::paths;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use std::fs;

/// A row of promises.tsv. Less is better in all of them.
#[derive(Clone, Debug, PartialEq)]
struct Promise {
    /// What is promised, as numbers.md has it.
    text: String,
    /// The name by which the measuring program prints it.
    figure: String,
    /// Empty for a ratio.
    unit: String,
    /// As it is written.
    reach: String,
    /// What the reach is multiplied by before a figure fails: machines and their other work differ.
    slack: f64,
}

impl Promise {
    fn reach(&self) -> Result<f64> {
        self.reach.parse().with_context(|| format!("the reach of {:?} in promises.tsv", self.text))
    }

    fn reach_and_unit(&self) -> String {
        format!("{} {}", self.reach, self.unit).trim_end().to_string()
    }
}

fn promises() -> Result<Vec<Promise>> {
    let file = paths::root().join("bench/promises.tsv");
    parse(&fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?)
}

fn parse(tsv: &str) -> Result<Vec<Promise>> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [text, figure, unit, reach, slack] = columns[..] else {
            bail!("promises.tsv: five columns to a row, not {}: {line}", columns.len())
        };
        let slack = slack.parse().with_context(|| format!("the slack of {text:?} in promises.tsv"))?;
        let [text, figure, unit, reach] = [text, figure, unit, reach].map(str::to_string);
        Ok(Promise { text, figure, unit, reach, slack })
    };
    tsv.lines().skip(1).filter(|line| !line.is_empty()).map(row).collect()
}

/// What became of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Kept,
    /// Beyond the reach, but not by more than machines differ.
    WithinSlack,
    Beyond,
    NotMeasured,
}

#[derive(Debug, Serialize)]
struct Row {
    promise: String,
    measured: Option<f64>,
    unit: String,
    reach: f64,
    limit: f64,
    verdict: Verdict,
}

/// Prints a table of all promises; an error when a figure is beyond its limit, or none was measured.
pub(super) fn run(reports: &[Value], output: &str) -> Result<()> {
    let rows = judge(&promises()?, &figures(reports))?;
    print(&rows, output)?;
    ensure!(rows.iter().any(|row| row.measured.is_some()), "no promise was measured");
    let beyond: Vec<&str> =
        rows.iter().filter(|row| row.verdict == Verdict::Beyond).map(|row| row.promise.as_str()).collect();
    ensure!(beyond.is_empty(), "{} promise(s) not kept: {}", beyond.len(), beyond.join("; "));
    Ok(())
}

/// Names and values: of `keelson-bench` as they are, of the dataplane's `connect_latency` and `sync_time` by the number of
/// Services.
fn figures(reports: &[Value]) -> Vec<(String, f64)> {
    let listed = |report: &Value, key: &str| report[key].as_array().cloned().unwrap_or_default();
    let of_cluster = reports
        .iter()
        .flat_map(|report| listed(report, "figures"))
        .filter_map(|figure| Some((figure["name"].as_str()?.to_string(), figure["value"].as_f64()?)));
    let of_services = reports.iter().flat_map(|report| listed(report, "subjects")).filter_map(|subject| {
        let name = format!("Service over direct, p50, {} Service(s)", subject["services"]);
        Some((name, subject["spread"]["service_p50_ratio"].as_f64()?))
    });
    let of_metrics = reports.iter().flat_map(|report| listed(report, "subjects")).filter_map(|subject| {
        let name = format!("metrics: Service with over without, p50, {} Service(s)", subject["services"]);
        Some((name, subject["metrics"]["service_p50_ratio"].as_f64()?))
    });
    let of_maps = reports.iter().flat_map(|report| listed(report, "sync")).filter_map(|subject| {
        let name = format!("{} Services written from nothing", subject["services"]);
        Some((name, subject["maps"]["written_ms"]["median"].as_f64()?))
    });
    of_cluster.chain(of_services).chain(of_metrics).chain(of_maps).collect()
}

fn judge(promises: &[Promise], figures: &[(String, f64)]) -> Result<Vec<Row>> {
    let row = |promise: &Promise| {
        let measured = figures.iter().find(|(name, _)| *name == promise.figure).map(|(_, value)| *value);
        let reach = promise.reach()?;
        let limit = reach * promise.slack;
        let verdict = match measured {
            None => Verdict::NotMeasured,
            Some(value) if value <= reach => Verdict::Kept,
            Some(value) if value <= limit => Verdict::WithinSlack,
            // Not a number among them.
            Some(_) => Verdict::Beyond,
        };
        Ok(Row { promise: promise.text.clone(), measured, unit: promise.unit.clone(), reach, limit, verdict })
    };
    promises.iter().map(row).collect()
}

fn print(rows: &[Row], output: &str) -> Result<()> {
    if output == "json" {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    println!("{:<72} {:>10} {:>8} {:>8} {:<5} verdict", "promise", "measured", "reach", "limit", "unit");
    for row in rows {
        let measured = row.measured.map_or("-".into(), |value| format!("{value:.3}"));
        let verdict = match row.verdict {
            Verdict::Kept => "kept",
            Verdict::WithinSlack => "missed, within the slack",
            Verdict::Beyond => "NOT KEPT",
            Verdict::NotMeasured => "not measured",
        };
        println!(
            "{:<72} {measured:>10} {:>8.2} {:>8.2} {:<5} {verdict}",
            row.promise, row.reach, row.limit, row.unit
        );
    }
    Ok(())
}

/// Promises that numbers.md does not quote, each as a message of `tidy`.
pub(crate) fn unquoted() -> Result<Vec<String>> {
    let file = paths::root().join("bench/numbers.md");
    let numbers = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let quoted = |promise: &Promise| {
        numbers.lines().filter(|line| line.starts_with('|')).any(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            cells.contains(&promise.text.as_str()) && cells.contains(&promise.reach_and_unit().as_str())
        })
    };
    let missing = promises()?.into_iter().filter(|promise| !quoted(promise));
    Ok(missing
        .map(|promise| {
            format!(
                "bench/numbers.md: no row has the cells `{}` and `{}`; quote bench/promises.tsv as it is",
                promise.text,
                promise.reach_and_unit()
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TSV: &str = "promise\tfigure\tunit\treach\tslack\n\
                       quick\tpods p50\tms\t300\t1.5\n\
                       free\tService over direct, p50, 10000 Service(s)\t\t1.03\t1.02\n\
                       small\tPSS in all\tMiB\t80\t1.1\n\
                       soon\tup after the build\ts\t5\t2\n";

    #[test]
    fn a_figure_is_kept_or_missed_or_beyond() {
        let reports = [
            json!({"figures": [{"name": "pods p50", "value": 222.0}, {"name": "PSS in all", "value": 88.1}]}),
            json!({"subjects": [{"services": 10000, "spread": {"service_p50_ratio": 1.037}}]}),
        ];
        let rows = judge(&parse(TSV).unwrap(), &figures(&reports)).unwrap();
        let verdicts: Vec<Verdict> = rows.iter().map(|row| row.verdict).collect();
        assert_eq!(verdicts, [Verdict::Kept, Verdict::WithinSlack, Verdict::Beyond, Verdict::NotMeasured]);
    }

    #[test]
    fn a_value_that_is_no_number_is_beyond() {
        let rows = judge(&parse(TSV).unwrap(), &[("pods p50".into(), f64::NAN)]).unwrap();
        assert_eq!(rows[0].verdict, Verdict::Beyond);
    }

    #[test]
    fn a_row_with_another_number_of_columns_is_refused() {
        assert!(parse("promise\tfigure\tunit\treach\tslack\nquick\tp50\tms\t300\n").is_err());
    }
}
