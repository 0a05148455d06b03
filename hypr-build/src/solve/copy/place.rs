//! Where each source goes: the rules of the Dockerfile reference, "COPY", on the trees of source and image.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use hypr_squash::{Kind, Metadata};

use super::super::{
    arrangement::{Arrangement, Content, Entry, FileSource},
    error::StepError,
    ground::{Found, Ground, Owner, shown},
    mode::Mode,
    run::accounts,
};
use crate::{
    context::{self, ContextError, Filter, Ignore, Item, Tree},
    digest::Digest,
};

/// What is to be placed, and how.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) sources: Vec<String>,
    pub(super) inline: Vec<(String, Vec<u8>)>,
    pub(super) destination: String,
    pub(super) chown: Option<String>,
    pub(super) mode: Option<Mode>,
    /// `--exclude`.
    pub(super) exclude: Option<Ignore>,
    pub(super) link: bool,
    /// Archives among the sources by their path, and the trees they hold.
    pub(super) unpacked: BTreeMap<Vec<u8>, Arc<dyn Tree>>,
}

/// The trees that files of an arrangement come from; [`FileSource::Tree`] counts them.
pub(in super::super) type Trees = Vec<Arc<dyn Tree>>;

/// The tree of the step's own sources; archives that it unpacks follow.
const FIRST: usize = 0;

/// An arrangement half-way.
struct Placing<'a> {
    placement: &'a Placement,
    ground: Ground,
    owner: Option<Owner>,
    trees: Trees,
    /// Whether entries take the place of whatever is there, as those of an archive do.
    replaces: bool,
    /// Where the names of a file with several lead to: the first of them that was placed.
    links: HashMap<(usize, (u64, u64)), Vec<u8>>,
}

impl Placement {
    fn exclude(&self) -> Option<&dyn Filter> {
        self.exclude.as_ref().map(|exclude| exclude as &dyn Filter)
    }

    /// Arranges the layer on `ground` with files of `tree`.
    pub(super) fn arrange(
        self,
        ground: Ground,
        tree: Option<Arc<dyn Tree>>,
    ) -> Result<(Arrangement, Trees), StepError> {
        let owner = match &self.chown {
            None => None,
            Some(spec) => {
                let (uid, gid) = accounts(ground.below())?.owner(spec)?;
                Some(Owner { uid, gid })
            }
        };
        let mut placing = Placing {
            placement: &self,
            ground,
            owner,
            trees: tree.into_iter().collect(),
            replaces: self.link,
            links: HashMap::new(),
        };
        placing.all()?;
        Ok((placing.ground.arrangement, placing.trees))
    }
}

