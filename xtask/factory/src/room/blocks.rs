//! Where the bytes of a file are in an image, for whoever changes one of them on purpose.

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use backhand::{FilesystemReader, InnerNode, SquashfsFileReader};

/// Where each whole block of `file` is on `disk`, on which the image begins at `begins`.
pub fn of(disk: &Path, begins: u64, file: &str) -> Result<Vec<Range<u64>>> {
    let shown = disk.display();
    let open = File::open(disk).with_context(|| format!("open {shown}"))?;
    let image = FilesystemReader::from_reader_with_offset(BufReader::new(open), begins);
    let image = image.with_context(|| format!("read the image at {begins} of {shown}"))?;
    let node = image.files().find(|it| it.fullpath == Path::new(file));
    let node = node.with_context(|| format!("{shown}: no {file}"))?;
    let (start, sizes) = match &node.inner {
        InnerNode::File(SquashfsFileReader::Basic(it)) => (it.blocks_start.into(), &it.block_sizes),
        InnerNode::File(SquashfsFileReader::Extended(it)) => (it.blocks_start, &it.block_sizes),
        _ => bail!("{shown}: {file} is no file"),
    };
    let places = sizes.iter().scan(begins + start, |at, size| {
        let here = *at;
        *at += u64::from(size.size());
        Some(here..*at)
    });
    Ok(places.collect())
}
