//! The network that the machine is on (U02), as the program of `sys://net` reports it: that has no rights, so what it reports is
//! checked here, and a child sets it. PID 1 itself never sees a packet.

use anyhow::{Result, bail, ensure};
use bay0_persona::net::{Card, CardState, Lease, Names, Report};
use nix::errno::Errno;

use super::id::RoomId;
use super::say::Log;
use crate::sys::boot_ms;

/// Most cards and names that are reported of, and most reports in a second that the log has.
const MOST: usize = 16;
const PER_SECOND: u32 = 8;

/// What is known of it.
#[derive(Default)]
pub struct Uplink {
    /// The room that reports; another one knows nothing of what this one did.
    of: Option<RoomId>,
    /// The newest of each card, and of names.
    reports: Vec<Report>,
    /// The second in which a line was logged last, and how many were.
    logged: (u64, u32),
}

impl Uplink {
    /// Takes a report, and logs what a person should know of it. `set`: gives a card a lease in place of the one it had.
    ///
    /// # Errors
    /// The lease makes no sense, and nothing has changed; or the kernel does not take it, and nothing is known of the card.
    pub fn take(
        &mut self,
        of: RoomId,
        report: Report,
        log: &mut Log,
        set: impl FnOnce(&Card, Option<&Lease>, Option<&Lease>) -> nix::Result<()>,
    ) -> Result<()> {
        let changed = self.change(of, report, set);
        let line = match &changed {
            Ok(line) => line.clone(),
            Err(why) => Some(format!("net: FAIL: {why:#}")),
        };
        if let Some(line) = line.filter(|_| self.may_log()) {
            log.say(line);
        }
        changed.map(drop)
    }

    /// Changes what a report changes: the line about it.
    fn change(
        &mut self,
        of: RoomId,
        report: Report,
        set: impl FnOnce(&Card, Option<&Lease>, Option<&Lease>) -> nix::Result<()>,
    ) -> Result<Option<String>> {
        if self.of.replace(of) != Some(of) {
            self.reports.clear();
        }
        let mut all = self.reports.iter();
        let place = all.position(|it| subject(it) == subject(&report));
        let before = place.and_then(|it| self.reports.get(it));
        let fits = place.is_some() || self.reports.len() < MOST;
        ensure!(fits, "{MOST} cards are known already; next: none");
        let is_new = before.is_none_or(|it| text(it) != text(&report));
        let old = before.and_then(lease).copied();
        if let Report::Card(card, state) = &report {
            let (old, new) = (old.as_ref(), leased(state));
            if let Some(Err(why)) = new.map(Lease::check) {
                bail!("{card}: lease of {state}: {why}; next: mend the network's DHCP server");
            }
            if old.map(Lease::figures) != new.map(Lease::figures) {
                let done = set(card, old, new);
                let refused = |errno: Errno| anyhow::anyhow!("{card}: set {state}: {errno:?}");
                let done = done.map_err(refused);
                if let (Err(_), Some(place)) = (&done, place) {
                    // What the card has now is uncertain: the next report sets it anew.
                    self.reports.remove(place);
                }
                done?;
            }
        }
        let line = text(&report).filter(|_| is_new);
        match place.and_then(|it| self.reports.get_mut(it)) {
            Some(before) => *before = report,
            None => self.reports.push(report),
        }
        Ok(line)
    }

    fn may_log(&mut self) -> bool {
        let (second, count) = &mut self.logged;
        let now = boot_ms() / 1000;
        *count = if *second == now {
            count.saturating_add(1)
        } else {
            1
        };
        *second = now;
        *count <= PER_SECOND
    }

    /// The room that reports is gone, and with it what it did.
    pub fn gone(&mut self, id: RoomId) {
        if self.of == Some(id) {
            *self = Self::default();
        }
    }

    /// `net=REPORT` lines.
    pub fn rows(&self) -> String {
        let rows = self.reports.iter().map(|it| format!("net={it}\n"));
        rows.collect()
    }
}

/// The card that a report is of; none: it is of names.
fn subject(report: &Report) -> Option<&Card> {
    match report {
        Report::Card(card, _) => Some(card),
        Report::Names(_) => None,
    }
}

fn lease(report: &Report) -> Option<&Lease> {
    match report {
        Report::Card(_, state) => leased(state),
        Report::Names(_) => None,
    }
}

fn leased(state: &CardState) -> Option<&Lease> {
    match state {
        CardState::Lease(lease) => Some(lease),
        _ => None,
    }
}

