//! `cargo xtask room new`: a room of an image archive in one step. The policy is written from what the image's maker meant it to run
//! (OCI image specification, `config.md`), in the words of `docs/POLICIES.md`, for a person to change.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::json::{field, strings, text};
use super::shelf::Shelf;
use super::tree::{Place, Tree};
use super::{Places, import_name, import_with};
use crate::layout::Layout;
use crate::policy::check_text;
use crate::roomdisk;

/// Where programs are looked for in an image that names no other places.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A room of these is for a person: it begins again when the shell is left.
const SHELLS: [&str; 5] = ["ash", "bash", "dash", "sh", "zsh"];

/// What an image's maker meant it to run.
#[derive(Debug, Default)]
pub struct Meant {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
    /// Where it begins.
    pub folder: String,
    /// Whom it runs as.
    pub user: String,
    /// `80/tcp` each.
    pub ports: Vec<String>,
}

impl Meant {
    /// Out of an image's configuration.
    pub fn of(config: &Value) -> Meant {
        let config = field(config, "config").unwrap_or(&Value::Null);
        let ports = field(config, "ExposedPorts").and_then(Value::as_object);
        Meant {
            command: [strings(config, "Entrypoint"), strings(config, "Cmd")].concat(),
            environment: strings(config, "Env"),
            folder: text(config, "WorkingDir").unwrap_or_default().to_owned(),
            user: text(config, "User").unwrap_or_default().to_owned(),
            ports: ports.map_or(Vec::new(), |ports| ports.keys().cloned().collect()),
        }
    }

    /// The variables, the last of each name; those that a terminal and a shell need are there whatever the image says. A room begins in
    /// `HOME`, so the folder is that.
    fn variables(&self) -> Vec<(String, String)> {
        let mut all = vec![
            ("HOME".to_owned(), "/root".to_owned()),
            ("PATH".to_owned(), PATH.to_owned()),
            ("TERM".to_owned(), "linux".to_owned()),
        ];
        let named = self.environment.iter().filter_map(|it| it.split_once('='));
        let folder = Some(("HOME", self.folder.as_str())).filter(|it| !matches!(it.1, "" | "/"));
        for (name, value) in named.chain(folder) {
            all.retain(|(known, _)| known != name);
            all.push((name.to_owned(), value.to_owned()));
        }
        all.sort();
        all
    }

    /// The command with its program's whole path in the image, as `execvp(3)` would find it.
    fn found(&self, tree: &Tree) -> Result<Vec<String>> {
        let Some((program, arguments)) = self.command.split_first() else {
            bail!("the image names no command");
        };
        let variables = self.variables();
        let path = variables.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(PATH, |(_, value)| value);
        let places: Vec<String> = match program {
            whole if whole.starts_with('/') => vec![whole.clone()],
            there if there.contains('/') => vec![format!("/{}/{there}", self.folder)],
            name => path.split(':').map(|dir| format!("{dir}/{name}")).collect(),
        };
        let is_there =
            |path: &String| Place::parse(path.as_bytes()).is_ok_and(|it| tree.leads(&it));
        let found = places.into_iter().find(is_there);
        let found = found.with_context(|| format!("the image has no program {program}"))?;
        let found = Place::parse(found.as_bytes())?.to_string();
        Ok([vec![found], arguments.to_vec()].concat())
    }

    /// The policy of a room that runs this.
    fn policy(&self, name: &str, tree: &Tree) -> Result<String> {
        let quoted = |text: &str| Value::from(text).to_string();
        let command = self.found(tree)?;
        let shell = SHELLS.contains(&command[0].rsplit('/').next().unwrap_or_default());
        let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
        let variables = self.variables().into_iter();
        let variables: Vec<_> = variables
            .map(|(name, value)| format!("{} = {}", quoted(&name), quoted(&value)))
            .collect();
        let mut notes = String::new();
        if !self.user.is_empty() {
            notes += "# It was meant to run as another user than root; root of a room is nobody outside.\n";
        }
        let mut serves = String::new();
        if !self.ports.is_empty() {
            let ports = self.ports.join(", ");
            notes += &format!(
                "# It was meant to serve {}.\n",
                ports.replace(char::is_control, "?")
            );
            serves += "network = \"via sys://net\"\nbackground = \"run\"\n";
        }
        Ok(format!(
            "# Written by `cargo xtask room new`. What each field means: docs/POLICIES.md.
{notes}image = {image}
command = [{words}]
environment = {{ {variables} }}
cpu = {{ quota = 100, weight = 100 }}
memory = {{ max = \"512MiB\" }}
pids = 512
open_files = 4096
tmpfs = \"256MiB\"
seccomp = \"standard\"
# What programs of such images expect of root; take away what this one does not need.
capabilities = [\"CAP_CHOWN\", \"CAP_DAC_OVERRIDE\", \"CAP_FOWNER\", \"CAP_KILL\", \"CAP_SETGID\", \"CAP_SETUID\", \"CAP_NET_BIND_SERVICE\"]
{serves}terminal = true
{again}",
            image = quoted(name),
            words = words.join(", "),
            variables = variables.join(", "),
            again = if shell { "exit = \"again\"\n" } else { "" },
        ))
    }
}

/// Imports the archive, writes the policy and has machines get the image; prints what to do next.
pub fn command(
    layout: &Layout,
    places: &Places,
    shelf: &Shelf,
    name: &str,
    from: &Path,
) -> Result<()> {
    let policy = place(layout, shelf, places, name, from)?;
    let mut text = String::new();
    let row = import_with(shelf, from, name, |image, tree| {
        text = image.meant.policy(name, tree)?;
        let file = policy.file_name().unwrap_or_default().to_string_lossy();
        check_text(&file, &text)
    })
    .with_context(|| {
        format!(
            "new {name}; nothing was made; next: cargo xtask room import {} --name {name}, and write its policy by hand (docs/POLICIES.md)",
            from.display()
        )
    })?;
    super::made(shelf, &row);
    let written = File::create_new(&policy).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("write {}", policy.display()))?;
    roomdisk::add(layout, name)?;
    println!(
        "room: {}; next: cargo xtask qemu, then at its prompt: start p://{name}",
        policy.display()
    );
    Ok(())
}

/// Where the policy of a new room goes; refused where the name means something already.
fn place(
    layout: &Layout,
    shelf: &Shelf,
    places: &Places,
    name: &str,
    from: &Path,
) -> Result<PathBuf> {
    super::check_name(name).context("new")?;
    let policy = layout.policies().join(format!("p__{name}.toml"));
    ensure!(
        !policy.exists(),
        "new: there is a room p://{name}: {}; next: another NAME",
        policy.display()
    );
    ensure!(
        shelf.row(name)?.is_none(),
        "new: there is an image {name}; next: another NAME, or write its policy (docs/POLICIES.md)"
    );
    import_name(places, shelf, from, Some(name), false)?;
    Ok(policy)
}
