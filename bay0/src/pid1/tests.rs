use super::*;

impl Bay0 {
    fn empty() -> Self {
        Self::new(Poll::new().unwrap(), Log::default(), 0)
    }
}

#[test]
fn a11_a_console_that_is_behind_bounds_the_wait() {
    let mut bay = Bay0::empty();
    assert_eq!(bay.longest(), TICK);
    bay.log = Log::new(File::options().write(true).open("/dev/full").ok(), None);
    bay.log.draw("nobody takes this yet");
    assert_eq!(bay.longest(), CONSOLE_RETRY);
}

#[test]
fn h08_the_first_who_wants_the_machine_down_is_said() {
    let mut bay = Bay0::empty();
    bay.shut_down(Way::PowerOff, "power button");
    bay.shut_down(Way::Reboot, "operator");
    let text = bay.log.text();
    assert!(text.ends_with("shutdown: power off requested by power button\n"));
    assert!(!bay.is_ready());
}

#[test]
fn h19_a_failed_phase_says_what_follows_unless_its_error_does() {
    let mut bay = Bay0::empty();
    bay.step("x", "b; next: c", |_| bail!("a: EIO"));
    bay.step("x", "b; next: c", |_| bail!("a: EIO; d; next: e"));
    bay.step("x", "b; next: c", |_| Ok("well".to_owned()));
    let text = bay.log.text();
    let lines = text.lines().filter_map(|it| it.split_once(" x: "));
    let lines = lines.filter_map(|(_, it)| it.split_once(" ("));
    let lines: Vec<_> = lines.map(|(it, _)| it).collect();
    let first = "FAIL: a: EIO; b; next: c";
    assert_eq!(lines, [first, "FAIL: a: EIO; d; next: e", "well"]);
}
