//! Makes one image of a stack of layers without compressing anything anew.
//!
//! Every data block is compressed alone and every file's blocks lie side by side, so the blocks of the files that are
//! left are copied as they are, neighbours together, and only the tables are written anew. Nothing else is copied:
//! what upper layers deleted or replaced is not in the result. Fragment blocks hold the tails of several files; one
//! with a byte that no file is left for is taken apart, and its tails are packed again with others.
//!
//! A layer of another codec or block size is read and compressed again. With one layer, a merge removes what is dead
//! in an image; with another codec, it converts it.

mod keys;
mod prefix;
mod stored;
mod survey;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::sync::Arc;

use prefix::Beginning;
pub use prefix::Prefix;
use stored::{Stored, Stretch};
use survey::Survey;

use crate::write::{Described, StoredSummary};
use crate::{Digest, Error, Options, Overlay, Reader, Summary, Writer};

/// How [`merge`] makes an image.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// Codec, block size, threads and times of the result.
    pub options: Options,
    /// Whether the result will lie on other layers: then whiteouts and the marks of opaque directories stay.
    pub keep_whiteouts: bool,
}

/// Merges `layers`, lowest first, into one image in the empty file `out`, which is open for reading and writing.
///
/// Attributes of overlayfs do not enter the image, except for the marks that `keep_whiteouts` asks for. Files of equal
/// content are stored once, whichever layers they are from; layers opened with their index save reading for that.
///
/// # Errors
/// Fails when a layer is corrupt or uses overlayfs features beyond whiteouts and opaque directories, or when `out`
/// cannot be written.
pub fn merge(layers: &[Arc<Reader>], out: File, options: &MergeOptions) -> Result<Summary, Error> {
    Ok(merge_some(layers, &copied_from(layers, options), Equality::Content, None, out, options)?.0)
}

/// As [`merge`], but `out` may hold an earlier image, of which `earlier` tells. What both begin with is neither read
/// nor written; the rest of the earlier image is overwritten. The bytes are those that [`merge`] would write.
///
/// Also returns the same of the new image, for the next time. `names` tells the layers apart: the digests of their
/// files.
///
/// # Errors
/// As [`merge`]. The file is of no use then.
pub fn merge_over(
    layers: &[Arc<Reader>],
    names: &[Digest],
    out: File,
    earlier: Option<&Prefix>,
    options: &MergeOptions,
) -> Result<(Summary, Prefix), Error> {
    let beginning = earlier.map(|earlier| Beginning { earlier, names });
    let copied = copied_from(layers, options);
    let (mut summary, stretches) = merge_some(layers, &copied, Equality::Content, beginning, out, options)?;
    let runs = stretches.into_iter().filter_map(|(layer, range)| Some((*names.get(layer)?, range)));
    let groups = std::mem::take(&mut summary.groups);
    Ok((summary, Prefix::new(options.options.encoder(), runs.collect(), groups)))
}

/// As [`merge`], but decompresses nothing to find equal files: those that no index knows are stored once only where
/// they are stored alike, or were in their layer. That is several times as fast for layers without an index, and the
/// result may be larger where layers share short files. Files that indexes call equal are compared, so that one that
/// is of another image does no harm.
///
/// # Errors
/// As [`merge`].
pub fn merge_stored(layers: &[Arc<Reader>], out: File, options: &MergeOptions) -> Result<StoredSummary, Error> {
    let (summary, _) = merge_some(layers, &copied_from(layers, options), Equality::Stored, None, out, options)?;
    Ok(summary.into())
}

/// As [`merge`], but compresses everything anew, also where a layer has the codec and block size of the result: for
/// another level, as of a release that is read more often than it is made.
///
/// # Errors
/// As [`merge`].
pub fn recompress(layers: &[Arc<Reader>], out: File, options: &MergeOptions) -> Result<Summary, Error> {
    Ok(merge_some(layers, &vec![false; layers.len()], Equality::Content, None, out, options)?.0)
}

/// The layers whose blocks can be copied.
fn copied_from(layers: &[Arc<Reader>], options: &MergeOptions) -> Vec<bool> {
    let same = |layer: &Arc<Reader>| {
        let info = layer.info();
        info.compression == options.options.codec.id() && info.block_size == options.options.block_size
    };
    layers.iter().map(same).collect()
}

/// Merges; `copied` tells the layers whose blocks are copied. Also returns what of them was, in order.
fn merge_some(
    layers: &[Arc<Reader>],
    copied: &[bool],
    equality: Equality,
    beginning: Option<Beginning<'_>>,
    out: File,
    options: &MergeOptions,
) -> Result<(Summary, Vec<Stretch>), Error> {
    let overlay = match options.keep_whiteouts {
        true => Overlay::part(layers.to_vec()),
        false => Overlay::new(layers.to_vec()),
    };
    let mut writer = Writer::create(out, options.options.clone())?;
    let Survey { copied: contents, files, encoded } = Survey::take(&overlay, copied, equality, &mut writer)?;
    let stored = Stored::copy(&contents, layers, beginning, &mut writer)?;
    if encoded.iter().all(|file| file.inode.size() == 0) {
        // What was copied is known to be different, and nothing else will be compared with it.
        writer.find_nothing();
    }
    let places = contents.into_iter().map(|content| stored.add(content, &mut writer));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let stretches = stored.stretches().to_vec();
    for (entered, place) in files {
        writer.fill(entered, places[place]);
    }
    // What was copied is known before anything equal is compressed again.
    for file in encoded {
        let content = writer.add_content(&file.path, &mut file.inode.open()?)?;
        writer.fill(file.entered, content);
    }
    // What stands for digests is of no use to anybody else.
    let described = if equality == Equality::Stored { Described::No } else { Described::Yes };
    let mut summary = writer.finish_with(described)?;
    summary.recompressed = (0..).zip(copied).filter(|(_, copied)| !**copied).map(|(layer, _)| layer).collect();
    Ok((summary, stretches))
}

/// When two files count as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Equality {
    /// When their contents are: what no index knows is read and decompressed for that.
    Content,
    /// When no index says otherwise, only if the same bytes are stored for them, or the same place is theirs.
    Stored,
}
