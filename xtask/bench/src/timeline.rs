//! The phases of one boot as a picture: when each began, how long it took.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use regex::Regex;

/// Pixels: left of the axis, of the axis, of a row, and below the rows.
const LEFT: f64 = 110.0;
const WIDTH: f64 = 620.0;
const ROW: f64 = 22.0;
const TOP: f64 = 44.0;
const RIGHT: f64 = 90.0;

/// A phase, in milliseconds since PID 1 was executed.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// What its console line calls it.
    pub name: String,
    /// When it began.
    pub begin: f64,
    /// When it had ended.
    pub end: f64,
}

/// Reads the phases off a console whose PID 1 was executed `exec` milliseconds after the kernel started. What lies between two
/// phases, mostly the writing of their lines, belongs to none.
pub fn phases(console: &str, exec: f64) -> Result<Vec<Phase>> {
    let line = Regex::new(r"^bay0 (\d+)\.(\d{3}) (\w+): (.*)$")?;
    let took = Regex::new(r"^\w+ \((\d+) ms\):|\((\d+) ms\)$")?;
    let mut phases = Vec::new();
    for found in console.lines().filter_map(|l| line.captures(l)) {
        let end = found[1].parse::<f64>()? * 1000.0 + found[2].parse::<f64>()? - exec;
        let ms = match took.captures(&found[4]) {
            Some(took) => took.get(1).or(took.get(2)).map_or("0", |m| m.as_str()),
            // The first line of all: everything from the exec up to there.
            None if phases.is_empty() => "",
            None => continue,
        };
        // What the boot before said is told again, in brackets and all.
        if found[4].starts_with("| ") {
            continue;
        }
        let begin = if ms.is_empty() {
            0.0
        } else {
            end - ms.parse::<f64>()?
        };
        phases.push(Phase {
            name: found[3].to_owned(),
            begin: begin.max(0.0),
            end: end.max(0.0),
        });
        if &found[3] == "validate" {
            break;
        }
    }
    phases.last().context("the console has no phases")?;
    Ok(phases)
}

/// The picture; `title` stands above it.
pub fn svg(title: &str, phases: &[Phase]) -> String {
    let total = phases.iter().map(|p| p.end).fold(1.0, f64::max);
    let x = |ms: f64| LEFT + ms / total * WIDTH;
    let height = TOP + ROW * phases.len() as f64 + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{height}\" viewBox=\"0 0 {w} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"14\">{title}</text>\n",
        w = LEFT + WIDTH + RIGHT,
    );
    for (row, phase) in phases.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let (begin, end) = (x(phase.begin), x(phase.end));
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{begin:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#3b6ea5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555\">{:.0} ms</text>",
            LEFT - 8.0,
            y + 13.0,
            phase.name,
            (end - begin).max(1.0),
            ROW - 6.0,
            end + 5.0,
            y + 13.0,
            phase.end - phase.begin,
        );
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "launch_us=6000000\n\
        bay0 6.051 bay0: version 0.1.0 is PID 1 (kernel 6.12.117)\n\
        bay0 6.163 watchdog: armed i6300ESB timer, time-out 20 s read back (94 ms)\n\
        bay0 6.170 previous: | bay0 4.9 umbilical: listening (7 ms)\n\
        bay0 6.170 previous: ended none: no boot before this one is recorded\n\
        bay0 6.943 validate: GREEN (194 ms): freezer GREEN, log GREEN\n\
        bay0 6.999 later: not of the boot (3 ms)\n";

    #[test]
    fn h20_phases_come_from_the_console_up_to_the_verdict() {
        let phase = |name: &str, begin, end| Phase {
            name: name.into(),
            begin,
            end,
        };
        assert_eq!(
            phases(CONSOLE, 6000.0).unwrap(),
            [
                phase("bay0", 0.0, 51.0),
                phase("watchdog", 69.0, 163.0),
                phase("validate", 749.0, 943.0)
            ]
        );
        assert!(phases("nothing\n", 0.0).is_err());
    }

    #[test]
    fn h20_the_picture_has_a_bar_for_every_phase() {
        let picture = svg("a boot", &phases(CONSOLE, 6000.0).unwrap());
        assert_eq!(picture.matches("fill=\"#3b6ea5\"").count(), 3);
        assert!(
            picture.contains(">watchdog</text>") && picture.contains(">94 ms</text>"),
            "{picture}"
        );
    }
}
