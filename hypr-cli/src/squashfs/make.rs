//! Commands that write an image: `pack`, `merge` and `recompress`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use hypr_squash::{DirectoryOptions, Index, MergeOptions, Reader, Writer, tar};

use super::progress::watch;
use super::{MergeArgs, PackArgs, RecompressArgs, SquashfsError, WhiteoutsArg};
use crate::failure::{Failure, warn};
use crate::output::OutputFile;

pub(super) fn pack(arguments: &PackArgs) -> Result<(), Failure> {
    let output = &arguments.output;
    let options = arguments.encoding.options().map_err(Failure::Usage)?;
    let is_archive = arguments.source.as_os_str() == "-";
    if arguments.whiteouts.is_some() && !is_archive {
        return Err(Failure::Usage("--whiteouts is about archives, and this is a directory".to_owned()));
    }
    let loss = if arguments.strict { tar::Loss::Refuse } else { tar::Loss::Warn };
    publish(output, |file| {
        let cannot_make = || SquashfsError::image("make", output);
        let written = file.try_clone().map_err(SquashfsError::output(output))?;
        let length = move || written.metadata().map_or(0, |metadata| metadata.len());
        let mut writer = Writer::create(file, options).map_err(cannot_make())?;
        watch("packing", None, length, || {
            let warnings = match is_archive {
                true => pack_archive(&mut writer, arguments.whiteouts.unwrap_or(WhiteoutsArg::None), loss)?,
                false => pack_directory(&mut writer, &arguments.source, loss)?,
            };
            let index = match arguments.index {
                true => Some(writer.finish().map_err(cannot_make())?.index),
                false => writer.finish_without_index().map(|_| None).map_err(cannot_make())?,
            };
            Ok((index, warnings))
        })
        .map(|(index, warnings)| {
            warnings.iter().for_each(warn_of);
            index
        })
    })
}

fn pack_archive(
    writer: &mut Writer,
    whiteouts: WhiteoutsArg,
    loss: tar::Loss,
) -> Result<Vec<tar::Warning>, SquashfsError> {
    let whiteouts = match whiteouts {
        WhiteoutsArg::None => tar::Whiteouts::None,
        WhiteoutsArg::Oci => tar::Whiteouts::Oci,
        WhiteoutsArg::Overlay => tar::Whiteouts::Overlay,
    };
    let options = tar::ReadOptions { whiteouts, loss, ..tar::ReadOptions::default() };
    let stats = tar::unpack_into(writer, io::stdin().lock(), &options)
        .map_err(SquashfsError::image("pack", Path::new("standard input")))?;
    Ok(stats.warnings)
}

fn pack_directory(writer: &mut Writer, path: &Path, loss: tar::Loss) -> Result<Vec<tar::Warning>, SquashfsError> {
    let directory = Dir::open_ambient_dir(path, ambient_authority()).map_err(SquashfsError::open(path))?;
    let stats =
        hypr_squash::pack_directory(writer, &directory, &DirectoryOptions { loss, ..DirectoryOptions::default() })
            .map_err(SquashfsError::image("pack", path))?;
    Ok(stats.warnings)
}

/// Says what was left out.
fn warn_of(warning: &tar::Warning) {
    let what = match warning.kind {
        tar::WarningKind::Acl => "POSIX access control list",
        tar::WarningKind::Xattr => "extended attribute outside of user, trusted and security",
        _ => "attribute",
    };
    let (count, plural) = (warning.count, if warning.count == 1 { "" } else { "s" });
    let path = String::from_utf8_lossy(&warning.path);
    warn(&format!("an image cannot hold {count} {what}{plural}, the first at {path}"));
}

