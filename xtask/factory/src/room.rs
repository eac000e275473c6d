//! `cargo xtask room`: images of rooms. An image is a read-only SquashFS in `build/rooms`, from a recipe or from an image archive; either
//! way a [`tree::Tree`] in memory becomes the file, and the file counts only when it is complete. `roomdisk` puts them on a disk.

pub mod blocks;
mod debian;
mod json;
mod layer;
mod new;
mod oci;
mod pack;
mod recipe;
mod records;
mod shelf;
mod source;
mod spool;
mod tree;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;

use crate::arch::Arch;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::organ::{Choice, Engine, LICENCE};
use crate::pins::{self, Apt};
use crate::roomdisk;
use crate::spine;
use crate::turn;
pub use debian::{control, member};
use layer::LeftOut;
pub use recipe::{
    Kind as RecipeKind, Package, Recipe, lock_lines, lock_path, lock_text, parse_lock, read_lock,
    repin_command,
};
pub use shelf::check_name;
use shelf::{Row, Shelf};
use spool::Spool;
use tree::{Kind, Meta, Place, Tree};

/// Whether an image has the client of Debian's archive, and where that one's sources stand.
const APT: &[u8] = b"usr/bin/apt-get";
const SOURCES: &str = "etc/apt/sources.list";
/// The programs that are linked with the organ's engine: the package, and one more that it makes.
const ORGANS: [&str; 2] = ["organd", "organd-v3"];
/// Where an image has a model, and the terms of what was compiled into its programs.
const MODELS: &str = "usr/share/model";
const LICENCES: &str = "usr/share/licenses";
const UNKNOWN: &str = "# The host that built this image knew no archive of this release that a room can use.
# Until a line `deb ADDRESS RELEASE main` stands here, apt update finds nothing and says that all is up to date.
";

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Make the image of a recipe in xtask/rooms, from its pinned packages
    Build {
        /// The recipe
        name: String,
        /// Of the recipe ai: the model, and from now on; toy, vast, gemma3-270m, or a file in GGUF
        #[arg(long)]
        model: Option<String>,
    },
    /// Compile the engine of the recipe ai, if it is not there, and print where it is for cargo test -p organd --features llama
    Engine,
    /// Make an image of an OCI layout or of what `docker save` wrote
    Import {
        /// The archive, compressed or not, or the folder of an OCI layout
        file: PathBuf,
        /// The image's name; without it, the file's up to its first dot
        #[arg(long)]
        name: Option<String>,
        /// Replace the imported image of that name
        #[arg(long)]
        force: bool,
    },
    /// Make a room of an image archive: its image, its policy, and a place among the machines' images
    New {
        /// The room: p://NAME
        name: String,
        /// What `docker save` or `podman save` wrote, or an OCI layout
        #[arg(long, value_name = "ARCHIVE")]
        from: PathBuf,
    },
    /// Print all images with size and SHA-256, and which of them machines get; fail if one is not what it was when it was made
    List,
    /// Pin the packages of a recipe anew, from this host's archive; rewrites its lock
    Repin {
        /// The recipe
        name: String,
    },
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Of its file.
    pub sha256: String,
    /// The SquashFS.
    pub file: PathBuf,
}

/// How closely an image is looked at before it counts as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is listed, and made of what its recipe and lock say now.
    Listed,
    /// Its file is the one that was listed, too.
    Hashed,
}

/// The recipes of this tree, by name.
pub fn recipe_names(layout: &Layout) -> Result<Vec<String>> {
    recipe::names(&layout.recipes())
}

/// Where things are.
struct Places {
    recipes: PathBuf,
    packages: PathBuf,
    epoch: u32,
    layout: Layout,
}

/// Does it; 1 only from `list`.
pub fn command(layout: &Layout, task: &Task) -> Result<u8> {
    // A list is read whoever builds.
    let _turn = match task {
        Task::List => None,
        _ => Some(turn::take(layout)?),
    };
    let (shelf, places) = (Shelf::open(&layout.rooms())?, places(layout)?);
    match task {
        Task::Build { name, model } => {
            if let Some(model) = model {
                choose(layout, &places, name, model)?;
            }
            made(&shelf, &build(&places, &shelf, name)?);
        }
        Task::Engine => println!("ORGAN_ENGINE={}", Engine::prepare(layout)?.dir.display()),
        Task::Import { file, name, force } => {
            source::look(file)?;
            let name = import_name(&places, &shelf, file, name.as_deref(), *force)?;
            let row = import(&shelf, file, &name)
                .with_context(|| format!("import {}; nothing was made", file.display()))?;
            made(&shelf, &row);
        }
        Task::New { name, from } => new::command(layout, &places, &shelf, name, from)?,
        Task::List => return list(layout, &shelf),
        Task::Repin { name } => repin(&places, name)?,
    }
    Ok(0)
}

