//! A commit's tree, from the objects into a layer.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use gix::{ObjectId, bstr::ByteSlice, objs::tree::EntryKind};
use hypr_squash::{Metadata, Writer};

use super::repository::Repository;
use crate::remote::RemoteError;

/// Files and directories at most: a tree that holds itself in several names can have no end.
const MOST_ENTRIES: u64 = 4_000_000;

/// Bytes of a file at most: a file is in memory while it is written.
const LARGEST_FILE: u64 = 1 << 30;

/// Where another repository belongs in a tree.
#[derive(Debug)]
pub(super) struct Gitlink {
    /// From the root of the repository that has the link.
    pub(super) in_repository: Vec<u8>,
    /// From the root of the layer.
    pub(super) in_layer: Vec<u8>,
    pub(super) commit: String,
}

/// A layer that is being filled.
pub(super) struct Checkout<'a> {
    writer: &'a mut Writer,
    pub(super) interrupt: &'a AtomicBool,
    entries: u64,
}

impl<'a> Checkout<'a> {
    pub(super) fn new(writer: &'a mut Writer, interrupt: &'a AtomicBool) -> Self {
        Self { writer, interrupt, entries: 0 }
    }

    /// Writes `directory` of a commit at `target`, and returns what belongs into it from other repositories.
    pub(super) fn tree(
        &mut self,
        repository: &Repository,
        commit: &str,
        directory: &str,
        target: &[u8],
    ) -> Result<Vec<Gitlink>, RemoteError> {
        let failed = |error: gix::Error| repository.failed(&error);
        let (root, time) = root(repository, commit)?;
        let top = match directory {
            "" => root,
            directory => {
                let tree = repository.inner.find_tree(root).map_err(failed)?;
                let entry = tree.lookup_entry_by_path(Path::new(directory)).map_err(failed)?;
                let entry = entry.filter(|entry| entry.mode().is_tree()).ok_or_else(|| RemoteError::NoDirectory {
                    url: crate::remote::hide_password(&repository.url),
                    commit: commit.to_owned(),
                    directory: directory.to_owned(),
                })?;
                entry.object_id()
            }
        };
        let mut links = Vec::new();
        let mut open: Vec<(ObjectId, Vec<u8>)> = vec![(top, Vec::new())];
        while let Some((id, path)) = open.pop() {
            let at = join(target, &path);
            self.write(repository, |writer| writer.add_directory(&at, &metadata(0o755, time)))?;
            let tree = repository.inner.find_tree(id).map_err(failed)?;
            for entry in tree.iter() {
                let entry = entry.map_err(failed)?;
                let name = name(repository, commit, entry.filename())?;
                let path = join(&path, name);
                let at = join(target, &path);
                let kind = entry.mode().kind();
                match kind {
                    EntryKind::Tree => open.push((entry.object_id(), path)),
                    EntryKind::Commit => {
                        self.write(repository, |writer| writer.add_directory(&at, &metadata(0o755, time)))?;
                        let in_repository = join(directory.as_bytes(), &path);
                        links.push(Gitlink { in_repository, in_layer: at, commit: entry.object_id().to_string() });
                    }
                    EntryKind::Link => {
                        let target = blob(repository, entry.object_id())?;
                        self.write(repository, |writer| writer.add_symlink(&at, &metadata(0o777, time), &target))?;
                    }
                    EntryKind::Blob | EntryKind::BlobExecutable => {
                        let content = blob(repository, entry.object_id())?;
                        let mode = if kind == EntryKind::Blob { 0o644 } else { 0o755 };
                        self.write(repository, |writer| {
                            writer.add_file(&at, &metadata(mode, time), &mut &content[..]).map(drop)
                        })?;
                    }
                }
            }
        }
        Ok(links)
    }

