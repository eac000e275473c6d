//! Rooms as a person uses them: start, wreck, stop, start again; focus, terminal, limits, ends.

use anyhow::{Result, ensure};

use super::lab::{Build, Lab};

pub fn t09_a_wrecked_room_starts_as_new(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("p://a")?;
    let mut room = guest.enter("p://a")?;
    let before = room.run("find / -xdev -type f | grep -v '^/run' | sort | md5sum")?;
    room.run("echo mine >/note; echo broken >/etc/passwd; rm -rf /usr /sbin /etc/group 2>/dev/null; true")?;
    let (_, code) = room.try_run("test -d /sbin")?;
    ensure!(code == 1, "/sbin could not be removed");
    room.leave()?;
    guest.stop_room("p://a")?;
    guest.start_room("p://a")?;
    let mut room = guest.enter("p://a")?;
    let after = room.run("find / -xdev -type f | grep -v '^/run' | sort | md5sum")?;
    ensure!(
        before == after,
        "the room has other files: {before} {after}"
    );
    let (_, code) = room.try_run("test -e /note")?;
    ensure!(code == 1, "what was written outlived the room");
    room.leave()?;
    guest.power_off()
}
