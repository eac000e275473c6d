//! What came of an attack, in one line.

use std::io;

use nix::errno::Errno;

/// The three ends of an attack, each with its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Refused(String),
    Bounded(String),
    Succeeded(String),
}

impl Told {
    /// The line that is printed.
    pub fn line(&self, name: &str) -> String {
        let (word, detail) = match self {
            Told::Refused(detail) => ("REFUSED", detail),
            Told::Bounded(detail) => ("BOUNDED", detail),
            Told::Succeeded(detail) => ("SUCCEEDED", detail),
        };
        // A path or a name of a process may hold anything; one attack is one line.
        let detail: String = detail
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        format!("hostile {name}: {word} {detail}")
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        u8::from(matches!(self, Told::Succeeded(_)))
    }
}

/// The ways one attack goes, each with its own end.
#[derive(Default)]
pub struct Ways {
    refused: Vec<String>,
    worked: Vec<String>,
}

impl Ways {
    /// A way that worked if `result` is not an error.
    pub fn add<T>(&mut self, what: &str, result: io::Result<T>) {
        match result {
            Ok(_) => self.worked(what, "done"),
            Err(error) => self.refused(what, &errno(&error)),
        }
    }

    /// A way that led nowhere, for a reason that is no error.
    pub fn refused(&mut self, what: &str, why: &str) {
        self.refused.push(format!("{what}={why}"));
    }

    /// A way that worked.
    pub fn worked(&mut self, what: &str, how: &str) {
        self.worked.push(format!("{what}={how}"));
    }

    /// One way that worked is enough.
    pub fn told(self) -> Told {
        match self.worked.is_empty() {
            true => Told::Refused(self.refused.join(" ")),
            false => Told::Succeeded(self.worked.join(" ")),
        }
    }
}

/// The name of an error, `EPERM`; what is none of the kernel's is told as it is.
pub fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string().replace(' ', "-"),
    }
}