fn places(layout: &Layout) -> Result<Places> {
    Ok(Places {
        recipes: layout.recipes(),
        packages: layout.cache().join("rooms"),
        epoch: Lock::read(&layout.lock())?.source_date_epoch,
        layout: layout.clone(),
    })
}

/// The images of these names. One of a recipe is made where it is missing or stale; an imported one cannot be.
pub fn sources<'a>(
    layout: &Layout,
    names: impl Iterator<Item = &'a str>,
    checked: Checked,
) -> Result<Vec<Source>> {
    let (shelf, places) = (Shelf::open(&layout.rooms())?, places(layout)?);
    let sources = names.map(|name| {
        let row = match ready(&places, &shelf, name, checked)? {
            Some(row) => row,
            None => build(&places, &shelf, name)?,
        };
        Ok(Source {
            file: shelf.image(name),
            name: row.name,
            sha256: row.sha256,
        })
    });
    sources.collect()
}

/// File names of a recipe's packages in the cache of rooms.
pub fn packages(layout: &Layout, name: &str) -> Result<Vec<String>> {
    let packages = recipe::read_lock(&layout.recipes(), &Arch::chosen().lock(name))?;
    Ok(packages.iter().map(|package| package.pin().name).collect())
}

/// The image's line if nothing has to be made.
fn ready(places: &Places, shelf: &Shelf, name: &str, checked: Checked) -> Result<Option<Row>> {
    let Some(row) = shelf.row(name)? else {
        return Ok(None);
    };
    let of_recipe = row.from.starts_with("recipe:");
    if of_recipe && row.from != from(places, name)? {
        eprintln!("room: {name}: its recipe, lock or program has changed since it was made");
        return Ok(None);
    }
    if checked == Checked::Listed {
        return Ok(Some(row));
    }
    match (shelf.wrong(&row)?, of_recipe) {
        (None, _) => Ok(Some(row)),
        (Some(wrong), true) => {
            eprintln!("room: {name}: {wrong}");
            Ok(None)
        }
        (Some(wrong), false) => {
            bail!("room {name}: {wrong}; next: cargo xtask room import FILE --name {name} --force")
        }
    }
}

/// Where an image of a recipe came from: its name, and what recipe, lock, programs of this workspace and time of the files were then.
fn from(places: &Places, name: &str) -> Result<String> {
    made_of(places, name, |program| bytes(&compiled(places, program)?))
}

fn made_of(
    places: &Places,
    name: &str,
    program: impl Fn(&str) -> Result<Vec<u8>>,
) -> Result<String> {
    let mut text = places.epoch.to_string();
    for path in recipe::paths(&places.recipes, name) {
        text += &fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    }
    let lock = Arch::chosen().lock(name);
    text += &pins::instead(&places.packages, &lock, || pins_of(places, name))?;
    let recipe = Recipe::read(&places.recipes, name)?;
    for name in &recipe.programs {
        text += &crate::stamp::sha256(&program(name)?);
    }
    if let Some(default) = &recipe.model {
        text += &Choice::last(&places.layout, default)?.mark()?;
    }
    let hash = crate::stamp::sha256(text.as_bytes());
    Ok(format!("recipe:{name}@{}", &hash[..16]))
}

fn made(shelf: &Shelf, row: &Row) {
    print!("{}: {}", shelf.image(&row.name).display(), row.line());
}

/// Makes the image of a recipe.
fn build(places: &Places, shelf: &Shelf, name: &str) -> Result<Row> {
    let recipe = Recipe::read(&places.recipes, name)?;
    if let Some(row) = shelf.row(name)?
        && !row.from.starts_with("recipe:")
    {
        bail!(
            "room {name}: an image of that name was imported; next: rm {}, or give the recipe another name",
            shelf.image(name).display()
        );
    }
    let arch = Arch::chosen();
    ensure!(
        arch == Arch::default() || recipe.kind != RecipeKind::Debian,
        "room {name}: a recipe of kind debian runs its packages' own scripts, and is made for {} alone; next: an image that was made on \
         {arch}, by cargo xtask room import",
        Arch::default()
    );
    eprintln!("room: {name}: {}", recipe.about);
    let apt = Apt::of(&places.layout, arch)?;
    let packages = pins::take(&pins_of(places, name)?, &apt, pins::locked())?;
    let (mut tree, mut spool) = (Tree::default(), Spool::new(shelf.dir())?);
    let left_out = match (recipe.kind, &packages[..]) {
        (recipe::Kind::Debian, _) => debian::debian(
            &recipe,
            &packages,
            &places.packages,
            places.epoch,
            &mut tree,
            &mut spool,
        )?,
        (recipe::Kind::Busybox, [package]) => {
            debian::busybox(package, &places.packages, &mut tree, &mut spool)?;
            LeftOut::default()
        }
        _ => bail!("room {name}: a recipe of kind busybox has one package"),
    };
    leave_out(&recipe, &mut tree).with_context(|| format!("room {name}"))?;
    for program in &recipe.programs {
        install(&compiled(places, program)?, program, &mut tree, &mut spool)?;
    }
    if let Some(default) = &recipe.model {
        install_model(places, default, &mut tree, &mut spool)?;
    }
    if tree.leads(&Place::parse(APT)?) {
        // A host whose packages were brought to it may have no apt.
        let sources = Apt::default().sources(&recipe.release).unwrap_or_default();
        let text = if sources.is_empty() {
            UNKNOWN
        } else {
            &sources
        };
        file(SOURCES, text, &mut tree, &mut spool)?;
    }
    furnish(&recipe, &mut tree, &mut spool).with_context(|| format!("room {name}"))?;
    tree.clamp(places.epoch);
    tell(&left_out);
    finish(shelf, name, &mut tree, &mut spool, &from(places, name)?)
}

