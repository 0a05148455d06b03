//! Commands that write an image: `pack` and `merge`.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use hypr_squash::{DirectoryOptions, MergeOptions, Reader, Summary, Writer, tar};

use super::{MergeArgs, PackArgs, SquashfsError, WhiteoutsArg};
use crate::failure::{Failure, warn};
use crate::output::OutputFile;

pub(super) fn pack(arguments: &PackArgs) -> Result<(), Failure> {
    let output = &arguments.output;
    let options = arguments.encoding.options().map_err(Failure::Usage)?;
    let is_archive = arguments.source.as_os_str() == "-";
    if arguments.whiteouts.is_some() && !is_archive {
        return Err(Failure::Usage("--whiteouts is about archives, and this is a directory".to_owned()));
    }
    publish(output, |file| {
        let cannot_make = || SquashfsError::image("make", output);
        let mut writer = Writer::create(file, options).map_err(cannot_make())?;
        let warnings = match is_archive {
            true => pack_archive(&mut writer, arguments.whiteouts.unwrap_or(WhiteoutsArg::None))?,
            false => pack_directory(&mut writer, &arguments.source)?,
        };
        warnings.iter().for_each(warn_of);
        writer.finish().map_err(cannot_make())
    })
}

fn pack_archive(writer: &mut Writer, whiteouts: WhiteoutsArg) -> Result<Vec<tar::Warning>, SquashfsError> {
    let whiteouts = match whiteouts {
        WhiteoutsArg::None => tar::Whiteouts::None,
        WhiteoutsArg::Oci => tar::Whiteouts::Oci,
        WhiteoutsArg::Overlay => tar::Whiteouts::Overlay,
    };
    let options = tar::ReadOptions { whiteouts, ..tar::ReadOptions::default() };
    let stats = tar::unpack_into(writer, io::stdin().lock(), &options)
        .map_err(SquashfsError::image("pack", Path::new("standard input")))?;
    Ok(stats.warnings)
}

fn pack_directory(writer: &mut Writer, path: &Path) -> Result<Vec<tar::Warning>, SquashfsError> {
    let directory = Dir::open_ambient_dir(path, ambient_authority()).map_err(SquashfsError::open(path))?;
    let stats = hypr_squash::pack_directory(writer, &directory, &DirectoryOptions::default())
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
    let open = |path: &std::path::PathBuf| open(path).map(Arc::new);
    let layers = arguments.layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let options = MergeOptions { options, keep_whiteouts: arguments.keep_whiteouts };
    publish(&arguments.output, |file| {
        hypr_squash::merge(&layers, file, &options).map_err(SquashfsError::image("make", &arguments.output))
    })
}

/// Opens an image for reading.
pub(super) fn open(path: &Path) -> Result<Reader, SquashfsError> {
    let file = File::open(path).map_err(SquashfsError::open(path))?;
    Reader::open(file).map_err(SquashfsError::image("read", path))
}

/// Runs `make` on a new file and gives that its name when all went well.
fn publish(path: &Path, make: impl FnOnce(File) -> Result<Summary, SquashfsError>) -> Result<(), Failure> {
    let output = OutputFile::create(path).map_err(SquashfsError::output(path))?;
    make(output.file().map_err(SquashfsError::output(path))?)?;
    Ok(output.publish().map_err(SquashfsError::output(path))?)
}