/// What the log has of a report; nothing while all goes on as it should.
fn text(report: &Report) -> Option<String> {
    let text = match report {
        Report::Card(_, CardState::Asking) => return None,
        Report::Card(card, CardState::NoCarrier) => {
            format!("{card}: FAIL: no carrier; nothing passes there; next: see its cable")
        }
        Report::Card(card, CardState::NoAnswer) => {
            let why = "no DHCP server answers; it asks on, without IPv4 there";
            format!("{card}: FAIL: {why}; next: none where the network has IPv6 alone, else see its server")
        }
        Report::Card(card, CardState::Conflict(address)) => {
            let why = format!("{address} is another machine's; it asks for another address");
            format!("{card}: FAIL: {why}; next: see who uses that one")
        }
        Report::Card(card, CardState::Lease(lease)) => {
            let (address, prefix, server) = (lease.address, lease.prefix, lease.server);
            let router = lease.router.map_or("none".to_owned(), |it| it.to_string());
            format!("{card}: {address}/{prefix} from {server}, router {router}")
        }
        Report::Names(Names::None) => {
            "names: FAIL: the network names no server of names; next: write one in the policy of sys://net".to_owned()
        }
        Report::Names(Names::Dead) => {
            "names: FAIL: no server of names answers; it is asked on; next: see the network's".to_owned()
        }
        Report::Names(Names::By(servers)) => {
            let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
            format!("names: by {}", servers.join(", "))
        }
    };
    Some(format!("net: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const LEASE: &str = "eth0 lease 192.0.2.7/24 via 192.0.2.1 mtu 1500 from 192.0.2.1 for 3600";
    const OTHER: &str = "eth0 lease 192.0.2.8/24 via none mtu 0 from 192.0.2.1 for 60";
    const NET: RoomId = RoomId::new(5);

    /// What each of these reports has had set, old and new, and the line or the refusal.
    fn take(uplink: &mut Uplink, text: &str) -> (Vec<String>, String) {
        let set = RefCell::new(Vec::new());
        let shown = |it: Option<&Lease>| it.map_or("none".to_owned(), |it| it.address.to_string());
        let mut log = Log::new(None, None);
        let report = Report::parse(text).unwrap();
        let _ = uplink.take(NET, report, &mut log, |card, old, new| {
            let line = format!("{card} {} {}", shown(old), shown(new));
            set.borrow_mut().push(line);
            Ok(())
        });
        let line = log.text();
        let line = line.trim_end().split_once(" net: ").map_or("", |it| it.1);
        (set.into_inner(), line.to_owned())
    }

    #[test]
    fn u02_a_lease_is_set_once_in_place_of_the_last_and_goes_with_the_carrier() {
        let mut uplink = Uplink::default();
        let no = Vec::<String>::new;
        assert_eq!(take(&mut uplink, "eth0 asking"), (no(), String::new()));
        let line = "eth0: 192.0.2.7/24 from 192.0.2.1, router 192.0.2.1";
        let set = vec!["eth0 none 192.0.2.7".to_owned()];
        assert_eq!(take(&mut uplink, LEASE), (set, line.to_owned()));
        // Renewed: nothing is set, so that no connection breaks, and nobody needs to read of it.
        let renewed = LEASE.replace("3600", "1800");
        assert_eq!(take(&mut uplink, &renewed), (no(), String::new()));
        assert_eq!(uplink.rows(), format!("net={renewed}\n"));
        assert_eq!(take(&mut uplink, OTHER).0, ["eth0 192.0.2.7 192.0.2.8"]);
        let (set, line) = take(&mut uplink, "eth0 no-carrier");
        assert_eq!(set, ["eth0 192.0.2.8 none"]);
        assert!(line.starts_with("eth0: FAIL: no carrier; "), "{line}");
        assert_eq!(take(&mut uplink, "dns none").0, no());
        assert_eq!(uplink.rows(), "net=eth0 no-carrier\nnet=dns none\n");
        uplink.gone(RoomId::new(4));
        assert!(!uplink.rows().is_empty());
        uplink.gone(NET);
        assert_eq!(uplink.rows(), "");
        assert_eq!(take(&mut uplink, LEASE).0, ["eth0 none 192.0.2.7"]);
    }

    #[test]
    fn t07_a_lease_that_makes_no_sense_is_refused_and_changes_nothing() {
        let mut uplink = Uplink::default();
        take(&mut uplink, LEASE);
        let (set, why) = take(&mut uplink, &OTHER.replace("via none", "via 10.0.0.1"));
        let reason = "its router is not on that network; next: mend the network's DHCP server";
        assert!(set.is_empty() && why.ends_with(reason), "{why}");
        assert_eq!(uplink.rows(), format!("net={LEASE}\n"));
        let refused = |_: &Card, _: Option<&Lease>, _: Option<&Lease>| Err(Errno::ENODEV);
        let (report, mut log) = (Report::parse(OTHER).unwrap(), Log::new(None, None));
        assert!(uplink.take(NET, report, &mut log, refused).is_err());
        assert_eq!(uplink.rows(), "", "what it has now is uncertain");
        assert_eq!(take(&mut uplink, LEASE).0, ["eth0 none 192.0.2.7"]);
    }

    #[test]
    fn t02_a_room_that_reports_without_end_fills_neither_memory_nor_log() {
        let mut uplink = Uplink::default();
        let lines = (0..1000).filter(|number| {
            let text = format!("eth{} no-carrier", number % 100);
            !take(&mut uplink, &text).1.is_empty()
        });
        // A second may end meanwhile.
        assert!(lines.count() <= 3 * PER_SECOND as usize);
        assert_eq!(uplink.rows().lines().count(), MOST);
    }
}
