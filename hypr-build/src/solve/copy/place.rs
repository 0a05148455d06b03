//! Where each source goes: the rules of the Dockerfile reference, "COPY", on the trees of source and image.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use hypr_squash::{Kind, Metadata};

use super::{
    super::{
        arrangement::{Arrangement, Content, Entry, FileSource},
        error::StepError,
        ground::{Found, Ground, Owner, shown},
        run::accounts,
    },
    remote::Remote,
};
use crate::{
    context::{self, Contents, ContextError, Filter, Ignore, Tree},
    digest::Digest,
    plan::Mode,
    remote::RemoteError,
};

/// What is to be placed, and how.
#[derive(Debug)]
pub(in super::super) struct Placement {
    pub(super) sources: Vec<String>,
    pub(super) inline: Vec<(String, Vec<u8>)>,
    pub(super) destination: String,
    pub(super) chown: Option<String>,
    pub(super) mode: Option<Mode>,
    /// `--exclude`.
    pub(super) exclude: Option<Ignore>,
    pub(super) link: bool,
    /// `--parents`.
    pub(super) parents: bool,
    /// Whether the destination becomes what the source is, in place of taking in what it holds.
    pub(super) whole: bool,
    /// Sources that were fetched, by how they are written.
    pub(super) remotes: BTreeMap<String, Remote>,
    /// Archives among the sources by their path, and the trees they hold.
    pub(super) unpacked: BTreeMap<Arc<[u8]>, Unpacked>,
}

/// What a placement came to.
pub(in super::super) struct Placed {
    pub(in super::super) arrangement: Arrangement,
    pub(in super::super) trees: Trees,
    /// Sources with wildcards that match nothing.
    pub(super) unmatched: Vec<String>,
}

/// The trees that files of an arrangement come from; [`FileSource::Tree`] counts them.
pub(in super::super) type Trees = Vec<Arc<dyn Tree>>;

/// An archive that was unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) tree: Arc<dyn Tree>,
    /// The directories that have an entry of their own, escaped; the others are only implied by paths.
    pub(super) directories: HashSet<String>,
}

impl Unpacked {
    fn names(&self, directory: &[u8]) -> bool {
        self.directories.contains(&directory.escape_ascii().to_string())
    }
}

/// What becomes of a directory at the destination that meets one given as source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It keeps its permissions: of a source the contents are copied.
    Source,
    /// It gets the permissions that the archive has for it.
    Archive,
}

/// An arrangement half-way.
pub(super) struct Placing<'a> {
    pub(super) placement: &'a Placement,
    pub(super) ground: Ground,
    owner: Option<Owner>,
    /// The tree of the sources that are files, if there is one.
    local: Option<Arc<dyn Tree>>,
    trees: Trees,
    /// Whether entries take the place of whatever is there, as those of an archive do.
    replaces: bool,
    /// Where the names of a file with several lead to: the first of them that the same source placed.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// The further names of such a first one.
    names: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    pub(super) unmatched: Vec<String>,
}

impl Placement {
    /// Everything that is at `source`, as it is, to be called `name` in a layer of its own.
    pub(in super::super) fn whole(source: String, name: &str) -> Self {
        Self { whole: true, ..Self::new(vec![source], format!("/{name}")) }
    }

    /// `sources` to `destination`, without any flags.
    pub(super) fn new(sources: Vec<String>, destination: String) -> Self {
        Self {
            sources,
            inline: Vec::new(),
            destination,
            chown: None,
            mode: None,
            exclude: None,
            link: false,
            parents: false,
            whole: false,
            remotes: BTreeMap::new(),
            unpacked: BTreeMap::new(),
        }
    }

    pub(super) fn exclude(&self) -> Option<&dyn Filter> {
        self.exclude.as_ref().map(|exclude| exclude as &dyn Filter)
    }

