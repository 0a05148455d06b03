//! What an inode carries beside its content: permissions, owner, time, extended attributes.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Extended attributes by their full name (`security.capability`, `user.mime`), in bytewise order.
///
/// It is used as the map that it is. Clones share one map until one of them is changed, as many inodes may have the same
/// long attributes.
#[derive(Debug, Clone, Default)]
pub struct Xattrs(Option<Arc<Map>>);

impl Xattrs {
    /// No attributes.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether both are known to be equal without a look at what they contain.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Keeps the attributes for which `keep` says so; those that all are kept of stay shared.
    pub(crate) fn keep_if(&mut self, keep: impl Fn(&[u8]) -> bool) {
        if self.keys().any(|name| !keep(name)) {
            self.retain(|name, _| keep(name));
        }
    }
}

impl PartialEq for Xattrs {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || **self == **other
    }
}

impl Eq for Xattrs {}

impl Hash for Xattrs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Deref for Xattrs {
    type Target = Map;

    fn deref(&self) -> &Map {
        static EMPTY: Map = Map::new();
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Xattrs {
    fn deref_mut(&mut self) -> &mut Map {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl<const N: usize> From<[(Vec<u8>, Vec<u8>); N]> for Xattrs {
    fn from(attributes: [(Vec<u8>, Vec<u8>); N]) -> Self {
        Self::from_iter(attributes)
    }
}

impl FromIterator<(Vec<u8>, Vec<u8>)> for Xattrs {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Vec<u8>)>>(attributes: I) -> Self {
        let map = Map::from_iter(attributes);
        Self((!map.is_empty()).then(|| Arc::new(map)))
    }
}

impl IntoIterator for Xattrs {
    type Item = (Vec<u8>, Vec<u8>);
    type IntoIter = std::collections::btree_map::IntoIter<Vec<u8>, Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

impl<'a> IntoIterator for &'a Xattrs {
    type Item = (&'a Vec<u8>, &'a Vec<u8>);
    type IntoIter = std::collections::btree_map::Iter<'a, Vec<u8>, Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Permissions, owner, modification time and extended attributes of one inode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits with set-uid, set-gid and sticky: `0o0000` to `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in whole seconds since 1970; squashfs holds 0 to 2^32 - 1, the writer clamps to that.
    pub mtime: i64,
    /// Extended attributes; squashfs holds those of `user.`, `trusted.` and `security.`.
    pub xattrs: Xattrs,
}

/// An inode that is neither a file, a directory nor a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// A character device. In a layer, `0:0` is an overlayfs whiteout.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Reader, Writer};

    #[test]
    fn inodes_with_the_same_attributes_share_them() {
        let xattrs = Xattrs::from([(b"user.long".to_vec(), vec![7; 1 << 19])]);
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::create(file.try_clone().unwrap(), Options::default()).unwrap();
        for number in 0..100 {
            // As from an archive, which tells them anew each time.
            let xattrs =
                if number < 50 { xattrs.clone() } else { xattrs.iter().map(|(n, v)| (n.clone(), v.clone())).collect() };
            let metadata = Metadata { mode: 0o644, xattrs, ..Metadata::default() };
            writer.add_file(format!("{number}").as_bytes(), &metadata, &mut &b"x"[..]).unwrap();
        }
        assert!(writer.finish().unwrap().bytes < 1 << 20);
        let reader = Reader::open(file).unwrap();
        let read: Vec<_> = reader.walk().skip(1).map(|entry| entry.unwrap().1.xattrs().unwrap()).collect();
        assert_eq!(read.len(), 100);
        assert!(read.iter().all(|set| *set == xattrs && set.is_shared_with(&read[0])));
    }

    #[test]
    fn a_changed_set_is_no_longer_shared() {
        let one = Xattrs::from([(b"user.a".to_vec(), b"1".to_vec()), (b"trusted.b".to_vec(), b"2".to_vec())]);
        let mut other = one.clone();
        other.keep_if(|name| !name.is_empty());
        assert!(other.is_shared_with(&one), "nothing had to go");
        other.keep_if(|name| name.starts_with(b"user."));
        assert_eq!((one.len(), other.len()), (2, 1));
        assert_ne!(one, other);
        other.clear();
        assert_eq!(other, Xattrs::new(), "an empty set is no set");
    }
}
