//! llama.cpp, compiled static from its pinned source: the library alone, without tools, server, network and OpenMP. One set of libraries
//! for every x86-64 processor, one for those with AVX2; only what computes differs between them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;

use super::{registry, toy};
use crate::arch::Arch;
use crate::fetch::fresh_dir;
use crate::host;
use crate::layout::Layout;
use crate::stamp;

/// All of llama.cpp is in it.
const SOURCE: registry::File = registry::File {
    package: "llama-cpp-python",
    version: "0.3.36",
    name: "llama_cpp_python-0.3.36.tar.gz",
    bytes: 76_589_250,
    sha256: "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
};
/// Where it stands in the archive.
const INSIDE: &str = "llama_cpp_python-0.3.36/vendor/llama.cpp";
/// Changes when the code below makes something else from the same source.
const SHAPE: &str = "1";

/// What both sets are configured with.
const COMMON: [&str; 17] = [
    "-GNinja",
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DCMAKE_POSITION_INDEPENDENT_CODE=ON",
    "-DLLAMA_BUILD_COMMON=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_CCACHE=OFF",
    "-DGGML_BLAS=OFF",
    "-DGGML_LLAMAFILE=ON",
    "-DGGML_CPU_REPACK=OFF",
];
/// Instructions beyond those of every x86-64 processor, which the newer set has.
const NEWER: [&str; 6] = ["SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C"];
/// The sets: a folder each, and whether it has them.
const SETS: [(&str, bool); 2] = [("baseline", false), ("v3", true)];
/// The libraries of a set: folder and name.
const LIBRARIES: [&str; 4] = [
    "src/libllama.a",
    "ggml/src/libggml.a",
    "ggml/src/libggml-base.a",
    "ggml/src/libggml-cpu.a",
];
/// Of the engine's part for programs: what makes a grammar of a JSON schema.
const GRAMMAR: [&str; 5] = [
    "json-schema-to-grammar",
    "json-schema",
    "json",
    "trie",
    "unicode",
];
/// How that and our own calls are compiled.
const FLAGS: [&str; 6] = [
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-ffunction-sections",
    "-fdata-sections",
    "-DNDEBUG",
];
/// The map of a model is to read nothing that nobody asked for yet: a model may be larger than the memory.
const MAPPED: (&str, &str, &str) = (
    "src/llama-model-loader.cpp",
    "const size_t prefetch_size = prefetch && use_mmap ? -1 : 0;",
    "const size_t prefetch_size = 0 * prefetch;",
);
/// A line about the build each so many files.
const EACH: usize = 10;

/// The terms of the engine.
pub const LICENCE: &str = "LICENSE";

/// A compiled engine.
pub struct Engine {
    /// A folder for each set, the licence, and the toy model.
    pub dir: PathBuf,
}

impl Engine {
    /// The engine of this source, these flags and this compiler; made if it is not in the cache.
    pub fn prepare(layout: &Layout) -> Result<Engine> {
        ensure!(
            Arch::chosen() == Arch::X86_64,
            "the engine is made for x86_64 alone; next: leave --arch out"
        );
        host::need(&[host::TOOL_CXX, host::TOOL_CMAKE, host::TOOL_NINJA])?;
        let compiler = version("c++")?;
        let inputs =
            format!("{SHAPE} {SOURCE:?} {COMMON:?} {NEWER:?} {FLAGS:?} {MAPPED:?} {compiler}");
        let key = stamp::sha256(inputs.as_bytes());
        let dir = layout.cache().join(format!("engine-{}", &key[..16]));
        if !dir.exists() {
            let work = fresh_dir(&layout.cache().join("work-engine"))?;
            let made = compile(layout, &work)?;
            fs::rename(made, &dir).context("move the engine into the cache")?;
            fs::remove_dir_all(&work).context("remove the engine's work folder")?;
        }
        let engine = Engine { dir };
        engine.add_shim(layout)?;
        let toy = engine.dir.join("toy.gguf");
        if fs::read(&toy).ok() != Some(toy::model()) {
            fs::write(&toy, toy::model()).context("write the toy model")?;
        }
        Ok(engine)
    }

