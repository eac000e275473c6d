//! Reports to PID 1: each change once, a lease whenever it is given or renewed, since its end counts from the report; one that did not
//! arrive again after [`AGAIN`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bay0_umbilical::net::{Card, CardState, Report};
use bay0_umbilical::{CallError, call};

use crate::log;

/// How long one report may take, PID 1's helper included.
const LIMIT: Duration = Duration::from_secs(2);
/// From a report that did not arrive to the next try.
const AGAIN: Duration = Duration::from_secs(2);
/// What PID 1's refusal begins with if another machine has the address.
const CONFLICT: &str = "conflict";

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// PID 1 has it, or it has it already.
    Taken,
    /// PID 1 does not want it; true: because of a conflict.
    Refused(bool),
    /// It will be sent again.
    Lost,
}

/// All kinds of reports with the newest of each.
#[derive(Default)]
pub struct Reports {
    newest: BTreeMap<String, Kept>,
}

struct Kept {
    report: Report,
    again: Option<Duration>,
}

impl Reports {
    /// Sends a report, unless it is the newest of its kind and has arrived.
    pub fn send(&mut self, report: Report, socket: &Path, server: u32, now: Duration) -> Outcome {
        let kind = match &report {
            Report::Card(card, _) => card.to_string(),
            Report::Names(_) => "dns".to_owned(),
        };
        let is_lease = matches!(report, Report::Card(_, CardState::Lease(_)));
        let known = self.newest.get(&kind);
        let same = known.is_some_and(|it| it.report == report && it.again.is_none());
        if same && !is_lease {
            return Outcome::Taken;
        }
        // One at a time: where nobody answers, each try takes as long as it may.
        if known.is_some_and(|it| it.report == report && it.again.is_some_and(|at| at > now)) {
            return Outcome::Lost;
        }
        let is_new = known.is_none_or(|it| it.again.is_none());
        let outcome = tell(&report, socket, server, is_new);
        let again = (outcome == Outcome::Lost).then(|| now.saturating_add(AGAIN));
        self.newest.insert(kind, Kept { report, again });
        outcome
    }

    /// Whether names were reported of, or a card has got its answer, or has waited for it in vain.
    pub fn is_settled(&self) -> bool {
        let mut all = self.newest.values().map(|it| &it.report);
        all.any(|it| match it {
            Report::Names(_) => true,
            Report::Card(_, state) => matches!(state, CardState::Lease(_) | CardState::NoAnswer),
        })
    }

    /// What is to be sent again now.
    pub fn due(&self, now: Duration) -> Vec<Report> {
        let due = |it: &&Kept| it.again.is_some_and(|at| at <= now);
        let due = self.newest.values().filter(due);
        due.map(|it| it.report.clone()).collect()
    }

    /// When something is.
    pub fn wake(&self) -> Option<Duration> {
        self.newest.values().filter_map(|it| it.again).min()
    }

    /// A card is gone, and what was reported of it.
    pub fn forget(&mut self, card: &Card) {
        self.newest.remove(&card.to_string());
    }
}

/// Sends a report once; `is_new`: that it is lost is worth a line.
fn tell(report: &Report, socket: &Path, server: u32, is_new: bool) -> Outcome {
    let line = format!("net {report}");
    match call(socket, server, &line, LIMIT) {
        Ok(_) => Outcome::Taken,
        Err(CallError::No(text)) => {
            log(&format!("{line:?} refused: {text}"));
            Outcome::Refused(text.starts_with(CONFLICT))
        }
        Err(error) => {
            if is_new {
                log(&format!("{line:?} not reported: {error}"));
            }
            Outcome::Lost
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u02_that_there_are_no_names_is_news_once_somebody_could_have_named_a_server() {
        let (card, nowhere) = (Card::parse("eth0").unwrap(), Path::new("/nowhere"));
        let mut reports = Reports::default();
        let mut send = |state| {
            let report = Report::Card(card.clone(), state);
            let outcome = reports.send(report, nowhere, 0, Duration::ZERO);
            assert_eq!(outcome, Outcome::Lost);
            reports.is_settled()
        };
        assert!(!send(CardState::NoCarrier));
        assert!(!send(CardState::Asking));
        assert!(send(CardState::NoAnswer));
    }
}
