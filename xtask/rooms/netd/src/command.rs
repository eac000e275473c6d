//! The command's arguments, and why it ends.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::links::can_serve;
use crate::log;
use crate::servers::MAX_SERVERS;

/// What the command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name servers, whatever the networks name.
    pub dns: Vec<IpAddr>,
    /// PID 1's socket.
    pub umbilical: PathBuf,
}

impl Options {
    /// Reads the arguments; none if they make no sense.
    pub fn parse(args: &[OsString]) -> Option<Options> {
        let mut options = Options {
            dns: Vec::new(),
            umbilical: PathBuf::from("/run/umbilical"),
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let value = args.next()?;
            match name.to_str()? {
                "--dns" => options.dns.push(value.to_str()?.parse().ok()?),
                "--umbilical" => options.umbilical = value.into(),
                _ => return None,
            }
        }
        let good = options.dns.len() <= MAX_SERVERS && options.dns.iter().all(|it| can_serve(*it));
        good.then_some(options)
    }
}

/// Why the program ends.
#[derive(Debug)]
pub enum Failure {
    /// Its arguments.
    Usage,
    /// The kernel's links.
    Links(Errno),
    /// Port 53.
    Port(io::Error),
    /// The loop.
    Poll(Errno),
}

/// Says why the program ends.
pub fn last_words(failure: &Failure) {
    log(&match failure {
        Failure::Usage => "usage: netd [--dns ADDRESS]... [--umbilical SOCKET]; at most 4 addresses, none of a room".to_owned(),
        Failure::Links(errno) => format!("ask the kernel for links: {errno}; next: report this kernel"),
        Failure::Port(error) => format!(
            "listen on port 53: {error}; next: end the other name server of this room, or let it have ports below 1024"
        ),
        Failure::Poll(errno) => format!("wait for the network: {errno}; next: report this kernel"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Option<Options> {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        Options::parse(&words)
    }

    #[test]
    fn u02_the_policy_s_servers_are_at_most_four_addresses_outside_the_rooms() {
        let four = "--dns 192.0.2.1 --dns 2001:db8::1 --dns 192.0.2.3 --dns 192.0.2.4";
        assert_eq!(parse(four).unwrap().dns.len(), 4);
        assert_eq!(
            parse("").unwrap().umbilical,
            PathBuf::from("/run/umbilical")
        );
        for odd in [
            "--dns",
            "--dns x",
            "--dns 198.18.0.1",
            "--dns ::1",
            "192.0.2.1",
            "--cache 1",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
        assert_eq!(parse(&format!("{four} --dns 192.0.2.5")), None);
    }
}
