//! Commands that read an image: `cat`, `extract`, `info` and `verify`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use hypr_squash::{Denied, ExtractOptions, FileType, Overlay, Owners};

use super::make::{open, reading};
use super::progress::watch;
use super::{CatArgs, ExtractArgs, Format, ImageArgs, InfoArgs, SquashfsError, StdoutError};
use crate::failure::warn;

/// Writes the contents of files to standard output.
pub(super) fn cat(arguments: &CatArgs) -> Result<(), SquashfsError> {
    let image = &arguments.image.image;
    let failed = || SquashfsError::image("read", image);
    let overlay = Overlay::part(vec![Arc::new(open(image)?)]);
    let mut out = io::stdout().lock();
    for path in &arguments.paths {
        let node = overlay.resolve(path.as_os_str().as_bytes(), b"").map_err(failed())?.node;
        let node = node.ok_or_else(|| SquashfsError::Missing { image: image.clone(), path: path.clone() })?;
        if node.file_type() != FileType::File {
            return Err(SquashfsError::NotAFile { image: image.clone(), path: path.clone() });
        }
        let mut content = node.open().map_err(failed())?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = content.read(&mut buffer).map_err(|source| SquashfsError::Content {
                image: image.clone(),
                path: path.clone(),
                source,
            })?;
            if read == 0 {
                break;
            }
            out.write_all(&buffer[..read]).map_err(StdoutError)?;
        }
    }
    out.flush().map_err(StdoutError)?;
    Ok(())
}

/// Extracts everything, deletions of a layer included.
pub(super) fn extract(arguments: &ExtractArgs) -> Result<(), SquashfsError> {
    let reader = Arc::new(open(&arguments.image.image)?);
    let target = &arguments.directory;
    fs::create_dir_all(target).map_err(SquashfsError::output(target))?;
    let directory = File::open(target).map_err(SquashfsError::open(target))?;
    let options = match rustix::process::geteuid().is_root() {
        true => ExtractOptions::default(),
        false => ExtractOptions { owners: Owners::Ignore, denied: Denied::Skip, ..ExtractOptions::default() },
    };
    let (total, read) = reading(std::slice::from_ref(&reader));
    let done = watch("extracting", Some(total), read, || hypr_squash::extract(&reader, &directory, &options))
        .map_err(SquashfsError::image("extract into", target))?;
    for (count, what) in [(done.skipped_devices, "devices"), (done.skipped_xattrs, "extended attributes")] {
        if count > 0 {
            warn(&format!("{what} that only root can make were left out: {count}"));
        }
    }
    Ok(())
}

/// Reads everything and says how much that was.
pub(super) fn verify(arguments: &ImageArgs) -> Result<(), SquashfsError> {
    let reader = Arc::new(open(&arguments.image)?);
    let (total, read) = reading(std::slice::from_ref(&reader));
    let report = watch("verifying", Some(total), read, || hypr_squash::verify(&reader))
        .map_err(SquashfsError::image("verify", &arguments.image))?;
    let (paths, inodes, bytes) = (report.paths, report.inodes, report.content_bytes);
    let line = format!("{paths} paths, {inodes} inodes, {bytes} bytes of content: no fault found\n");
    io::stdout().write_all(line.as_bytes()).map_err(StdoutError)?;
    Ok(())
}

/// Prints what the superblock says.
pub(super) fn info(arguments: &InfoArgs) -> Result<(), SquashfsError> {
    let reader = open(&arguments.image.image)?;
    let info = reader.info();
    let facts = serde_json::json!({
        "compression": info.compression.to_string(),
        "block_size": info.block_size.bytes(),
        "inodes": info.inodes,
        "fragments": info.fragments,
        "ids": info.ids,
        "bytes_used": info.bytes_used,
        "created": info.created,
        "exportable": info.exportable,
        "xattrs": info.xattrs,
    });
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match (arguments.format, facts.as_object()) {
        (Format::Text, Some(facts)) => facts.iter().try_for_each(|(name, value)| match value.as_str() {
            Some(text) => writeln!(out, "{}: {text}", name.replace('_', " ")),
            None => writeln!(out, "{}: {value}", name.replace('_', " ")),
        }),
        _ => writeln!(out, "{facts:#}"),
    };
    written.and_then(|()| out.flush()).map_err(StdoutError)?;
    Ok(())
}
