//! The tables, in Markdown and on the terminal, and the plot.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// One row of bars: what it is, and how much, in the chart's unit.
pub type Bar = (String, f64);

/// The whole report.
#[derive(Default)]
pub struct Report {
    text: String,
    charts: Vec<(String, Vec<Bar>)>,
}

impl Report {
    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let _ = write!(self.text, "\n## {text}\n\n");
    }

    /// A paragraph.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    /// A table; its first row is the head.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for (at, row) in rows.iter().enumerate() {
            let cells = widths.iter().enumerate().map(|(column, width)| {
                let cell = row.get(column).map_or("", String::as_str);
                if column == 0 { format!(" {cell:<width$} ") } else { format!(" {cell:>width$} ") }
            });
            let _ = writeln!(self.text, "|{}|", cells.collect::<Vec<_>>().join("|"));
            if at == 0 {
                let rules = widths.iter().enumerate().map(|(column, width)| {
                    let rule = "-".repeat(width + 1);
                    if column == 0 { format!("-{rule}") } else { format!("{rule}:") }
                });
                let _ = writeln!(self.text, "|{}|", rules.collect::<Vec<_>>().join("|"));
            }
        }
        self.text.push('\n');
    }

    /// A chart for the plot.
    pub fn chart(&mut self, title: &str, bars: Vec<Bar>) {
        self.charts.push((title.into(), bars));
    }

    /// Prints and writes everything.
    pub fn publish(&self, directory: &str) {
        println!("{}", self.text);
        let head =
            "# The price of a session\n\nWritten by `cargo bench`; how, and what it needs: [README.md](README.md).\n";
        let written = fs::write(format!("{directory}/results.md"), format!("{head}{}", self.text))
            .and_then(|()| fs::write(format!("{directory}/results.svg"), self.plot()));
        written.expect("the results' directory can be written");
    }

    /// Bars in a hand-made SVG; text in the reader's own colours would need a style sheet, so it stands on white.
    fn plot(&self) -> String {
        let lines: usize = self.charts.iter().map(|(_, bars)| bars.len() + 2).sum();
        let height = lines * LINE + 10;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        let mut y = 0;
        for (title, bars) in &self.charts {
            y += LINE;
            let _ = writeln!(svg, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{title}</text>");
            let most = bars.iter().map(|(_, much)| *much).fold(f64::MIN_POSITIVE, f64::max);
            for (name, much) in bars {
                y += LINE;
                let width = (much / most * (WIDTH - BARS - 80) as f64).max(1.0);
                let ours = name.starts_with("starttls-wrapper");
                let colour = if ours { "#2a6f4e" } else { "#9aa5ad" };
                let _ = writeln!(svg, "<text x=\"20\" y=\"{y}\">{name}</text>");
                let _ = writeln!(
                    svg,
                    "<rect x=\"{BARS}\" y=\"{}\" width=\"{width:.0}\" height=\"13\" fill=\"{colour}\"/>",
                    y - 11
                );
                let x = BARS as f64 + width + 6.0;
                let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{y}\">{}</text>", short(*much));
            }
            y += LINE;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Milliseconds with two decimals.
pub fn ms(time: f64) -> String {
    format!("{time:.2}")
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The one below which this share of the others is.
pub fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// As milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The machine, in a line.
pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {}, Linux {}", model.trim(), kernel.trim())
}

fn short(much: f64) -> String {
    if much < 10.0 { format!("{much:.2}") } else { format!("{much:.0}") }
}

const WIDTH: usize = 800;
const BARS: usize = 300;
const LINE: usize = 20;