    /// Arranges the layer on `ground` with files of `tree`.
    pub(in super::super) fn arrange(self, ground: Ground, tree: Option<Arc<dyn Tree>>) -> Result<Placed, StepError> {
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
            local: tree,
            trees: Vec::new(),
            replaces: self.link,
            links: HashMap::new(),
            names: HashMap::new(),
            unmatched: Vec::new(),
        };
        placing.all()?;
        let arrangement = placing.ground.finish()?;
        Ok(Placed { arrangement, trees: placing.trees, unmatched: placing.unmatched })
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
            if let Some(remote) = placement.remotes.get(source) {
                self.remote(remote, &target, is_directory)?;
                continue;
            }
            let Some(tree) = self.local.clone() else {
                return Err(ContextError::NotFound { path: source.clone() }.into());
            };
            if placement.parents {
                self.with_parents(&tree, source, &target)?;
                continue;
            }
            let found = context::select(&*tree, &[source])?;
            if found.is_empty() {
                self.unmatched.push(source.clone());
            }
            if found.len() > 1 && !is_directory {
                let (pattern, destination) = (source.clone(), destination.clone());
                return Err(StepError::ManySources { pattern, count: found.len(), destination });
            }
            for found in &found {
                self.forget_links();
                match placement.unpacked.get(&found.entry.path) {
                    Some(archive) => self.archive(archive, &target)?,
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
            self.put(target, metadata, content, Meeting::Source)?;
        }
        Ok(())
    }

