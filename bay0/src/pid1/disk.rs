//! The disk of `/persist` as the kernel counts what it does (H06, H15): whether it moves, and what ext4 has found wrong. No disk is
//! asked for it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::{major, minor};

use crate::sys::text_of;

/// The completed reads, writes, discards and flushes among the numbers of a disk (kernel doc: `block/stat`).
const COMPLETED: [usize; 4] = [0, 4, 11, 15];

/// The disk, once the keeper has opened it.
#[derive(Default)]
pub struct Disk {
    /// What the kernel had counted when it was looked at last.
    counts: Counts,
    /// The kernel has found errors since the boot.
    marked: bool,
    /// How many of them the log has.
    reported: u64,
    /// The kernel writes nothing to it any more.
    read_only: bool,
}

/// What a look at the disk has found.
#[must_use]
pub struct Look {
    /// It has completed something since the look before.
    pub moved: bool,
    /// A text for the log: errors have doubled, or the disk is read-only from now on.
    pub worse: Option<String>,
}

impl Disk {
    /// The keeper has opened it: what was found wrong before is remembered, and it is written to again.
    pub fn opened(&mut self, device: Option<&str>) {
        self.counts = device.map(Counts::read).unwrap_or_default();
        self.read_only = false;
    }

    /// Looks at the kernel's counters.
    pub fn look(&mut self, device: &str) -> Look {
        self.compare(Counts::read(device))
    }

    fn compare(&mut self, counts: Counts) -> Look {
        let before = std::mem::replace(&mut self.counts, counts);
        let (now, mut worse) = (&self.counts, None);
        if now.marks() > before.marks() {
            let fell = now.errors > before.errors && !self.read_only;
            self.read_only |= fell;
            self.marked = true;
            if fell || now.marks() >= self.reported.saturating_mul(2) {
                self.reported = now.marks();
                worse = self.marked();
            }
        }
        let moved = self.counts.completed != before.completed;
        Look { moved, worse }
    }

    /// What is wrong with it, if anything is.
    pub fn marked(&self) -> Option<String> {
        self.marked.then(|| self.counts.text(self.read_only))
    }

    /// Why nothing is written to it, if nothing is.
    pub fn is_read_only(&self) -> Option<String> {
        self.marked().filter(|_| self.read_only)
    }
}

/// What the kernel counts of a file system's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// What the disk has completed.
    completed: Vec<u64>,
    /// Errors of ext4, those of former mounts included, and warnings since it was mounted.
    errors: u64,
    warnings: u64,
    /// The last error: in which function, and the Unix second.
    function: String,
    second: u64,
}

impl Counts {
    /// Reads them; no disk is asked for it.
    fn read(device: &str) -> Self {
        let rdev = fs::metadata(device).map_or(0, |it| it.rdev());
        let block = format!("/sys/dev/block/{}:{}", major(rdev), minor(rdev));
        let name = fs::read_link(&block).unwrap_or_default();
        let name = name.file_name().unwrap_or_default().display().to_string();
        let ext4 = |key: &str| {
            text_of(format!("/sys/fs/ext4/{name}/{key}"))
                .trim()
                .to_owned()
        };
        let number = |key: &str| ext4(key).parse().unwrap_or(0);
        Self {
            completed: completed(&text_of(format!("{block}/stat"))),
            errors: number("errors_count"),
            warnings: number("warning_count"),
            function: ext4("last_error_func"),
            second: number("last_error_time"),
        }
    }

    /// Errors and warnings.
    fn marks(&self) -> u64 {
        self.errors.saturating_add(self.warnings)
    }

    /// The text for people. With `errors=remount-ro`, as the keeper mounts it, ext4 writes nothing any more once it has found an error; the
    /// kernel's table of mounts does not say so in every version.
    fn text(&self, read_only: bool) -> String {
        let (errors, warnings, second) = (self.errors, self.warnings, self.second);
        let mut text = format!("{errors} errors and {warnings} warnings of ext4");
        if errors > 0 {
            let function = &self.function;
            text += &format!(", the last error at Unix second {second} in {function}()");
        }
        if read_only {
            text += "; /persist is read-only since, nothing is kept";
        }
        text + "; next: copy the disk, then run e2fsck on another machine"
    }
}

fn completed(stat: &str) -> Vec<u64> {
    let all: Vec<&str> = stat.split_whitespace().collect();
    let number = |at: usize| all.get(at)?.parse().ok();
    COMPLETED.into_iter().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h06_what_a_disk_has_completed_is_read_from_its_counters() {
        let stat = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        assert_eq!(completed(stat), [1, 5, 12, 16]);
        assert_eq!(completed(""), [0; 0]);
        assert_eq!(Counts::read("/nonexistent"), Counts::default());
    }

    #[test]
    fn h15_errors_of_ext4_are_said_with_the_counters_of_the_kernel() {
        let mut counts = Counts {
            warnings: 2,
            ..Counts::default()
        };
        let next = "; next: copy the disk, then run e2fsck on another machine";
        assert_eq!(
            counts.text(false),
            format!("0 errors and 2 warnings of ext4{next}")
        );
        (counts.errors, counts.second) = (3, 17);
        counts.function = "ext4_lookup".to_owned();
        let text = "3 errors and 2 warnings of ext4, the last error at Unix second 17 in ext4_lookup(); /persist is read-only since, nothing is kept";
        assert_eq!(counts.text(true), format!("{text}{next}"));
        assert_eq!(counts.marks(), 5);
    }

    #[test]
    fn h15_errors_are_said_when_the_disk_falls_and_whenever_they_have_doubled() {
        let mut disk = Disk::default();
        disk.opened(None);
        let counts = |errors, warnings| Counts {
            errors,
            warnings,
            ..Counts::default()
        };
        let mut is_worse = |counts| disk.compare(counts).worse.is_some();
        assert!(!is_worse(counts(0, 0)) && is_worse(counts(0, 1)) && is_worse(counts(0, 2)));
        assert!(!is_worse(counts(0, 3)), "not twice as many");
        // The first error makes it read-only, which the log has at once.
        assert!(is_worse(counts(1, 3)) && !is_worse(counts(2, 3)) && is_worse(counts(5, 3)));
        assert!(
            disk.is_read_only()
                .is_some_and(|it| it.contains("read-only since"))
        );
        disk.opened(None);
        assert!(disk.marked().is_some() && disk.is_read_only().is_none());
        let completed = vec![1];
        let moved = Counts {
            completed,
            ..Counts::default()
        };
        assert!(disk.compare(moved.clone()).moved && !disk.compare(moved).moved);
    }
}