    /// Our own calls, which change more often than the engine.
    fn add_shim(&self, layout: &Layout) -> Result<()> {
        let source = layout.recipes().join("organd/src/engine/shim.cpp");
        let now = stamp::sha256_file(&source)?;
        let stamp = self.dir.join("shim.stamp");
        if fs::read_to_string(&stamp).ok().as_deref() == Some(&now) {
            return Ok(());
        }
        let object = self.dir.join("shim.o");
        cxx(&self.dir.join("include"), &source, &object)?;
        for (set, _) in SETS {
            let mut ar = host::command("ar")?;
            ar.arg("rDs")
                .arg(self.dir.join(set).join("liborgan.a"))
                .arg(&object);
            host::run(&mut ar)?;
        }
        fs::write(&stamp, now).context("write the shim's stamp")
    }
}

/// Unpacks, configures and compiles; the folder with what was made.
fn compile(layout: &Layout, work: &Path) -> Result<PathBuf> {
    let source = SOURCE.get(&layout.cache())?;
    eprintln!("engine: unpacking {}", SOURCE.name);
    let tree = unpack(&source, work)?;
    let (path, from, to) = MAPPED;
    let file = tree.join(path);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    ensure!(
        text.matches(from).count() == 1,
        "{path}: not the source that is expected"
    );
    fs::write(&file, text.replace(from, to))
        .with_context(|| format!("write {}", file.display()))?;
    let log = layout.build().join("engine.log");
    let make = Make {
        tree: &tree,
        work,
        log: &log,
        begun: Instant::now(),
    };
    eprintln!("engine: compiling, some minutes; log in {}", log.display());
    File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let made = fresh_dir(&work.join("made"))?;
    for (set, has_newer) in SETS {
        // All but what computes is the same.
        let target = if has_newer { "ggml-cpu" } else { "llama" };
        make.set(set, has_newer, target)?;
    }
    let include = made.join("include");
    fs::create_dir(&include).context("make a folder of headers")?;
    for folder in ["include", "ggml/include", "common"] {
        copy_headers(&tree.join(folder), &include)?;
    }
    let objects = work.join("objects");
    fs::create_dir(&objects).context("make a folder of objects")?;
    let mut extra = Vec::new();
    for name in GRAMMAR {
        let object = objects.join(format!("{name}.o"));
        let mut command = cxx_command(&tree.join("common"))?;
        command.arg(own_paths(work));
        for folder in ["include", "ggml/include", "vendor"] {
            command.arg("-I").arg(tree.join(folder));
        }
        command
            .arg("-c")
            .arg(tree.join("common").join(format!("{name}.cpp")));
        host::run(command.arg("-o").arg(&object))?;
        extra.push(object);
    }
    for (set, has_newer) in SETS {
        let folder = made.join(set);
        fs::create_dir(&folder).context("make a folder of the set")?;
        join(&folder.join("liborgan.a"), work, has_newer, &extra)?;
        fs::copy(runtime()?, folder.join("libstdc++.a")).context("take the C++ runtime")?;
    }
    fs::copy(tree.join(LICENCE), made.join(LICENCE)).context("take the licence")?;
    Ok(made)
}

/// The engine's source without all else in the archive.
fn unpack(archive: &Path, work: &Path) -> Result<PathBuf> {
    let name = archive.display();
    let file = File::open(archive).with_context(|| format!("open {name}"))?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in archive.entries().with_context(|| format!("read {name}"))? {
        let mut entry = entry.with_context(|| format!("read {name}"))?;
        if entry.path()?.starts_with(INSIDE) {
            // No entry can lead out of the folder, which the library sees to.
            entry
                .unpack_in(work)
                .with_context(|| format!("unpack {name}"))?;
        }
    }
    let tree = work.join(INSIDE);
    ensure!(
        tree.join("CMakeLists.txt").is_file(),
        "{name}: no {INSIDE} inside"
    );
    Ok(tree)
}

/// One build, where nothing of this machine shows but its compiler.
struct Make<'a> {
    tree: &'a Path,
    work: &'a Path,
    log: &'a Path,
    begun: Instant,
}

