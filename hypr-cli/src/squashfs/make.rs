//! Commands that write an image: `pack` and `merge`.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hypr_squash::{MergeOptions, Reader, Summary, Writer, tar};

use super::{MergeArgs, PackArgs, SquashfsError, WhiteoutsArg};
use crate::output::OutputFile;

pub(super) fn pack(arguments: &PackArgs) -> Result<(), SquashfsError> {
    let output = &arguments.output;
    publish(output, |file| {
        let cannot_make = || SquashfsError::image("make", output);
        let mut writer = Writer::create(file, arguments.encoding.options()).map_err(cannot_make())?;
        if arguments.source.as_os_str() == "-" {
            let whiteouts = match arguments.whiteouts {
                WhiteoutsArg::None => tar::Whiteouts::None,
                WhiteoutsArg::Oci => tar::Whiteouts::Oci,
                WhiteoutsArg::Overlay => tar::Whiteouts::Overlay,
            };
            let options = tar::ReadOptions { whiteouts, ..tar::ReadOptions::default() };
            tar::unpack_into(&mut writer, io::stdin().lock(), &options)
                .map_err(SquashfsError::image("pack", Path::new("standard input")))?;
        }
        writer.finish().map_err(cannot_make())
    })
}

pub(super) fn merge(arguments: &MergeArgs) -> Result<(), SquashfsError> {
    let open = |path: &std::path::PathBuf| open(path).map(Arc::new);
    let layers = arguments.layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let options = MergeOptions { options: arguments.encoding.options(), keep_whiteouts: arguments.keep_whiteouts };
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
fn publish(path: &Path, make: impl FnOnce(File) -> Result<Summary, SquashfsError>) -> Result<(), SquashfsError> {
    let output = OutputFile::create(path).map_err(SquashfsError::output(path))?;
    make(output.file().map_err(SquashfsError::output(path))?)?;
    output.publish().map_err(SquashfsError::output(path))
}