    /// A source from the network.
    fn remote(&mut self, remote: &Remote, target: &[u8], is_directory: bool) -> Result<(), StepError> {
        self.forget_links();
        if let Some(archive) = &remote.unpacked {
            return self.archive(archive, target);
        }
        let is_file = !remote.source.entry.is_directory();
        let needs_name = is_directory || self.ground.find(target)? == Found::Directory;
        if is_file && needs_name && remote.source.matched.is_empty() {
            return Err(RemoteError::NoName { url: remote.shown.clone() }.into());
        }
        self.source(&remote.tree, &remote.source, target, is_directory)
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
            let contents = context::contents(&**tree, source, self.placement.exclude())?;
            return self.entries(tree, Meeting::Source, &contents, &target);
        }
        match self.placement.whole {
            true => self.parents(target)?,
            // The contents go to the destination, which is a directory afterwards: as it was, or like any that was
            // missing. Nothing of the source's own permissions and times is taken over.
            false => self.directory(target)?,
        }
        let contents = context::contents(&**tree, source, self.placement.exclude())?;
        self.entries(tree, Meeting::Source, &contents, target)
    }

    /// Unpacks over what is there: what the archive holds takes its place, with the archive's modes and times whatever
    /// `--chmod` says, and its owners unless `--chown` does. Directories that it does not name itself are those that are
    /// there, through the image's links, and the destination is none of its own.
    fn archive(&mut self, archive: &Unpacked, target: &[u8]) -> Result<(), StepError> {
        self.directory(target)?;
        self.replaces = true;
        // Where each directory of the archive came to be.
        let mut places: HashMap<Arc<[u8]>, Vec<u8>> = HashMap::from([(Arc::default(), target.to_vec())]);
        for entry in archive.tree.walk(b"")?.iter() {
            let (parent, name) = match entry.path.iter().rposition(|&byte| byte == b'/') {
                Some(end) => (&entry.path[..end], &entry.path[end + 1..]),
                None => (&b""[..], &entry.path[..]),
            };
            if entry.path.is_empty() {
                continue;
            }
            let parent = places.get(parent).map_or(target, Vec::as_slice);
            let mut path = join(parent, name);
            if entry.is_directory() {
                if !archive.names(&entry.path) {
                    if self.ground.arranged(&path).is_none() {
                        path = self.ground.resolve_bytes(&path)?;
                    }
                    self.directory(&path)?;
                    places.insert(entry.path.clone(), path);
                    continue;
                }
                places.insert(entry.path.clone(), path.clone());
            }
            self.entries(&archive.tree, Meeting::Archive, &Contents::single(entry.clone()), &path)?;
        }
        self.replaces = self.placement.link;
        Ok(())
    }

    /// Places what a source brings at `target`.
    pub(super) fn entries(
        &mut self,
        tree: &Arc<dyn Tree>,
        meeting: Meeting,
        contents: &Contents,
        target: &[u8],
    ) -> Result<(), StepError> {
        let files: Vec<&context::Entry> =
            contents.iter().map(|(_, entry)| entry).filter(|entry| entry.file_size().is_some()).collect();
        let digests = tree.digests(&files)?;
        let number = self.number(tree);
        let mut digests = digests.into_iter();
        for (relative, entry) in contents.iter() {
            let path = join(target, relative);
            let content = match &entry.kind {
                Kind::Directory => {
                    // What is there at the destination keeps its permissions; what is below gets the source's.
                    if meeting == Meeting::Source && relative.is_empty() && self.ground.find(&path)? == Found::Directory
                    {
                        continue;
                    }
                    Content::Directory
                }
                Kind::Symlink { target } => Content::Symlink(target.clone()),
                Kind::Special(special) => Content::Special(*special),
                Kind::File { size } => {
                    let digest = digests.next().expect("there is one digest for each file");
                    let file =
                        Content::File { digest, size: *size, source: FileSource::Tree(number, entry.path.clone()) };
                    entry.link_group().map_or(file.clone(), |group| self.linked(group, &path, file))
                }
            };
            let metadata = entry.metadata(tree.xattrs(entry)?);
            self.put(path, metadata, content, meeting)?;
        }
        Ok(())
    }

    /// The number of a tree among those that files come from.
    fn number(&mut self, tree: &Arc<dyn Tree>) -> usize {
        let known = self.trees.iter().rposition(|known| Arc::ptr_eq(known, tree));
        known.unwrap_or_else(|| {
            self.trees.push(tree.clone());
            self.trees.len() - 1
        })
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

    /// Places one entry, with the permissions that the flags ask for.
    fn put(
        &mut self,
        path: Vec<u8>,
        mut metadata: Metadata,
        content: Content,
        meeting: Meeting,
    ) -> Result<(), StepError> {
        self.release_names(&path);
        match (self.ground.find(&path)?, &content) {
            (Found::Other, Content::Directory) if !self.replaces => return Err(StepError::NotDirectory(shown(&path))),
            (Found::Directory, Content::Directory) | (Found::Nothing | Found::Other, _) => {}
            (Found::Directory, _) if self.replaces => {}
            (Found::Directory, _) => return Err(StepError::IsDirectory(shown(&path))),
        }
        // Docker keeps the bits of a symbolic link as they are.
        if let Some(mode) = &self.placement.mode
            && meeting == Meeting::Source
            && !matches!(content, Content::Symlink(_))
        {
            metadata.mode = mode.apply(metadata.mode, matches!(content, Content::Directory));
        }
        if let Some(Owner { uid, gid }) = self.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        if let Content::HardLink(first) = &content {
            self.names.entry(first.clone()).or_default().push(path.clone());
        }
        self.ground.insert(path, Entry { metadata, content });
        Ok(())
    }

    /// What a file with several names is at `path`: itself, or a link to where it was placed first.
    fn linked(&mut self, group: (u64, u64), path: &[u8], file: Content) -> Content {
        match self.links.get(&group) {
            Some(first) if first != path => Content::HardLink(first.clone()),
            _ => {
                self.links.insert(group, path.to_vec());
                file
            }
        }
    }

    /// Before what is at `path` is replaced: further names of it keep the file, under the first of them.
    fn release_names(&mut self, path: &[u8]) {
        if self.names.is_empty() {
            return;
        }
        let Some(names) = self.names.remove(path) else { return };
        let Some(old) = self.ground.arranged(path).cloned() else { return };
        let is_link = |name: &Vec<u8>| matches!(self.ground.arranged(name), Some(Entry { content: Content::HardLink(to), .. }) if to == path);
        let names: Vec<Vec<u8>> = names.into_iter().filter(|name| is_link(name)).collect();
        let Some((first, rest)) = names.split_first() else { return };
        for name in rest {
            let content = Content::HardLink(first.clone());
            self.ground.insert(name.clone(), Entry { metadata: old.metadata.clone(), content });
        }
        for to in self.links.values_mut().filter(|to| *to == path) {
            to.clone_from(first);
        }
        self.ground.insert(first.clone(), old);
        self.names.insert(first.clone(), rest.to_vec());
    }

    /// Each source is copied for itself: names of one file in two of them become two files.
    pub(super) fn forget_links(&mut self) {
        self.links.clear();
    }

    /// Makes what is missing of a directory, with the owner that `--chown` asks for. `--chmod` is for what is copied.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<(), StepError> {
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
