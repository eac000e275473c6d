//! A person inside a room: the scenarios' way to type at its shell.

use anyhow::{Context, Result, ensure};

use super::lab::Guest;

/// The key that leaves a room: control and `]`.
const LEAVE: &[u8] = b"\x1d";

/// A visit to a room, from `enter` to [`Inside::leave`].
pub struct Inside<'a> {
    /// The machine.
    pub guest: &'a mut Guest,
    name: String,
    mark: String,
    asked: u32,
}

impl Guest {
    /// Starts a room and waits until its program runs.
    pub fn start_room(&mut self, name: &str) -> Result<()> {
        self.machine.send_line(&format!("start {name}"))?;
        self.says(&format!("room: {name} started (N ms)")).map(drop)
    }

    /// Stops a room and waits until it is gone.
    pub fn stop_room(&mut self, name: &str) -> Result<()> {
        self.machine.send_line(&format!("stop {name}"))?;
        self.says(&format!("room: {name} stopped (N ms)")).map(drop)
    }

    /// The line of a room in the operator's `rooms`.
    pub fn room(&mut self, name: &str) -> Result<String> {
        let said = self.ask("rooms")?;
        let line = said.lines().find(|line| {
            let line = line.trim_start_matches(['\r', '\x1b', '[', 'K']);
            line.split(' ').next() == Some(name)
        });
        Ok(line
            .with_context(|| format!("no {name} in {said:?}"))?
            .to_owned())
    }

    /// Starts a room and enters it.
    pub fn start_and_enter(&mut self, name: &str) -> Result<Inside<'_>> {
        self.start_room(name)?;
        self.enter(name)
    }

    /// Enters a room, runs a command that must succeed, and leaves; what it prints.
    pub fn run_in(&mut self, name: &str, command: &str) -> Result<String> {
        let mut inside = self.enter(name)?;
        let said = inside.run(command)?;
        inside.leave()?;
        Ok(said)
    }

    /// The same in a room that is started first.
    pub fn start_and_run_in(&mut self, name: &str, command: &str) -> Result<String> {
        self.start_room(name)?;
        self.run_in(name, command)
    }

    /// Has a room run a command behind its shell, so that it can be left meanwhile.
    pub fn begin_in(&mut self, name: &str, command: &str) -> Result<()> {
        let behind = format!("rm -f /code; ((({command}) >/said 2>&1; echo $? >/code) &)");
        self.run_in(name, &behind).map(drop)
    }

    /// What that has said by its end, and its exit code.
    pub fn end_in(&mut self, name: &str) -> Result<(String, i32)> {
        let wait = "until [ -s /code ]; do sleep 0.1; done; cat /said /code";
        let said = self.run_in(name, wait)?;
        let (said, code) = said.trim().rsplit_once('\n').context(said.clone())?;
        Ok((said.trim().to_owned(), code.trim().parse()?))
    }

    /// Goes inside a room, whatever its program is: the mark.
    pub fn go_inside(&mut self, name: &str) -> Result<String> {
        self.machine.send_line(&format!("enter {name}"))?;
        let line = self.expect(&format!(
            r"terminal: inside {name} until Ctrl-\]; mark [0-9a-f]{{4}}$"
        ))?;
        Ok(line.rsplit(' ').next().unwrap_or_default().to_owned())
    }

    /// Leaves a room, and checks that the mark is the one of the entry.
    pub fn go_outside(&mut self, name: &str, mark: &str) -> Result<()> {
        self.machine.send(LEAVE)?;
        self.says(&format!("terminal: left {name}; mark {mark}"))
            .map(drop)
    }

    /// Enters a room whose program is a shell, and makes that neither echo nor prompt.
    pub fn enter(&mut self, name: &str) -> Result<Inside<'_>> {
        let mark = self.go_inside(name)?;
        let mut inside = Inside {
            guest: self,
            name: name.to_owned(),
            mark,
            asked: 0,
        };
        inside.run("stty -echo; PS1=; PS2=")?;
        Ok(inside)
    }
}

/// Whether a line is one of bay0's log, with its time, which may come at any moment. No scenario has a room print such a line and look
/// for it.
fn is_news(line: &str) -> bool {
    let time = line
        .strip_prefix("bay0 ")
        .and_then(|rest| rest.split(' ').next());
    let parts = time.and_then(|time| time.split_once('.'));
    parts.is_some_and(|(seconds, ms)| {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        !seconds.is_empty() && ms.len() == 3 && digits(seconds) && digits(ms)
    })
}

impl Inside<'_> {
    /// Types a command and returns what it prints, and its exit code.
    pub fn try_run(&mut self, command: &str) -> Result<(String, i32)> {
        self.asked += 1;
        let asked = self.asked;
        self.guest.machine.skip();
        let from = self.guest.machine.text().len();
        // Quotes keep the typed word apart from the printed one.
        self.guest
            .machine
            .send_line(&format!("{command}; echo \"=\"\"{asked}=$?\""))?;
        let end = self.guest.expect(&format!(r"={asked}=\d+$"))?;
        let (before, code) = end
            .rsplit_once(&format!("={asked}="))
            .context("end of a command")?;
        let text = self.guest.machine.text();
        let said = text.get(from..).unwrap_or_default();
        let until = said.rfind(&end).unwrap_or(said.len());
        let said = format!("{}{before}", said.get(..until).unwrap_or_default());
        let rooms = said.split_inclusive('\n').filter(|line| !is_news(line));
        // What a program has taken away again, such as how far it is, is not what it said.
        let rooms = rooms.map(|line| line.rsplit("\r\x1b[K").next().unwrap_or(line));
        Ok((rooms.collect(), code.trim().parse()?))
    }

    /// The same for a command that must succeed.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let (said, code) = self.try_run(command)?;
        ensure!(
            code == 0,
            "{command:?} in {}: exit {code}: {said}",
            self.name
        );
        Ok(said)
    }

    /// Leaves, and checks that the mark is the one of the entry.
    pub fn leave(self) -> Result<()> {
        self.guest.go_outside(&self.name, &self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::is_news;

    #[test]
    fn h19_a_line_of_the_log_is_told_from_what_a_room_prints() {
        assert!(is_news("bay0 4.002 room: sys://net ended: exit 1\n"));
        for printed in [
            "bay0 0.1.0\n",
            "bay0 4.0021 x",
            "bay0 .002 x",
            "bay0: no",
            "x bay0 4.002 y",
        ] {
            assert!(!is_news(printed), "{printed}");
        }
    }
}
