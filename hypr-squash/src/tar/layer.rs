//! What an archive has made so far, as far as later entries depend on it: directories, links and whiteouts.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::error::Fault;
use crate::Metadata;

/// Symbolic links followed on the way to one entry, as in the kernel.
const LINK_LIMIT: usize = 40;

/// Something other than a plain file.
#[derive(Debug, Clone)]
pub(super) enum Present {
    /// A directory, by its own entry or implied.
    Directory {
        /// As given, without the mark of an opaque one.
        metadata: Metadata,
        /// Whether it hides what lower layers have in it.
        opaque: bool,
    },
    /// A symbolic link and where it points.
    Symlink(Vec<u8>),
    /// A deletion of what lower layers have.
    Whiteout,
}

/// Paths of the archive; plain files and devices are not listed.
#[derive(Debug, Default)]
pub(super) struct Tree {
    present: BTreeMap<Vec<u8>, Present>,
}

impl Tree {
    pub(super) fn get(&self, path: &[u8]) -> Option<&Present> {
        self.present.get(path)
    }

    pub(super) fn is_directory(&self, path: &[u8]) -> bool {
        matches!(self.get(path), Some(Present::Directory { .. }))
    }

    pub(super) fn set_directory(&mut self, path: Vec<u8>, metadata: Metadata, opaque: bool) {
        self.present.insert(path, Present::Directory { metadata, opaque });
    }

    /// Notes what is at `path` now, `None` for a plain file; whatever was below it is gone.
    pub(super) fn replace(&mut self, path: &[u8], present: Option<Present>) {
        if matches!(self.present.remove(path), Some(Present::Directory { .. })) {
            let below = [path, b"/"].concat();
            let range = (Bound::Included(&below[..]), Bound::Unbounded);
            let gone = self.present.range::<[u8], _>(range).take_while(|(path, _)| path.starts_with(&below));
            for path in gone.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
                self.present.remove(&path);
            }
        }
        if let Some(present) = present {
            self.present.insert(path.to_vec(), present);
        }
    }

    /// Follows the links on the way to the directory `path` and in its last component, within the root.
    ///
    /// `exists` tells whether a path is present at all. What is not present is taken literally.
    pub(super) fn resolve(&self, path: &[u8], exists: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Fault> {
        let mut resolved = Vec::new();
        let mut todo: Vec<&[u8]> = path.rsplit(|byte| *byte == b'/').collect();
        let mut links = 0;
        while let Some(component) = todo.pop() {
            match component {
                b"" | b"." => continue,
                b".." => {
                    resolved.truncate(resolved.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let parent = resolved.len();
            if parent > 0 {
                resolved.push(b'/');
            }
            resolved.extend_from_slice(component);
            if resolved.len() > super::path::LIMIT {
                return Err(Fault::TooLong { what: "name", limit: super::path::LIMIT as u64 });
            }
            match self.get(&resolved) {
                Some(Present::Directory { .. } | Present::Whiteout) => {}
                Some(Present::Symlink(target)) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(Fault::SymlinkLoop);
                    }
                    resolved.truncate(if target.starts_with(b"/") { 0 } else { parent });
                    todo.extend(target.rsplit(|byte| *byte == b'/'));
                }
                None if exists(&resolved) => return Err(Fault::NotADirectory(resolved)),
                None => {}
            }
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, target) in links {
            tree.replace(path.as_bytes(), Some(Present::Symlink(target.as_bytes().to_vec())));
        }
        tree
    }

    #[test]
    fn links_are_followed_inside_of_the_root() {
        let tree = tree(&[
            ("lib", "usr/lib"),
            ("abs", "/usr/lib"),
            ("out", "../../etc"),
            ("usr/up", ".."),
            ("chain", "abs/x"),
            ("loop", "loop"),
        ]);
        for (path, expected) in [
            ("lib/x", "usr/lib/x"),
            ("abs", "usr/lib"),
            ("out/y", "etc/y"),
            ("usr/up/lib", "usr/lib"),
            ("chain/y", "usr/lib/x/y"),
            ("none/y", "none/y"),
        ] {
            assert_eq!(tree.resolve(path.as_bytes(), |_| false).unwrap(), expected.as_bytes(), "{path}");
        }
        assert!(matches!(tree.resolve(b"loop/x", |_| false), Err(Fault::SymlinkLoop)));
        assert!(matches!(tree.resolve(b"lib/f/x", |path| path == b"usr/lib/f"), Err(Fault::NotADirectory(_))));
    }

    #[test]
    fn a_replaced_directory_takes_its_links_along() {
        let mut tree = tree(&[("d/l", "x"), ("d-l", "y")]);
        tree.set_directory(b"d".to_vec(), Metadata::default(), false);
        tree.replace(b"d", None);
        assert!(tree.get(b"d").is_none() && tree.get(b"d/l").is_none() && tree.get(b"d-l").is_some());
    }
}
