//! `build/rooms`: the images and the list of what they are, `images`, one line each: name, bytes, SHA-256, where it came from. An image
//! stands there whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempPath;

use crate::stamp;

/// The list's file.
const LIST: &str = "images";
/// Letters of a name (decision 16).
const MAX_NAME: usize = 32;

/// The images of one checkout.
pub struct Shelf {
    dir: PathBuf,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The image's name; its file is `NAME.sqfs`.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// `recipe:NAME@…`, with a digest of the recipe, or `import:sha256:…`.
    pub from: String,
}

/// Takes what can be a segment of a room's name: 1 to 32 lower-case ASCII letters and digits.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |name: &str| {
        (1..=MAX_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if fits(name) {
        return Ok(());
    }
    let lower = name.to_ascii_lowercase();
    let next = match fits(&lower) {
        true => lower,
        false => "1 to 32 lower-case letters and digits".to_owned(),
    };
    bail!("{name:?} is no name of an image; next: {next}")
}

impl Shelf {
    /// The one in this folder, which is made.
    pub fn open(dir: &Path) -> Result<Shelf> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let dir = dir.to_owned();
        Ok(Shelf { dir })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where an image's file is.
    pub fn image(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.sqfs"))
    }

    /// A file beside the images to write into: gone unless it is [put](Shelf::put).
    pub fn part(&self, name: &str) -> Result<TempPath> {
        let part = tempfile::Builder::new()
            .prefix(&format!(".{name}-"))
            .suffix(".part")
            .tempfile_in(&self.dir);
        let part = part.with_context(|| format!("make a file in {}", self.dir.display()))?;
        Ok(part.into_temp_path())
    }

    /// What is listed, by name.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let path = self.dir.join(LIST);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let rows = text.lines().map(|line| {
            Row::parse(line).with_context(|| {
                format!(
                    "{}: {line:?} is no line of it; next: rm it, and build the images again",
                    path.display()
                )
            })
        });
        rows.collect()
    }

    /// What is listed under this name.
    pub fn row(&self, name: &str) -> Result<Option<Row>> {
        Ok(self.rows()?.into_iter().find(|row| row.name == name))
    }

    /// Moves a finished file into its place and lists it.
    pub fn put(&self, name: &str, part: TempPath, from: &str) -> Result<Row> {
        let row = Row {
            name: name.to_owned(),
            bytes: part.metadata().context("stat the image")?.len(),
            sha256: stamp::sha256_file(&part)?,
            from: from.to_owned(),
        };
        let _one_at_a_time = self.lock()?;
        let mut rows = self.rows()?;
        rows.retain(|other| other.name != name);
        rows.push(row.clone());
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let list: String = rows.iter().map(Row::line).collect();
        readable(&part)?;
        let place = self.image(name);
        part.persist(&place)
            .with_context(|| format!("move into place {}", place.display()))?;
        let part = self.dir.join(".images.part");
        fs::write(&part, list)
            .and_then(|()| fs::rename(&part, self.dir.join(LIST)))
            .with_context(|| format!("write {}", self.dir.join(LIST).display()))?;
        Ok(row)
    }

    /// Why an image is not what its line says, if so.
    pub fn wrong(&self, row: &Row) -> Result<Option<String>> {
        let path = self.image(&row.name);
        if !path.is_file() {
            return Ok(Some("MISSING".to_owned()));
        }
        let found = stamp::sha256_file(&path)?;
        Ok((found != row.sha256).then(|| format!("CHANGED: sha256 {found}")))
    }

    fn lock(&self) -> Result<File> {
        let path = self.dir.join(".lock");
        let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
        file.lock()
            .with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }
}

/// A temporary file is its maker's alone; an image may be read by all.
fn readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).context("set the image's mode")
}

impl Row {
    fn parse(line: &str) -> Result<Row> {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, bytes, sha256, from] = words[..] else {
            bail!("not four words");
        };
        check_name(name)?;
        ensure!(sha256.len() == 64, "no SHA-256");
        Ok(Row {
            name: name.to_owned(),
            bytes: bytes.parse().context("no number of bytes")?,
            sha256: sha256.to_owned(),
            from: from.to_owned(),
        })
    }

    /// The line in the list.
    pub fn line(&self) -> String {
        format!(
            "{} {} {} {}\n",
            self.name, self.bytes, self.sha256, self.from
        )
    }
}

#[cfg(test)]
mod tests;
