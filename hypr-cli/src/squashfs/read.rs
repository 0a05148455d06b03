//! Commands that read an image: `cat` and `info`.

use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use hypr_squash::{FileType, Overlay};

use super::make::open;
use super::{CatArgs, Format, InfoArgs, SquashfsError, StdoutError};

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
