//! Archives that `ADD` unpacks: recognised by content, converted to squashfs once, then copied from like any tree.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read},
    sync::Arc,
    time::Instant,
};

use hypr_squash::{Options, Overlay, Writer, tar};

use super::{
    super::{Solver, error::StepError, key},
    place::Unpacked,
};
use crate::{
    context::{self, Entry, Layers, Tree},
    image::{
        GrowthLimit,
        decompress::{self, Compression},
    },
    snapshot::Layer,
    store::{StepRecord, Timestamp},
};

/// Bytes that tell what a file is: the header of a tar's first entry.
const HEAD: usize = 512;

/// The name in a record's data of the directories that an archive names, escaped, one a line.
const DIRECTORIES: &str = "directories";

impl Solver {
    /// The archives among the files that the patterns match, each by its path with the tree that it holds.
    pub(super) async fn archives(
        &self,
        tree: Arc<dyn Tree>,
        patterns: Vec<String>,
    ) -> Result<BTreeMap<Arc<[u8]>, Unpacked>, StepError> {
        let source = tree.clone();
        let found = self
            .work(move || {
                let mut found = Vec::new();
                let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
                for context::Source { entry, .. } in context::select(&*source, &patterns)? {
                    if entry.file_size().is_some() && is_archive(&*source, &entry)? {
                        found.push(entry);
                    }
                }
                Ok(found)
            })
            .await?;
        let mut archives = BTreeMap::new();
        for entry in found {
            archives.insert(entry.path.clone(), self.archive(&tree, entry).await?);
        }
        Ok(archives)
    }

    /// What the file at `path` holds if it is an archive.
    pub(super) async fn unpacked_file(&self, tree: &Arc<dyn Tree>, path: &[u8]) -> Result<Option<Unpacked>, StepError> {
        let (source, path) = (tree.clone(), path.to_vec());
        let found = self
            .work(move || match source.lookup(&path)? {
                Some(entry) if is_archive(&*source, &entry)? => Ok(Some(entry)),
                _ => Ok(None),
            })
            .await?;
        match found {
            None => Ok(None),
            Some(entry) => self.archive(tree, entry).await.map(Some),
        }
    }

    async fn archive(&self, tree: &Arc<dyn Tree>, entry: Entry) -> Result<Unpacked, StepError> {
        let (layer, directories) = self.unpacked(tree.clone(), entry).await?;
        let readers = self.readers.clone();
        let tree = self.work(move || Ok(Layers::new(Overlay::new(vec![readers.layer(&layer)?])))).await?;
        Ok(Unpacked { tree: Arc::new(tree), directories })
    }

    /// The archive as a squashfs file of the store, by the digest of its bytes, and the directories that it names.
    async fn unpacked(&self, tree: Arc<dyn Tree>, entry: Entry) -> Result<(Layer, HashSet<String>), StepError> {
        let (source, file) = (tree.clone(), entry.clone());
        let digest = self.work(move || Ok(source.digest(&file)?)).await?;
        let key = key::unpacked(self, &digest);
        let _lock = self.store.lock_step(&key).await?;
        if let Some(record) = self.store.step(&key)?
            && let Some(layer) = record.layer.and_then(|id| self.store.layer(&id))
            && let Some(directories) = record.data.get(DIRECTORIES)
        {
            return Ok((layer, directories.lines().map(str::to_owned).collect()));
        }
        let (store, started) = (self.store.clone(), Instant::now());
        let (layer, directories) = self
            .work(move || {
                let shown = String::from_utf8_lossy(&entry.path).into_owned();
                let failed = |source| StepError::Unpack { path: shown.clone(), source };
                let pending = store.new_layer()?;
                let mut writer = Writer::create(pending.file().try_clone()?, Options::default())?;
                let options = tar::ReadOptions {
                    whiteouts: tar::Whiteouts::None,
                    // Docker takes an archive without its end marker.
                    end_marker: tar::EndMarker::Optional,
                    ..tar::ReadOptions::default()
                };
                // What would fail in the end fails at its header.
                let allowed = GrowthLimit::default().allowed(entry.file_size().unwrap_or_default());
                let options = tar::ReadOptions { max_file_size: allowed.max(options.max_holes), ..options };
                tar::unpack_into(&mut writer, decompress::bounded_reader(tree.open(&entry)?)?, &options)
                    .map_err(&failed)?;
                let summary = writer.finish().map_err(&failed)?;
                let named =
                    directories(decompress::reader(tree.open(&entry)?)?).map_err(|error| failed(error.into()))?;
                Ok((pending.publish(&summary)?, named))
            })
            .await?;
        self.store.publish_step(&StepRecord {
            key,
            layer: Some(layer.id),
            created: Timestamp::now(),
            duration: started.elapsed(),
            executor: None,
            data: BTreeMap::from([(DIRECTORIES.to_owned(), directories.clone())]),
        })?;
        Ok((layer, directories.lines().map(str::to_owned).collect()))
    }
}

/// The directories that an archive has entries for, escaped, one a line.
fn directories(archive: impl Read) -> Result<String, tar::Error> {
    let mut archive = tar::Archive::new(archive, tar::EndMarker::Optional);
    let mut lines = String::new();
    while let Some(entry) = archive.next_entry()? {
        if entry.kind == tar::EntryKind::Directory {
            lines.push_str(&entry.path.escape_ascii().to_string());
            lines.push('\n');
        }
    }
    Ok(lines)
}

/// Whether a file is a tar archive, compressed or not. One that is damaged so that not even its first header can be
/// read is none, and neither is one that has no entry: Docker copies them as they are.
fn is_archive(tree: &dyn Tree, entry: &Entry) -> Result<bool, StepError> {
    let start = head(tree.open(entry)?)?;
    if Compression::of(&start) == Compression::Plain {
        return Ok(is_tar(&start));
    }
    let inner = decompress::reader(tree.open(entry)?).and_then(head);
    Ok(inner.is_ok_and(|inner| is_tar(&inner)))
}

fn head(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD);
    reader.take(HEAD as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether these are the first bytes of a tar archive with an entry: the checksum of the header tells.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.first_chunk::<HEAD>() else { return false };
    let written = std::str::from_utf8(&header[148..156]).ok();
    let written = written.and_then(|text| i64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok());
    let field = |at: usize| (148..156).contains(&at);
    let unsigned = |at: usize| i64::from(if field(at) { b' ' } else { header[at] });
    // Some old programs counted bytes as signed.
    let signed = |at: usize| i64::from(if field(at) { b' ' } else { header[at] }.cast_signed());
    let (unsigned, signed): (i64, i64) = ((0..HEAD).map(unsigned).sum(), (0..HEAD).map(signed).sum());
    header.iter().any(|&byte| byte != 0) && (written == Some(unsigned) || written == Some(signed))
}