impl Make<'_> {
    fn set(&self, set: &str, has_newer: bool, target: &str) -> Result<()> {
        let folder = self.work.join(set);
        let mut cmake = host::command("cmake")?;
        cmake
            .arg("-S")
            .arg(self.tree)
            .arg("-B")
            .arg(&folder)
            .args(COMMON);
        let has = if has_newer { "ON" } else { "OFF" };
        cmake.args(NEWER.map(|it| format!("-DGGML_{it}={has}")));
        // Paths in messages and assertions are the source's own.
        let map = own_paths(self.work);
        cmake.args(["C", "CXX"].map(|of| format!("-DCMAKE_{of}_FLAGS={map}")));
        self.run(cmake, set)?;
        let mut ninja = host::command("ninja")?;
        ninja.arg("-C").arg(&folder).arg(target);
        self.run(ninja, set)
    }

    /// Runs it with all it says in the log; a line now and then says how far it is.
    fn run(&self, mut command: Command, set: &str) -> Result<()> {
        let mut log = File::options()
            .append(true)
            .open(self.log)
            .context("open the log")?;
        let other = log.try_clone().context("share the log")?;
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(other);
        let mut child = command
            .spawn()
            .with_context(|| format!("run {command:?}"))?;
        let mut files = 0;
        for line in BufReader::new(child.stdout.take().context("its output")?).lines() {
            let line = line.context("read its output")?;
            writeln!(log, "{line}").context("write the log")?;
            if line.starts_with('[') {
                files += 1;
                if files % EACH == 0 {
                    let seconds = self.begun.elapsed().as_secs();
                    let place = line.split(' ').next().unwrap_or_default();
                    eprintln!("engine: {set} {place}, {seconds} s");
                }
            }
        }
        let status = child.wait().context("wait for it")?;
        if !status.success() {
            bail!(
                "compile the engine: {status}; next: see the end of {}",
                self.log.display()
            );
        }
        Ok(())
    }
}

/// One library of all of a set.
fn join(to: &Path, work: &Path, has_newer: bool, extra: &[PathBuf]) -> Result<()> {
    let mut script = format!("create {}\n", to.display());
    for library in LIBRARIES {
        let newer = has_newer && library.ends_with("-cpu.a");
        let set = SETS[usize::from(newer)].0;
        script += &format!("addlib {}\n", work.join(set).join(library).display());
    }
    for object in extra {
        script += &format!("addmod {}\n", object.display());
    }
    script += "save\nend\n";
    let mut ar = host::command("ar")?;
    ar.arg("-M").stdin(Stdio::piped());
    let mut child = ar.spawn().context("run ar")?;
    let mut stdin = child.stdin.take().context("ar's input")?;
    stdin.write_all(script.as_bytes()).context("write to ar")?;
    drop(stdin);
    let status = child.wait().context("wait for ar")?;
    ensure!(
        status.success(),
        "join the engine's libraries: {status}; no space or colon may be in the path of this tree"
    );
    Ok(())
}

fn copy_headers(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "h") {
            let name = path.file_name().unwrap_or_default();
            fs::copy(&path, to.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// What paths in messages and assertions begin with.
fn own_paths(work: &Path) -> String {
    format!("-ffile-prefix-map={}=engine", work.display())
}

fn cxx_command(include: &Path) -> Result<Command> {
    let mut command = host::command("c++")?;
    command.args(FLAGS).arg("-I").arg(include);
    Ok(command)
}

fn cxx(include: &Path, source: &Path, object: &Path) -> Result<()> {
    let mut command = cxx_command(include)?;
    command
        .args(["-Wall", "-Wextra", "-Werror", "-c"])
        .arg(source)
        .arg("-o")
        .arg(object);
    host::run(&mut command).map(drop)
}

/// The static runtime of the compiler.
fn runtime() -> Result<PathBuf> {
    let mut command = host::command("c++")?;
    let output = host::run(command.arg("-print-file-name=libstdc++.a"))?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    ensure!(
        path.is_absolute(),
        "no libstdc++.a; next: install the compiler's static C++ runtime"
    );
    Ok(path)
}

fn version(program: &str) -> Result<String> {
    let output = host::run(host::command(program)?.arg("--version"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .next()
        .map(str::to_owned)
        .with_context(|| format!("{program} --version: nothing"))
}
