//! A finding, and a report of several, as they go from process to process: PID 1 to the validator, and the validator to PID 1.
//!
//! ```text
//! finding = "GREEN" / "YELLOW" / "RED", SP, component, ": ", text
//! report  = milliseconds, SP, how many findings, LF, findings with a LF each
//! ```
//!
//! People read a finding as it is. PID 1 decides on its level and its component, never on its text.

use std::fmt::{self, Display, Formatter};

/// How well a component may be, the worst first. The worst of all is the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It does not work.
    Red,
    /// It was not tried, or works and is not as it should be.
    Yellow,
    /// It was tried and works.
    Green,
}

const LEVELS: [Level; 3] = [Level::Red, Level::Yellow, Level::Green];

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Groups freeze and thaw.
    Freezer,
    /// PID 1 answers.
    Umbilical,
    /// The root and the kernel cannot be changed.
    Root,
    /// A marker is written and read back.
    Persist,
    /// A record is appended.
    Log,
    /// A timer counts.
    Watchdog,
    /// Every step of the boot was done.
    Boot,
    /// The vault is open, and sealed to this Spine.
    Vault,
    /// The kernel has counted no error of it.
    Disk,
}

const COMPONENTS: [Component; 9] = {
    use Component::*;
    [
        Freezer, Umbilical, Root, Persist, Log, Watchdog, Boot, Vault, Disk,
    ]
};

/// `GREEN` and its like.
impl Display for Level {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

/// `freezer` and its like.
impl Display for Component {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// What is called so.
fn named<T: Display>(all: impl IntoIterator<Item = T>, name: &str) -> Option<T> {
    all.into_iter().find(|it| it.to_string() == name)
}

/// What was found of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How well it is.
    pub level: Level,
    /// Of what.
    pub component: Component,
    /// What was measured, or `reason; next: action`.
    pub text: String,
}

impl Finding {
    /// GREEN with what was measured; or RED with why.
    pub fn new(component: Component, found: Result<String, String>) -> Self {
        let (level, text) = match found {
            Ok(text) => (Level::Green, text),
            Err(text) => (Level::Red, text),
        };
        Self::at(level, component, text)
    }

    /// YELLOW.
    pub fn yellow(component: Component, text: impl Into<String>) -> Self {
        Self::at(Level::Yellow, component, text)
    }

    /// A finding of any level.
    pub fn at(level: Level, component: Component, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            level,
            component,
            text,
        }
    }

    /// A finding from its line.
    pub fn decode(line: &str) -> Option<Self> {
        let (level, rest) = line.split_once(' ')?;
        let (component, text) = rest.split_once(": ")?;
        let (level, component) = (named(LEVELS, level)?, named(COMPONENTS, component)?);
        Some(Self::at(level, component, text))
    }
}

/// The line that is decoded, and read: one, whatever the text is.
impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (level, component) = (self.level, self.component);
        write!(f, "{level} {component}: {}", self.text.replace('\n', "?"))
    }
}

/// Lines as findings; none if one of them is no finding.
pub fn decode(lines: &str) -> Option<Vec<Finding>> {
    lines.split_terminator('\n').map(Finding::decode).collect()
}

/// The lines of findings, each with its end.
pub fn encode(findings: &[Finding]) -> String {
    findings.iter().map(|it| format!("{it}\n")).collect()
}

/// The worst level found; RED if nothing was.
pub fn verdict(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|it| it.level);
    levels.min().unwrap_or(Level::Red)
}

/// A whole validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many milliseconds it took.
    pub ms: u64,
    /// One for each component.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What the validator sends.
    pub fn encode(&self) -> String {
        let Self { ms, findings } = self;
        format!("{ms} {}\n{}", findings.len(), encode(findings))
    }

    /// What it has sent; none of text that is no report.
    pub fn decode(sent: &str) -> Option<Self> {
        let (head, lines) = sent.split_once('\n')?;
        let (ms, count) = head.split_once(' ')?;
        let (ms, findings) = (ms.parse().ok()?, decode(lines)?);
        // What was cut off would be better than it is.
        (count == findings.len().to_string()).then_some(Self { ms, findings })
    }
}

/// For people: the findings that are not GREEN, then the summary, without a last newline.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { ms, findings } = self;
        for finding in findings.iter().filter(|it| it.level != Level::Green) {
            writeln!(f, "{finding}")?;
        }
        let levels = findings
            .iter()
            .map(|it| format!("{} {}", it.component, it.level));
        let levels = levels.collect::<Vec<_>>().join(", ");
        write!(f, "{} ({ms} ms): {levels}", verdict(findings))
    }
}
