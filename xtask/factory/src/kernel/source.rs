//! A Debian source package of the kernel, unpacked: an archive in an archive in an archive, read as one stream.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use liblzma::read::XzDecoder;

/// Unpacks the kernel tree inside the package into `work`; returns its folder.
pub fn unpack(package: &Path, work: &Path) -> Result<PathBuf> {
    let name = package.display();
    let file = fs::File::open(package).with_context(|| format!("open {name}"))?;
    let mut archive = ar::Archive::new(file);
    while let Some(entry) = archive.next_entry() {
        let entry = entry.with_context(|| format!("read {name} as an ar archive"))?;
        if entry.header().identifier().starts_with(b"data.tar") {
            let data: Box<dyn Read> = match entry.header().identifier() {
                b"data.tar.xz" => Box::new(XzDecoder::new(entry)),
                _ => Box::new(entry),
            };
            return inner(data, work).with_context(|| format!("unpack {name}"));
        }
    }
    bail!("{name}: no data.tar inside")
}

/// The one `linux-source-….tar.xz` among the package's files.
fn inner(data: impl Read, work: &Path) -> Result<PathBuf> {
    for entry in tar::Archive::new(data).entries().context("read data.tar")? {
        let entry = entry.context("read data.tar")?;
        let path = entry.path().context("a name in data.tar")?.into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(folder) = name.strip_suffix(".tar.xz") {
            // No entry can lead out of the folder, which the library sees to; owners stay those of this process.
            let mut sources = tar::Archive::new(XzDecoder::new(entry));
            sources
                .unpack(work)
                .with_context(|| format!("unpack {name}"))?;
            let tree = work.join(folder);
            if !tree.join("Kconfig").is_file() {
                bail!("{name}: no {folder}/Kconfig inside; next: is it a kernel's source?");
            }
            return Ok(tree);
        }
    }
    bail!("no linux-source-….tar.xz inside")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            out.append_data(&mut header, name, *bytes).unwrap();
        }
        out.into_inner().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn package(dir: &Path, member: &str, data: &[u8]) -> PathBuf {
        let path = dir.join("source.deb");
        let mut deb = ar::Builder::new(fs::File::create(&path).unwrap());
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), (member, data)] {
            let header = ar::Header::new(name.into(), bytes.len() as u64);
            deb.append(&header, bytes).unwrap();
        }
        path
    }

    #[test]
    fn h01_the_tree_inside_the_package_is_unpacked_compressed_or_not() {
        let source = xz(&tarball(&[("linux-source-6.12/Kconfig", b"config A")]));
        let data = tarball(&[
            ("./usr/share/doc/linux-source-6.12/copyright", b"GPL"),
            ("./usr/src/linux-source-6.12.tar.xz", &source),
        ]);
        for (member, data) in [("data.tar", data.clone()), ("data.tar.xz", xz(&data))] {
            let dir = tempfile::tempdir().unwrap();
            let tree = unpack(&package(dir.path(), member, &data), dir.path()).unwrap();
            assert_eq!(tree, dir.path().join("linux-source-6.12"));
            assert_eq!(fs::read(tree.join("Kconfig")).unwrap(), b"config A");
        }
    }

    #[test]
    fn h01_a_package_of_something_else_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let deb = package(dir.path(), "control.tar", b"");
        let said = |deb: &Path| format!("{:#}", unpack(deb, dir.path()).unwrap_err());
        assert_eq!(said(&deb), format!("{}: no data.tar inside", deb.display()));
        let deb = package(dir.path(), "data.tar", &tarball(&[("a", b"")]));
        assert_eq!(
            said(&deb),
            format!("unpack {}: no linux-source-….tar.xz inside", deb.display())
        );
        let other = xz(&tarball(&[("linux-source-6.12/README", b"")]));
        let deb = package(
            dir.path(),
            "data.tar",
            &tarball(&[("linux-source-6.12.tar.xz", &other)]),
        );
        assert_eq!(
            said(&deb),
            format!(
                "unpack {}: linux-source-6.12.tar.xz: no linux-source-6.12/Kconfig inside; next: is it a kernel's source?",
                deb.display()
            )
        );
    }
}
