//! The report for machines. Written by hand: this is all the JSON there is in the Spine, and it is only ever written.

use std::fmt::Write;

use crate::{Finding, Report};

/// The report as one JSON object on one line, without a last newline.
pub fn render(report: &Report) -> String {
    let findings: Vec<String> = report.findings.iter().map(finding).collect();
    let (verdict, ms, findings) = (report.verdict().word(), report.ms, findings.join(","));
    format!("{{\"verdict\":\"{verdict}\",\"ms\":{ms},\"findings\":[{findings}]}}")
}

fn finding(finding: &Finding) -> String {
    let (component, level) = (quote(&finding.component), finding.level.word());
    let (reason, next) = (quote(&finding.reason), quote(&finding.next));
    format!(
        "{{\"component\":{component},\"level\":\"{level}\",\"reason\":{reason},\"next\":{next}}}"
    )
}

/// A JSON string: quote, backslash and control characters escaped (RFC 8259, section 7).
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        let _ = match character {
            '"' | '\\' => write!(quoted, "\\{character}"),
            '\0'..='\x1f' => write!(quoted, "\\u{:04x}", u32::from(character)),
            _ => write!(quoted, "{character}"),
        };
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
