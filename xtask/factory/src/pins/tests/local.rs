//! The archive: packages of a few bytes, lists by apt-ftparchive, a signature by a key of a minute.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::host;
use crate::pins::Apt;

/// An archive in a folder, and an apt that knows it alone.
pub struct Local {
    dir: tempfile::TempDir,
}

fn run(program: &str, args: &[&str], dir: &Path, home: &Path) -> Vec<u8> {
    let mut command = host::command(program).unwrap();
    command.args(args).current_dir(dir).env("GNUPGHOME", home);
    // The same package twice is the same file.
    command.env("SOURCE_DATE_EPOCH", "1");
    host::run(&mut command).unwrap().stdout
}

impl Local {
    pub fn new() -> Local {
        host::need(&[host::TOOL_FTPARCHIVE, host::TOOL_GPG, host::TOOL_DPKG]).unwrap();
        let local = Local {
            dir: tempfile::tempdir().unwrap(),
        };
        for folder in [
            "archive/pool",
            "archive/dists/bookworm/main/binary-amd64",
            "key",
            "other",
        ] {
            fs::create_dir_all(local.dir().join(folder)).unwrap();
        }
        local.key("key");
        local.key("other");
        let ring = run("gpg", &["--export"], local.dir(), &local.dir().join("key"));
        fs::write(local.dir().join("ring.gpg"), ring).unwrap();
        local
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn archive(&self) -> PathBuf {
        self.dir().join("archive")
    }

    /// A package's file, while it is in the pool.
    pub fn file(&self, name: &str, version: &str) -> PathBuf {
        self.archive()
            .join(format!("pool/{name}_{version}_amd64.deb"))
    }

    pub fn add(&mut self, name: &str, version: &str, fields: &str) -> &mut Local {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n{fields}"
        );
        fs::write(
            tree.path().join("DEBIAN/control"),
            control.trim_end().to_owned() + "\n",
        )
        .unwrap();
        let file = self.file(name, version).display().to_string();
        let args = ["--root-owner-group", "-Znone", "--build", ".", &file];
        run("dpkg-deb", &args, tree.path(), self.dir());
        self
    }

    pub fn remove(&mut self, name: &str, version: &str) -> &mut Local {
        fs::remove_file(self.file(name, version)).unwrap();
        self
    }

    /// Lists what the pool has and signs the list.
    pub fn publish(&mut self) {
        self.lists();
        self.sign("key");
    }

    /// With a key that nobody knows.
    pub fn publish_by_a_stranger(&mut self) {
        self.lists();
        self.sign("other");
    }

    /// Without a signature.
    pub fn unsigned(&mut self) {
        self.lists();
    }

    fn lists(&self) {
        let archive = self.archive();
        let packages = run(
            "apt-ftparchive",
            &["packages", "pool"],
            &archive,
            self.dir(),
        );
        let dist = archive.join("dists/bookworm");
        fs::write(dist.join("main/binary-amd64/Packages"), packages).unwrap();
        for name in ["InRelease", "Release"] {
            let _ = fs::remove_file(dist.join(name));
        }
        let mut args = Vec::new();
        for field in [
            "Origin=Debian",
            "Suite=oldstable",
            "Codename=bookworm",
            "Architectures=amd64",
            "Components=main",
        ] {
            args.push("-o".to_owned());
            args.push(format!("APT::FTPArchive::Release::{field}"));
        }
        args.extend(["release".to_owned(), "dists/bookworm".to_owned()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let release = run("apt-ftparchive", &args, &archive, self.dir());
        fs::write(dist.join("Release"), release).unwrap();
    }

    fn sign(&self, key: &str) {
        let dist = self.archive().join("dists/bookworm");
        let args = [
            "--batch",
            "--yes",
            "--clearsign",
            "-o",
            "InRelease",
            "Release",
        ];
        run("gpg", &args, &dist, &self.dir().join(key));
    }

    fn key(&self, name: &str) {
        let home = self.dir().join(name);
        let user = format!("{name} <{name}@example.org>");
        let make = [
            "--batch",
            "--passphrase",
            "",
            "--quick-gen-key",
            &user,
            "ed25519",
            "sign",
            "never",
        ];
        run("gpg", &make, &home, &home);
    }

    pub fn apt(&self) -> Apt {
        self.apt_with(&format!(
            "[signed-by={}]",
            self.dir().join("ring.gpg").display()
        ))
    }

    pub fn apt_with(&self, options: &str) -> Apt {
        self.configured(options, &format!("file:{}", self.archive().display()))
    }

    pub fn apt_at(&self, url: &str) -> Apt {
        let options = format!("[signed-by={}]", self.dir().join("ring.gpg").display());
        self.configured(&options, url)
    }

    fn configured(&self, options: &str, url: &str) -> Apt {
        let root = self.dir().join("apt");
        for folder in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let root = root.display();
        fs::write(
            format!("{root}/sources.list"),
            format!("deb {options} {url} bookworm main\n"),
        )
        .unwrap();
        fs::write(format!("{root}/status"), "").unwrap();
        let config = self.dir().join("apt.conf");
        let text = format!(
            "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"{root}/none\";\nDir::Etc::preferencesparts \"{root}/none\";\n\
             Dir::Etc::sourcelist \"{root}/sources.list\";\nDir::Etc::sourceparts \"{root}/none\";\n\
             Dir::Etc::trusted \"/dev/null\";\nDir::Etc::trustedparts \"{root}/none\";\n\
             Dir::State \"{root}\";\nDir::State::lists \"{root}/lists\";\nDir::State::status \"{root}/status\";\n\
             Dir::Cache \"{root}/cache\";\nAPT::Architecture \"amd64\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
             Acquire::http::Proxy \"false\";\n"
        );
        fs::write(&config, text).unwrap();
        Apt::with(config)
    }
}

/// The archive behind HTTP, until so many packages were asked for: from then on nobody answers.
pub struct Served {
    port: u16,
    packages: Arc<AtomicUsize>,
}

impl Served {
    pub fn of(root: PathBuf, most: usize) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let packages = Arc::new(AtomicUsize::new(0));
        let count = packages.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, count) = (root.clone(), count.clone());
                thread::spawn(move || answer(stream, &root, &count, most));
            }
        });
        Served { port, packages }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many packages were given out.
    pub fn packages(&self) -> usize {
        self.packages.load(Ordering::SeqCst)
    }
}

/// One request of a connection, then its end.
fn answer(mut stream: TcpStream, root: &Path, count: &AtomicUsize, most: usize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|it| !it.is_empty()))
    {}
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = path.replace("%2b", "+").replace("%7e", "~");
    if path.ends_with(".deb") && count.fetch_add(1, Ordering::SeqCst) >= most {
        return;
    }
    let (status, body) = match fs::read(root.join(path.trim_start_matches('/'))) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.into_bytes(), body].concat());
}
