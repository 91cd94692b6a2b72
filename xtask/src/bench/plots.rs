//! `bench --plot`: what `service` and `sync` measured, over the number of Services, as SVG under `bench/plots/`.
//!
//! Draws what the reports say and nothing else: a peer that was not measured with so many Services has no point there.

use crate::paths;
use anyhow::{Context, Result, anyhow, ensure};
use plotters::prelude::*;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// Numbers of Services that are measured for a plot.
pub(super) const SERVICES: [usize; 5] = [1, 100, 1_000, 10_000, 50_000];

const SIZE: (u32, u32) = (760, 440);
/// Told apart by those who see fewer colours, too (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(86, 180, 233), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

/// A line of a chart: points of (Services, value), ascending.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

struct Chart {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
}

/// Writes a chart of everything that the reports have; answers the files.
pub(super) fn write(reports: &[Value]) -> Result<Vec<PathBuf>> {
    let folder = paths::root().join("bench/plots");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let charts: Vec<Chart> = charts(reports).into_iter().filter(|chart| !chart.lines.is_empty()).collect();
    ensure!(!charts.is_empty(), "these reports have nothing to plot: it is `service` and `sync` that have");
    let draw = |chart: Chart| {
        let file = folder.join(chart.file);
        let svg = draw(&chart).map_err(|e| anyhow!("drawing {}: {e}", chart.file))?;
        fs::write(&file, svg).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    };
    charts.into_iter().map(draw).collect()
}

fn charts(reports: &[Value]) -> Vec<Chart> {
    let subjects: Vec<&Value> = listed(reports, "subjects");
    let way = |process: &'static str, way: &'static str| {
        move |subject: &Value| {
            let ways = subject["ways"].as_array()?;
            let found = ways.iter().find(|w| w["process"] == process && w["way"] == way)?;
            Some(found["p50_ns"].as_f64()? / 1e3)
        }
    };
    let sync = listed(reports, "sync");
    let peer = |name: &'static str, figure: fn(&Value) -> Option<f64>| {
        move |subject: &Value| {
            let peers = subject["peers"].as_array()?;
            figure(peers.iter().find(|peer| peer["name"] == name)?)
        }
    };
    let written = |peer: &Value| peer["written_ms"].as_f64();
    let changed = |peer: &Value| peer["change_ms"]["median"].as_f64();
    vec![
        Chart {
            file: "connect.svg",
            title: "Connecting to a Service and one byte's answer, p50",
            unit: "microseconds",
            lines: lines([
                line("keelson, Service", &subjects, way("keelson", "service")),
                line("keelson, the pod's address", &subjects, way("keelson", "direct")),
                line("iptables rules, Service", &subjects, way("iptables", "service")),
                line("nftables rules, Service", &subjects, way("nftables", "service")),
            ]),
        },
        Chart {
            file: "written.svg",
            title: "All Services with two endpoints written from nothing",
            unit: "milliseconds",
            lines: lines([
                line("keelson", &sync, |s| s["maps"]["written_ms"]["median"].as_f64()),
                line("keelson, daemon's start from the API's lists", &sync, |s| {
                    s["daemon"]["first_ms"]["median"].as_f64()
                }),
                line("iptables rules", &sync, peer("iptables", written)),
                line("nftables rules", &sync, peer("nftables", written)),
            ]),
        },
        Chart {
            file: "changed.svg",
            title: "One endpoint of one Service changed, p50 (peers: with their tools)",
            unit: "milliseconds",
            lines: lines([
                line("keelson", &sync, |s| s["maps"]["change_ms"]["median"].as_f64()),
                line("keelson, p99", &sync, |s| s["maps"]["change_ms"]["p99"].as_f64()),
                line("iptables rules", &sync, peer("iptables", changed)),
                line("nftables rules", &sync, peer("nftables", changed)),
            ]),
        },
    ]
}

fn listed<'a>(reports: &'a [Value], key: &str) -> Vec<&'a Value> {
    reports.iter().flat_map(|report| report[key].as_array().into_iter().flatten()).collect()
}

fn line(name: &str, subjects: &[&Value], value: impl Fn(&Value) -> Option<f64>) -> Line {
    let point = |subject: &&Value| Some((subject["services"].as_f64()?, value(subject)?));
    let mut points: Vec<_> = subjects.iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Line { name: name.into(), points }
}

fn lines<const N: usize>(all: [Line; N]) -> Vec<Line> {
    all.into_iter().filter(|line| !line.points.is_empty()).collect()
}

/// Both axes are logarithmic.
fn draw(chart: &Chart) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || chart.lines.iter().flat_map(|line| line.points.iter());
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MIN, f64::max);
        let least = points().map(|point| point.1).fold(f64::MAX, f64::min);
        let (x, y) = (1.0..most(|p| p.0).max(10.0), least / 2.0..most(|p| p.1) * 2.0);
        let mut context = ChartBuilder::on(&area)
            .caption(chart.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        let number = |value: &f64| if *value < 1.0 { format!("{value}") } else { format!("{value:.0}") };
        context
            .configure_mesh()
            .x_desc("Services")
            .y_desc(chart.unit)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .light_line_style(WHITE)
            .draw()?;
        for (line, colour) in chart.lines.iter().zip(COLOURS) {
            let style = colour.stroke_width(2);
            context
                .draw_series(LineSeries::new(line.points.iter().copied(), style))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            context.draw_series(line.points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
        }
        context
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_chart_has_the_points_that_were_measured_in_order_and_no_other() {
        let reports = [json!({"sync": [
            {"services": 100, "maps": {"written_ms": {"median": 2.0}, "change_ms": {"median": 0.1, "p99": 1.0}},
             "peers": [{"name": "iptables", "written_ms": 30.0, "change_ms": {"median": 9.0}}]},
            {"services": 1, "maps": {"written_ms": {"median": 1.0}, "change_ms": {"median": 0.1, "p99": 1.0}}, "peers": []},
        ]})];
        let charts = charts(&reports);
        assert!(charts[0].lines.is_empty(), "connections were not measured");
        let names: Vec<_> = charts[1].lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["keelson", "iptables rules"]);
        assert_eq!(charts[1].lines[0].points, [(1.0, 1.0), (100.0, 2.0)]);
        assert_eq!(charts[1].lines[1].points, [(100.0, 30.0)]);
        assert!(draw(&charts[1]).unwrap().contains("iptables rules"));
    }
}