fn pins_of(places: &Places, name: &str) -> Result<pins::Set> {
    pins::room(&places.recipes, &places.packages, name)
}

/// The model of a recipe from now on.
fn choose(layout: &Layout, places: &Places, name: &str, model: &str) -> Result<()> {
    let recipe = Recipe::read(&places.recipes, name)?;
    ensure!(
        recipe.model.is_some(),
        "room {name}: its recipe has no model; next: leave --model out"
    );
    Choice::parse(model)?.keep(layout)
}

/// The model that was chosen, its terms and the engine's.
fn install_model(places: &Places, default: &str, tree: &mut Tree, spool: &mut Spool) -> Result<()> {
    let engine = Engine::prepare(&places.layout)?.dir;
    let choice = Choice::last(&places.layout, default)?;
    let model = choice.prepare(&places.layout, &engine)?;
    eprintln!("room: the model is {}", model.name);
    let mut files = vec![
        (engine.join(LICENCE), format!("{LICENCES}/llama.cpp")),
        (model.file, format!("{MODELS}/{}.gguf", model.name)),
    ];
    files.extend(
        model
            .terms
            .map(|terms| (terms, format!("{MODELS}/TERMS.html"))),
    );
    for (from, to) in files {
        let mut file = File::open(&from).with_context(|| format!("open {}", from.display()))?;
        let bytes = file.metadata().context("stat the model")?.len();
        let content = spool.take(&mut file, bytes)?;
        let meta = Meta {
            mode: 0o644,
            ..Meta::PLAIN
        };
        tree.add(Place::parse(to.as_bytes())?, meta, Kind::File(content))?;
    }
    Ok(())
}

/// A program of this workspace, static as bay0 is, as its sources make it now.
fn compiled(places: &Places, name: &str) -> Result<PathBuf> {
    let lock = Lock::read(&places.layout.lock())?;
    if ORGANS.contains(&name) {
        let engine = Engine::prepare(&places.layout)?.dir;
        let first = spine::compile_with(&places.layout, &lock, ORGANS[0], false, Some(&engine))?;
        return Ok(first.with_file_name(name));
    }
    spine::compile(&places.layout, &lock, name, false)
}