    /// Writes `.git`: the commit without its history, checked out.
    pub(super) fn git_directory(
        &mut self,
        repository: &Repository,
        commit: &str,
        url: &str,
    ) -> Result<(), RemoteError> {
        let (root, time) = root(repository, commit)?;
        let (folder, file) = (metadata(0o755, time), metadata(0o644, time));
        let index = repository.inner.index_from_tree(&root).map_err(|error| repository.failed(&error))?;
        let mut indexed = Vec::new();
        index
            .write_to(&mut indexed, gix::index::write::Options::default())
            .map_err(|error| repository.failed(&error))?;
        let format = match repository.inner.object_hash() {
            gix::hash::Kind::Sha1 => "\trepositoryformatversion = 0\n".to_owned(),
            other => format!("\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = {other}\n[core]\n"),
        };
        let config = format!(
            "[core]\n{format}\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n[remote \"origin\"]\n\
             \turl = {url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        );
        for path in [
            ".git",
            ".git/objects",
            ".git/objects/info",
            ".git/objects/pack",
            ".git/refs",
            ".git/refs/heads",
            ".git/refs/tags",
        ] {
            self.write(repository, |writer| writer.add_directory(path.as_bytes(), &folder))?;
        }
        let head = format!("{commit}\n");
        for (path, content) in [
            (".git/HEAD", head.as_bytes()),
            (".git/config", config.as_bytes()),
            (".git/index", &indexed),
            (".git/shallow", head.as_bytes()),
        ] {
            self.write(repository, |writer| writer.add_file(path.as_bytes(), &file, &mut &content[..]).map(drop))?;
        }
        let packs = repository.inner.path().join("objects/pack");
        let mut names: Vec<_> = std::fs::read_dir(&packs)?.collect::<Result<_, _>>()?;
        names.sort_unstable_by_key(std::fs::DirEntry::file_name);
        for pack in names {
            let name = pack.file_name();
            let name = name.as_encoded_bytes();
            if !name.ends_with(b".pack") && !name.ends_with(b".idx") {
                continue;
            }
            let path = [b".git/objects/pack/", name].concat();
            let mut content = std::fs::File::open(pack.path())?;
            let mode = metadata(0o444, time);
            self.write(repository, |writer| writer.add_file(&path, &mode, &mut content).map(drop))?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        repository: &Repository,
        write: impl FnOnce(&mut Writer) -> Result<(), hypr_squash::Error>,
    ) -> Result<(), RemoteError> {
        self.entries += 1;
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(RemoteError::Cancelled);
        }
        if self.entries > MOST_ENTRIES {
            let reason = format!("it has more than {MOST_ENTRIES} files");
            return Err(RemoteError::Git { url: crate::remote::hide_password(&repository.url), reason });
        }
        write(self.writer).map_err(|error| RemoteError::keep(&repository.url, error))
    }
}

/// The tree of a commit, and when it was committed.
pub(super) fn root(repository: &Repository, commit: &str) -> Result<(ObjectId, i64), RemoteError> {
    let failed = |error: gix::Error| repository.failed(&error);
    let id = ObjectId::from_hex(commit.as_bytes()).map_err(|error| repository.failed(&error))?;
    let object = repository.inner.find_object(id).map_err(failed)?;
    let commit =
        object.peel_tags_to_end().map_err(failed)?.try_into_commit().map_err(|error| repository.failed(&error))?;
    let time = commit.time().map_or(0, |time| time.seconds);
    Ok((commit.tree_id().map_err(failed)?.detach(), time))
}

/// The content of a file.
pub(super) fn blob(repository: &Repository, id: ObjectId) -> Result<Vec<u8>, RemoteError> {
    let failed = |error: gix::Error| repository.failed(&error);
    let size = repository.inner.find_header(id).map_err(failed)?.size();
    if size > LARGEST_FILE {
        return Err(RemoteError::TooLarge { url: format!("a file of {}", repository.url), limit: LARGEST_FILE });
    }
    Ok(repository.inner.find_object(id).map_err(failed)?.detach().data)
}

/// The name of an entry, if a file can have it.
fn name<'n>(repository: &Repository, commit: &str, name: &'n gix::bstr::BStr) -> Result<&'n [u8], RemoteError> {
    let bytes = name.as_bytes();
    let is_name = !matches!(bytes, b"" | b"." | b"..")
        && !bytes.contains(&b'/')
        && !bytes.contains(&0)
        && !bytes.eq_ignore_ascii_case(b".git");
    let reason = || format!("commit {commit} has a file that is called {:?}", name.to_string());
    is_name
        .then_some(bytes)
        .ok_or_else(|| RemoteError::Git { url: crate::remote::hide_password(&repository.url), reason: reason() })
}

fn metadata(mode: u16, mtime: i64) -> Metadata {
    Metadata { mode, mtime, ..Metadata::default() }
}

fn join(base: &[u8], relative: &[u8]) -> Vec<u8> {
    match (base.is_empty(), relative.is_empty()) {
        (true, _) => relative.to_vec(),
        (_, true) => base.to_vec(),
        _ => [base, b"/", relative].concat(),
    }
}
