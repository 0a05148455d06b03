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
    plan::Copy,
    snapshot::Layer,
    store::{StepRecord, Timestamp},
};

/// Bytes that tell what a file is: a tar's magic ends at 262.
const HEAD: usize = 512;

/// The name in a record's data of the directories that an archive names, escaped, one a line.
const DIRECTORIES: &str = "directories";

/// What the first bytes of a file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Tar,
    Gzip,
    Zstd,
    /// One that cannot be decompressed here.
    Other(&'static str),
}

impl Solver {
    /// The archives among the sources of an `ADD`, each with the tree that it holds.
    pub(super) async fn archives(
        &self,
        copy: &Copy,
        tree: &Option<Arc<dyn Tree>>,
    ) -> Result<BTreeMap<Vec<u8>, Unpacked>, StepError> {
        let Some(tree) = tree.clone() else { return Ok(BTreeMap::new()) };
        let (sources, source) = (copy.sources.clone(), tree.clone());
        let found = self
            .work(move || {
                let mut found = Vec::new();
                let patterns: Vec<&str> = sources.iter().map(String::as_str).collect();
                for context::Source { entry, .. } in context::select(&*source, &patterns)? {
                    if entry.file_size().is_some()
                        && let Some(form) = recognise(&*source, &entry)?
                    {
                        found.push((entry, form));
                    }
                }
                Ok(found)
            })
            .await?;
        let mut archives = BTreeMap::new();
        for (entry, form) in found {
            if let Form::Other(kind) = form {
                return Err(StepError::Archive { path: String::from_utf8_lossy(&entry.path).into_owned(), kind });
            }
            let path = entry.path.clone();
            let (layer, directories) = self.unpacked(tree.clone(), entry, form).await?;
            let readers = self.readers.clone();
            let tree = self.work(move || Ok(Layers::new(Overlay::new(vec![readers.layer(&layer)?])))).await?;
            archives.insert(path, Unpacked { tree: Arc::new(tree), directories });
        }
        Ok(archives)
    }

    /// The archive as a squashfs file of the store, by the digest of its bytes, and the directories that it names.
    async fn unpacked(
        &self,
        tree: Arc<dyn Tree>,
        entry: Entry,
        form: Form,
    ) -> Result<(Layer, HashSet<String>), StepError> {
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
                tar::unpack_into(&mut writer, form.decompress(tree.open(&entry)?)?, &options).map_err(&failed)?;
                let summary = writer.finish().map_err(&failed)?;
                let named = directories(form.decompress(tree.open(&entry)?)?).map_err(|error| failed(error.into()))?;
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

impl Form {
    fn decompress(self, content: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(content)),
            Self::Zstd => Box::new(zstd::stream::Decoder::new(content)?),
            Self::Tar | Self::Other(_) => content,
        })
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

/// What kind of archive a file is, from its first bytes; `None` if it is none.
fn recognise(tree: &dyn Tree, entry: &Entry) -> Result<Option<Form>, StepError> {
    let start = head(tree.open(entry)?)?;
    let form = match () {
        () if is_tar(&start) => return Ok(Some(Form::Tar)),
        () if start.starts_with(&[0x1f, 0x8b]) => Form::Gzip,
        () if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => Form::Zstd,
        () if start.starts_with(b"BZh") => return Ok(Some(Form::Other("bzip2"))),
        () if start.starts_with(b"\xfd7zXZ\0") => return Ok(Some(Form::Other("xz"))),
        () => return Ok(None),
    };
    // A compressed file that holds no tar, or is damaged, is copied as it is.
    let inner = form.decompress(tree.open(entry)?).and_then(head);
    Ok(inner.is_ok_and(|inner| is_tar(&inner)).then_some(form))
}

fn head(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD);
    reader.take(HEAD as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether these are the first bytes of a tar archive: the magic of ustar and GNU, or a right checksum of an old one.
fn is_tar(head: &[u8]) -> bool {
    if head.len() < HEAD {
        return false;
    }
    if &head[257..262] == b"ustar" {
        return true;
    }
    let written = std::str::from_utf8(&head[148..156]).ok();
    let written = written.and_then(|text| u32::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok());
    let sum = |at: usize| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(head[at]) };
    head[0] != 0 && written == Some((0..HEAD).map(sum).sum())
}