fn bytes(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// A program at `/usr/bin`.
fn install(file: &Path, name: &str, tree: &mut Tree, spool: &mut Spool) -> Result<()> {
    let bytes = bytes(file)?;
    let content = spool.take(&mut bytes.as_slice(), bytes.len() as u64)?;
    let place = Place::parse(format!("usr/bin/{name}").as_bytes())?;
    tree.add(place, Meta::PLAIN, Kind::File(content))
}

/// The recipe's own folders and files.
/// Takes away what the image goes without. A path that leads nowhere is a package that has changed: the image would grow unseen.
fn leave_out(recipe: &Recipe, tree: &mut Tree) -> Result<()> {
    for path in &recipe.without {
        let place = Place::parse(path.as_bytes())?;
        ensure!(
            !place.is_root() && tree.get(&place).is_some(),
            "without {path:?}: no package has it; next: take it out of the recipe"
        );
        tree.remove(&place);
    }
    Ok(())
}

fn furnish(recipe: &Recipe, tree: &mut Tree, spool: &mut Spool) -> Result<()> {
    for folder in &recipe.folders {
        tree.add_missing_folder(Place::parse(folder.as_bytes())?, 0o755)?;
    }
    let mut files = recipe.files.iter();
    files.try_for_each(|(path, text)| file(path, text, tree, spool))
}

/// A file that everybody may read.
fn file(path: &str, text: &str, tree: &mut Tree, spool: &mut Spool) -> Result<()> {
    let content = spool.take(&mut text.as_bytes(), text.len() as u64)?;
    let mode = 0o644;
    let meta = Meta {
        mode,
        ..Meta::PLAIN
    };
    tree.add(Place::parse(path.as_bytes())?, meta, Kind::File(content))
}

/// The name an import gets, refused where that would replace something unasked.
fn import_name(
    places: &Places,
    shelf: &Shelf,
    file: &Path,
    name: Option<&str>,
    force: bool,
) -> Result<String> {
    let stem = file.file_name().unwrap_or_default().to_string_lossy();
    let stem = stem.split('.').next().unwrap_or_default();
    let name = name.unwrap_or(stem);
    shelf::check_name(name).context("import: --name NAME")?;
    ensure!(
        !recipe::names(&places.recipes)?.iter().any(|r| r == name),
        "import: {name} is a recipe; next: another --name"
    );
    ensure!(
        force || shelf.row(name)?.is_none(),
        "import: there is an image {name}; next: another --name, or --force to replace it"
    );
    Ok(name.to_owned())
}

/// Makes an image of an archive.
fn import(shelf: &Shelf, file: &Path, name: &str) -> Result<Row> {
    import_with(shelf, file, name, |_, _| Ok(()))
}

/// The same; nothing is made if `look` finds something wrong with it.
fn import_with(
    shelf: &Shelf,
    file: &Path,
    name: &str,
    look: impl FnOnce(&oci::Image, &Tree) -> Result<()>,
) -> Result<Row> {
    let source = source::Source::open(file, shelf.dir())?;
    let image = oci::find(&source)?;
    let (mut tree, mut spool) = (Tree::default(), Spool::new(shelf.dir())?);
    let mut left_out = LeftOut::default();
    for (number, layer) in (1..).zip(&image.layers) {
        eprintln!("room: layer {number} of {}", image.layers.len());
        layer.read(&source, &mut tree, &mut spool, &mut left_out)?;
    }
    tell(&left_out);
    look(&image, &tree)?;
    let meant = &image.meant;
    eprintln!(
        "room: its maker meant it to run {:?} as {:?} in {:?} with {:?}",
        meant.command, meant.user, meant.folder, meant.environment
    );
    finish(
        shelf,
        name,
        &mut tree,
        &mut spool,
        &format!("import:{}", image.id),
    )
}

fn finish(
    shelf: &Shelf,
    name: &str,
    tree: &mut Tree,
    spool: &mut Spool,
    from: &str,
) -> Result<Row> {
    eprintln!("room: writing the image");
    let part = shelf.part(name)?;
    // sqfstar makes its file itself; the name stays ours, and goes if it fails.
    fs::remove_file(&part).context("free the name of the image")?;
    pack::pack(tree, spool, &part)?;
    shelf.put(name, part, from)
}

fn tell(left_out: &LeftOut) {
    if left_out.devices > 0 {
        eprintln!(
            "room: left out {} device nodes: a room gets its own /dev",
            left_out.devices
        );
    }
    if left_out.attributes > 0 {
        eprintln!(
            "room: left out the extended attributes of {} entries",
            left_out.attributes
        );
    }
}

fn list(layout: &Layout, shelf: &Shelf) -> Result<u8> {
    let mut bad = 0;
    for row in shelf.rows()? {
        let wrong = shelf.wrong(&row)?;
        bad |= u8::from(wrong.is_some());
        let wrong = wrong.map_or(String::new(), |wrong| format!(" {wrong}"));
        println!("{}{wrong}", row.line().trim_end());
    }
    let there = roomdisk::last(layout).map_or("nothing yet".to_owned(), |it| it.to_string());
    let set = roomdisk::wanted(layout, roomdisk::SMALL)?;
    println!("machines get: {set}; build/rooms.img has: {there}");
    Ok(bad)
}

fn repin(places: &Places, name: &str) -> Result<()> {
    let recipe = Recipe::read(&places.recipes, name)?;
    let apt = Apt::of(&places.layout, Arch::chosen())?;
    apt.update().with_context(|| format!("repin {name}"))?;
    let essential = recipe.kind == RecipeKind::Debian;
    let packages = pins::resolve(&apt, &recipe.release, &recipe.packages, essential)
        .with_context(|| format!("repin {name}"))?;
    let path = recipe::lock_path(&places.recipes, name);
    let part = path.with_extension("lock.part");
    fs::write(
        &part,
        recipe::lock_text(&Arch::chosen().lock(name), &packages),
    )
    .and_then(|()| fs::rename(&part, &path))
    .with_context(|| format!("write {}", path.display()))?;
    println!(
        "room: {} packages in {}; next: cargo xtask room build {name}, then commit the lock",
        packages.len(),
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests;
