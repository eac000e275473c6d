//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// At most so many times the figure beside it.
    Times(f64),
    /// At least so many times the figure beside it.
    AtLeast(f64),
    /// At most so much, in its own unit.
    AtMost(f64),
    /// Shown for comparison only.
    #[default]
    None,
}

/// One figure: the same thing measured of bay0 and of what stands beside it, sample by sample by turns.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// Of what.
    pub unit: &'static str,
    /// Samples of bay0.
    pub ours: Vec<f64>,
    /// What stands beside it.
    pub beside: &'static str,
    /// Samples of that, each taken beside ours of the same number; empty when it could not be measured.
    pub peer: Vec<f64>,
    /// What ours should be.
    pub target: Target,
}

impl Figure {
    /// The median of the pairs' ratios: what disturbed a pair disturbed both of it.
    pub fn ratio(&self) -> Option<f64> {
        let pairs = self.ours.iter().zip(&self.peer);
        median(&pairs.map(|(ours, peer)| ours / peer).collect::<Vec<_>>())
    }

    /// Whether the target is met; none without a target or a measurement.
    pub fn met(&self) -> Option<bool> {
        match self.target {
            Target::Times(most) => self.ratio().map(|ratio| ratio <= most),
            Target::AtLeast(least) => self.ratio().map(|ratio| ratio >= least),
            Target::AtMost(most) => median(&self.ours).map(|ours| ours <= most),
            Target::None => None,
        }
    }

    fn row(&self) -> [String; 6] {
        let unit = |value: f64| format!("{} {}", number(value), self.unit);
        let ours = median(&self.ours).map_or("not measured".into(), unit);
        let peer = median(&self.peer).map_or("not measured".into(), unit);
        let target = match self.target {
            Target::Times(most) => format!("<= {most}x"),
            Target::AtLeast(least) => format!(">= {least}x"),
            Target::AtMost(most) => format!("<= {}", unit(most)),
            Target::None => String::new(),
        };
        let met = match (self.met(), self.target) {
            (Some(true), _) => "yes",
            (Some(false), _) => "MISSED",
            (None, Target::None) => "",
            (None, _) => "unknown",
        };
        [
            self.name.to_owned(),
            ours,
            format!("{}: {peer}", self.beside),
            self.ratio().map_or(String::new(), |r| format!("{r:.2}x")),
            target,
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let target = match self.target {
            Target::Times(most) => json!({ "of": "ratio", "at_most": most }),
            Target::AtLeast(least) => json!({ "of": "ratio", "at_least": least }),
            Target::AtMost(most) => json!({ "of": "value", "at_most": most }),
            Target::None => json!({ "of": "none" }),
        };
        json!({
            "name": self.name, "unit": self.unit, "beside": self.beside,
            "bay0": { "median": median(&self.ours), "samples": self.ours },
            "peer": { "median": median(&self.peer), "samples": self.peer },
            "ratio": self.ratio(), "target": target, "met": self.met(),
        })
    }
}

/// Every figure in columns.
pub fn table(figures: &[Figure]) -> String {
    let head = ["figure", "bay0", "beside", "ratio", "target", "met"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head)
        .chain(figures.iter().map(Figure::row))
        .collect();
    let width = |column: usize| rows.iter().map(|r| r[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().enumerate();
        let line: Vec<String> = cells
            .map(|(at, cell)| format!("{cell:<0$}", width(at)))
            .collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text
}

/// The same for programs, with every sample.
pub fn json(conditions: &str, runs: usize, figures: &[Figure]) -> Value {
    let figures: Vec<Value> = figures.iter().map(Figure::json).collect();
    json!({ "conditions": conditions, "runs": runs, "figures": figures })
}

/// The middle sample; the mean of the middle two of an even number.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// Three digits are what these figures are worth; thousands are kept whole.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(ours: &[f64], peer: &[f64], target: Target) -> Figure {
        Figure {
            name: "trip",
            unit: "us",
            ours: ours.to_vec(),
            beside: "echo",
            peer: peer.to_vec(),
            target,
        }
    }

    #[test]
    fn h20_a_missed_target_stands_in_the_table_as_missed() {
        let figures = [
            figure(&[12.0, 9.0, 30.0], &[8.0, 8.0, 10.0], Target::Times(1.5)),
            figure(&[12.0, 9.0, 30.0], &[8.0, 8.0, 10.0], Target::Times(1.4)),
            figure(&[1200.0], &[], Target::AtMost(1500.0)),
            figure(&[], &[], Target::Times(1.5)),
            figure(&[12.0, 9.0, 30.0], &[8.0, 8.0, 10.0], Target::AtLeast(1.6)),
        ];
        assert_eq!(
            table(&figures),
            "figure  bay0          beside              ratio  target      met\n\
             trip    12.0 us       echo: 8.00 us       1.50x  <= 1.5x     yes\n\
             trip    12.0 us       echo: 8.00 us       1.50x  <= 1.4x     MISSED\n\
             trip    1200 us       echo: not measured         <= 1500 us  yes\n\
             trip    not measured  echo: not measured         <= 1.5x     unknown\n\
             trip    12.0 us       echo: 8.00 us       1.50x  >= 1.6x     MISSED\n"
        );
    }

    #[test]
    fn h20_the_ratio_is_of_pairs_and_not_of_medians() {
        // A host that got slower half way through: the pairs still agree.
        let figure = figure(&[10.0, 10.0, 40.0], &[5.0, 20.0, 20.0], Target::None);
        assert_eq!(figure.ratio(), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