pub(super) fn merge(arguments: &MergeArgs) -> Result<(), Failure> {
    let options = arguments.encoding.options().map_err(Failure::Usage)?;
    let open = |path: &PathBuf| open_with_index(path, arguments.index).map(Arc::new);
    let layers = arguments.layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let options = MergeOptions { options, keep_whiteouts: arguments.keep_whiteouts };
    publish(&arguments.output, |file| {
        let (total, read) = reading(&layers);
        // Only an index needs to know what the files contain.
        let merged = watch("merging", Some(total), read, || match arguments.index {
            true => hypr_squash::merge(&layers, file, &options).map(|made| (made.recompressed, Some(made.index))),
            false => hypr_squash::merge_stored(&layers, file, &options).map(|made| (made.recompressed, None)),
        });
        let (recompressed, index) = merged.map_err(SquashfsError::image("make", &arguments.output))?;
        for layer in recompressed.iter().filter_map(|layer| arguments.layers.get(*layer)) {
            warn(&format!("{} has another codec or block size and was compressed again", layer.display()));
        }
        Ok(index)
    })
}

pub(super) fn recompress(arguments: &RecompressArgs) -> Result<(), Failure> {
    let options = arguments.encoding.options().map_err(Failure::Usage)?;
    let image = [Arc::new(open(&arguments.image.image)?)];
    // What is a layer stays one.
    let options = MergeOptions { options, keep_whiteouts: true };
    publish(&arguments.output, |file| {
        let (total, read) = reading(&image);
        watch("compressing", Some(total), read, || hypr_squash::recompress(&image, file, &options))
            .map_err(SquashfsError::image("make", &arguments.output))
            .map(|_| None)
    })
}

/// The bytes of images, and how many of them have been read.
pub(super) fn reading(images: &[Arc<Reader>]) -> (u64, impl Fn() -> u64 + Send + use<>) {
    let images = images.to_vec();
    let total = images.iter().map(|image| image.info().bytes_used).sum();
    (total, move || images.iter().map(|image| image.bytes_read()).sum())
}

/// Opens an image for reading.
pub(super) fn open(path: &Path) -> Result<Reader, SquashfsError> {
    let file = File::open(path).map_err(SquashfsError::open(path))?;
    Reader::open(file).map_err(SquashfsError::image("read", path))
}

/// Opens an image with the index beside it, if there is one. One that is relied on is checked by reading the image.
fn open_with_index(path: &Path, is_relied_on: bool) -> Result<Reader, SquashfsError> {
    let file = File::open(path).map_err(SquashfsError::open(path))?;
    let index = match fs::read(index_of(path)).map(|bytes| Index::from_bytes(&bytes)) {
        Ok(Ok(index)) if !is_relied_on => Some(index),
        Ok(Ok(index)) => match index.describes(&file).map_err(SquashfsError::image("read", path))? {
            true => Some(index),
            false => {
                warn(&format!("ignoring {}: it is of another image", index_of(path).display()));
                None
            }
        },
        Ok(Err(error)) => {
            warn(&format!("ignoring {}: {error}", index_of(path).display()));
            None
        }
        Err(_) => None,
    };
    match index {
        Some(index) => Reader::open_with_index(file, index),
        None => Reader::open(file),
    }
    .map_err(SquashfsError::image("read", path))
}

/// Where the index of an image lies.
fn index_of(image: &Path) -> PathBuf {
    image.with_extension("index")
}

/// Runs `make` on a new file and gives that its name when all went well, and the index that it returns one beside it.
fn publish(path: &Path, make: impl FnOnce(File) -> Result<Option<Index>, SquashfsError>) -> Result<(), Failure> {
    let output = OutputFile::create(path).map_err(SquashfsError::output(path))?;
    let index = make(output.file().map_err(SquashfsError::output(path))?)?;
    if let Some(index) = index {
        let (sidecar, bytes) = (index_of(path), index.to_bytes());
        let index = OutputFile::create(&sidecar).map_err(SquashfsError::output(&sidecar))?;
        let written = index.file().and_then(|mut file| file.write_all(&bytes));
        written.and_then(|()| index.publish()).map_err(SquashfsError::output(&sidecar))?;
    }
    Ok(output.publish().map_err(SquashfsError::output(path))?)
}
