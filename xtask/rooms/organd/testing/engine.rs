//! An engine without a model: it does what the prompt says, also what a broken or hostile one would. In tests of the parent, and in the
//! program that stands for the organ on machines of the scenarios.

use std::thread;
use std::time::Duration;

use bay0_persona::packet::pair;
use bay0_umbilical::organ::Outcome;
use organd::engine::{Engine, Limits, Model, Out, Stopped};
use organd::frames::{Asked, Refusal};

/// Says so many tokens, or does what a broken or hostile engine would.
pub struct Fake(pub Model);

impl Fake {
    pub fn new() -> Self {
        Self(Model {
            name: "fake".to_owned(),
            context: 2048,
            embeds: true,
        })
    }
}

impl Engine for Fake {
    fn model(&self) -> &Model {
        &self.0
    }

    fn answer(&self, asked: &Asked, limits: Limits, out: &mut dyn Out) -> Result<Outcome, Stopped> {
        let words: Vec<&str> = asked.prompt.split_whitespace().collect();
        out.prompt(words.len() as u32);
        match words.as_slice() {
            ["say", many] => {
                let Ok(many) = many.parse::<u32>() else {
                    return Err(Refusal::Engine("no number".to_owned()).into());
                };
                for number in 0..many.min(limits.max) {
                    out.token(format!("{number} ").as_bytes())?;
                }
                let all = many <= limits.max;
                Ok(if all { Outcome::End } else { Outcome::Length })
            }
            ["slowly", ms] => {
                let pause = Duration::from_millis(ms.parse().unwrap_or(1));
                for number in 0..limits.max {
                    out.token(format!("{number} ").as_bytes())?;
                    thread::sleep(pause);
                }
                Ok(Outcome::Length)
            }
            ["flood"] => loop {
                out.token(b"flood ")?;
            },
            ["hang"] => loop {
                thread::park();
            },
            ["memory", mib] => {
                let bytes = mib.parse::<usize>().unwrap_or(1) << 20;
                let memory = vec![1u8; bytes];
                out.token(format!("{}", memory.len()).as_bytes())?;
                Ok(Outcome::End)
            }
            ["grow", ms] => {
                let pause = Duration::from_millis(ms.parse().unwrap_or(1));
                let mut held = Vec::new();
                loop {
                    held.push(vec![1u8; 1 << 20]);
                    thread::sleep(pause);
                }
            }
            ["open"] => {
                let found = std::fs::File::open("/dev/null").is_ok();
                out.token(format!("open {found}").as_bytes())?;
                Ok(Outcome::End)
            }
            ["socket"] => {
                let found = pair().is_ok();
                out.token(format!("socket {found}").as_bytes())?;
                Ok(Outcome::End)
            }
            ["process"] => {
                let found = std::process::Command::new("/bin/true").spawn().is_ok();
                out.token(format!("process {found}").as_bytes())?;
                Ok(Outcome::End)
            }
            ["signal"] => {
                let found = nix::sys::signal::raise(nix::sys::signal::Signal::SIGCONT).is_ok();
                out.token(format!("signal {found}").as_bytes())?;
                Ok(Outcome::End)
            }
            ["code"] => {
                // SAFETY: a new mapping, which nothing uses.
                let code = unsafe {
                    nix::sys::mman::mmap_anonymous(
                        None,
                        std::num::NonZeroUsize::MIN.saturating_add(4095),
                        nix::sys::mman::ProtFlags::PROT_EXEC,
                        nix::sys::mman::MapFlags::MAP_PRIVATE,
                    )
                };
                out.token(format!("code {}", code.is_ok()).as_bytes())?;
                Ok(Outcome::End)
            }
            ["panic"] => panic!("as asked"),
            ["fail"] => Err(Refusal::Engine("as asked".to_owned()).into()),
            ["characters"] => {
                for byte in "né".as_bytes() {
                    out.token(&[*byte])?;
                }
                Ok(Outcome::End)
            }
            ["state"] => {
                // What a child leaves behind it, and the next one finds.
                static LEFT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
                let left = LEFT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                out.token(format!("{left}").as_bytes())?;
                Ok(Outcome::End)
            }
            _ => Err(Refusal::Engine(format!("not foreseen: {}", asked.prompt)).into()),
        }
    }

    fn embed(&self, asked: &Asked, _: Limits, out: &mut dyn Out) -> Result<Vec<f32>, Stopped> {
        out.prompt(1);
        Ok((0..asked.prompt.len()).map(|it| it as f32 / 2.0).collect())
    }
}