impl Placing<'_> {
    fn all(&mut self) -> Result<(), StepError> {
        let placement = self.placement;
        let destination = &placement.destination;
        let is_directory = destination.ends_with('/');
        let target = match placement.link {
            // The layer must be right on any ground, so links on this one do not count.
            true => destination.trim_matches('/').as_bytes().to_vec(),
            false => self.ground.resolve(destination)?,
        };
        for source in &placement.sources {
            let Some(tree) = self.trees.first().cloned() else {
                return Err(ContextError::NotFound { path: source.clone() }.into());
            };
            let found = context::select(&*tree, &[source])?;
            if found.len() > 1 && !is_directory {
                let (pattern, destination) = (source.clone(), destination.clone());
                return Err(StepError::ManySources { pattern, count: found.len(), destination });
            }
            for found in &found {
                match placement.unpacked.get(&found.entry.path) {
                    Some(archive) => self.archive(archive.clone(), &target)?,
                    None => self.source(&tree, found, &target, is_directory)?,
                }
            }
        }
        for (name, content) in &placement.inline {
            let target = self.file_target(&target, name.as_bytes(), is_directory)?;
            let content: Arc<[u8]> = content.as_slice().into();
            let (digest, size) = (Digest::of(&content), content.len() as u64);
            let metadata = Metadata { mode: 0o644, ..Metadata::default() };
            let content = Content::File { digest, size, source: FileSource::Inline(content) };
            self.put(target, metadata, content)?;
        }
        Ok(())
    }

    fn source(
        &mut self,
        tree: &Arc<dyn Tree>,
        source: &context::Source,
        target: &[u8],
        is_directory: bool,
    ) -> Result<(), StepError> {
        let entry = &source.entry;
        if !entry.is_directory() {
            let target = self.file_target(target, source.name(), is_directory)?;
            return self.entries(tree, FIRST, context::contents(&**tree, source, self.placement.exclude())?, &target);
        }
        // The contents go to the destination, which is a directory afterwards. One that the reference would have us
        // make for a trailing slash is like any other that is missing; else it is the source's own.
        if self.ground.find(target)? == Found::Nothing && !is_directory {
            self.parents(target)?;
        } else {
            self.directory(target)?;
        }
        self.entries(tree, FIRST, context::contents(&**tree, source, self.placement.exclude())?, target)
    }

    /// Unpacks over what is there: owners, modes and times are those in the archive.
    fn archive(&mut self, archive: Arc<dyn Tree>, target: &[u8]) -> Result<(), StepError> {
        self.directory(target)?;
        let number = self.trees.len();
        self.trees.push(archive.clone());
        let items = archive
            .walk(b"")?
            .iter()
            .map(|entry| Item { relative: entry.path.clone(), entry: entry.clone() })
            .collect();
        self.replaces = true;
        self.entries(&archive, number, items, target)?;
        self.replaces = self.placement.link;
        Ok(())
    }

    /// Places what a source brings at `target`.
    fn entries(
        &mut self,
        tree: &Arc<dyn Tree>,
        number: usize,
        items: Vec<Item>,
        target: &[u8],
    ) -> Result<(), StepError> {
        let files: Vec<&context::Entry> =
            items.iter().map(|item| &item.entry).filter(|entry| entry.file_size().is_some()).collect();
        let digests = tree.digests(&files)?;
        let mut digests = digests.into_iter();
        for Item { relative, entry } in &items {
            let path = join(target, relative);
            let content = match &entry.kind {
                Kind::Directory => {
                    // What is there at the destination keeps its permissions; what is below gets the source's.
                    if relative.is_empty() && self.ground.find(&path)? == Found::Directory {
                        continue;
                    }
                    Content::Directory
                }
                Kind::Symlink { target } => Content::Symlink(target.clone()),
                Kind::Special(special) => Content::Special(*special),
                Kind::File { size } => {
                    let digest = digests.next().expect("there is one digest for each file");
                    match entry.link_group().and_then(|group| self.links.get(&(number, group))) {
                        Some(first) if *first != path => Content::HardLink(first.clone()),
                        _ => {
                            if let Some(group) = entry.link_group() {
                                self.links.insert((number, group), path.clone());
                            }
                            let source = FileSource::Tree(number, entry.path.clone());
                            Content::File { digest, size: *size, source }
                        }
                    }
                }
            };
            let metadata = entry.metadata(tree.xattrs(entry)?);
            self.put(path, metadata, content)?;
        }
        Ok(())
    }

    /// Where a file called `name` goes.
    fn file_target(&mut self, target: &[u8], name: &[u8], is_directory: bool) -> Result<Vec<u8>, StepError> {
        if is_directory || self.ground.find(target)? == Found::Directory {
            self.directory(target)?;
            return Ok(join(target, name));
        }
        self.parents(target)?;
        Ok(target.to_vec())
    }

    fn put(&mut self, path: Vec<u8>, mut metadata: Metadata, content: Content) -> Result<(), StepError> {
        match (self.ground.find(&path)?, &content) {
            (Found::Other, Content::Directory) if !self.replaces => return Err(StepError::NotDirectory(shown(&path))),
            (Found::Directory, Content::Directory) | (Found::Nothing | Found::Other, _) => {}
            (Found::Directory, _) if self.replaces => {}
            (Found::Directory, _) => return Err(StepError::IsDirectory(shown(&path))),
        }
        // Docker keeps the bits of a symbolic link as they are.
        if let Some(mode) = &self.placement.mode
            && !matches!(content, Content::Symlink(_))
        {
            metadata.mode = mode.apply(metadata.mode, matches!(content, Content::Directory));
        }
        if let Some(Owner { uid, gid }) = self.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        self.ground.arrangement.insert(path, Entry { metadata, content });
        Ok(())
    }

    fn directory(&mut self, path: &[u8]) -> Result<(), StepError> {
        let owner = self.owner.unwrap_or(Owner::ROOT);
        match self.placement.link {
            true => self.ground.directory_replacing(path, owner),
            false => self.ground.directory(path, owner),
        }
    }

    fn parents(&mut self, path: &[u8]) -> Result<(), StepError> {
        match path.iter().rposition(|&byte| byte == b'/') {
            Some(end) => self.directory(&path[..end]),
            None => Ok(()),
        }
    }
}

fn join(base: &[u8], relative: &[u8]) -> Vec<u8> {
    match (base.is_empty(), relative.is_empty()) {
        (true, _) => relative.to_vec(),
        (_, true) => base.to_vec(),
        _ => [base, b"/", relative].concat(),
    }
}
