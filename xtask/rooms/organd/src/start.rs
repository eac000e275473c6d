//! What both programs do.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use organd::engine::Engine;
use organd::engine::llama::Llama;
use organd::parent::{Config, Parent, Room};

/// Where the image has its model.
const MODELS: &str = "/usr/share/model";
/// Bytes of memory of its own that an answer may take, in MiB: its context, and what is computed in. The model is everybody's.
const MEMORY_MIB: u64 = 512;
/// How long a room may take to send or to read the next packet.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may run for each token that it may have: four times what one takes on the slowest machine that was tried.
const TOKEN: Duration = Duration::from_secs(10);
const USAGE: &str = "usage: organd [--slots N] [--threads N] [--memory-mib N] [--model FILE]";

/// What is asked for on the command line.
struct Wanted {
    slots: usize,
    threads: u32,
    memory_mib: u64,
    model: Option<PathBuf>,
}

/// Serves until bay0 hangs up.
pub fn start() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "organd: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let wanted = wanted()?;
    let pid1 = outside::ask("organ").map_err(|why| anyhow::anyhow!(why.0))?;
    let engine = match wanted.model.map_or_else(model, Ok) {
        Ok(path) => Llama::load(&path, wanted.threads),
        Err(why) => Err(why),
    };
    if let Err(why) = &engine {
        let _ = writeln!(io::stderr(), "organd: {why}");
    }
    let config = Config {
        slots: wanted.slots,
        room: Room {
            memory: wanted.memory_mib.saturating_mul(1 << 20),
            threads: wanted.threads,
        },
        patience: PATIENCE,
        token: TOKEN,
    };
    let engine = engine.as_ref();
    let engine = engine.map(|it| it as &dyn Engine).map_err(String::clone);
    Parent::new(pid1, engine, config)
        .serve()
        .context("wait for bay0; next: report it")
}

/// One slot for each processor but one, of one thread each: what has the processor is never kept from others.
fn wanted() -> Result<Wanted> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut wanted = Wanted {
        slots: processors.saturating_sub(1).max(1),
        threads: 1,
        memory_mib: MEMORY_MIB,
        model: None,
    };
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().context(USAGE)?;
        let number = || {
            value
                .to_str()
                .and_then(|it| it.parse::<u32>().ok())
                .filter(|it| *it > 0)
        };
        match word.to_str() {
            Some("--slots") => wanted.slots = usize::try_from(number().context(USAGE)?)?,
            Some("--threads") => wanted.threads = number().context(USAGE)?,
            Some("--memory-mib") => wanted.memory_mib = number().context(USAGE)?.into(),
            Some("--model") => wanted.model = Some(value.into()),
            _ => bail!(USAGE),
        }
    }
    Ok(wanted)
}

/// The only model of the image.
fn model() -> Result<PathBuf, String> {
    let files = fs::read_dir(Path::new(MODELS))
        .into_iter()
        .flatten()
        .flatten();
    let mut files = files
        .map(|it| it.path())
        .filter(|it| it.extension() == Some("gguf".as_ref()));
    match (files.next(), files.next()) {
        (Some(model), None) => Ok(model),
        (None, _) => Err(format!(
            "no model: {MODELS} has no *.gguf; next: cargo xtask room build ai --model FILE"
        )),
        (Some(_), Some(_)) => Err(format!(
            "{MODELS} has more than one model; next: cargo xtask room build ai --model FILE"
        )),
    }
}
