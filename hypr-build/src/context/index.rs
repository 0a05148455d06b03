//! What is known of the files of a context from earlier builds: identity → digest of the content.
//!
//! A file that was changed after it was hashed has another change time, unless both happened within one tick of the
//! file system's clock. So what had changed just before the context was looked at is not remembered: it is hashed
//! again the next time.
//!
//! ```text
//! magic, then for each file, ordered: device, inode, size (u64), mtime, ctime (i64 seconds, u32 nanoseconds),
//! flags (u8), BLAKE3 of the content; at the end BLAKE3 of all before. Little-endian.
//! ```

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::tree::Identity;
use crate::Digest;

const MAGIC: &[u8; 16] = b"hypr-context-1\n\0";

/// Longer than a tick of any kernel's clock.
const TICK: Duration = Duration::from_millis(10);

/// Files not seen in this build that are remembered for others, at least.
const UNSEEN: usize = 100_000;

/// What is known of one version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// BLAKE3 of the content; of a directory, without meaning.
    pub(super) digest: Digest,
    /// Whether it has extended attributes that a layer may hold.
    pub(super) has_xattrs: bool,
}

/// The index of one context.
#[derive(Debug)]
pub(super) struct Index {
    earlier: Earlier,
    fresh: Mutex<HashMap<Identity, Known>>,
    /// When the context was opened; nothing was looked at before.
    started: (i64, u32),
}

/// What earlier builds left, as it is in the file: most of a build's work here is to find records, not to read them.
#[derive(Debug, Default)]
struct Earlier {
    bytes: Vec<u8>,
    /// For each record, whether it was asked for in this build.
    seen: Vec<AtomicBool>,
}

impl Index {
    /// An index that starts with what `bytes` hold, which is nothing if they are damaged. To be made before the
    /// first look at a file.
    pub(super) fn new(bytes: Option<Vec<u8>>) -> Self {
        let earlier = bytes.and_then(|bytes| {
            let decoded = Earlier::decode(bytes);
            if decoded.is_none() {
                tracing::warn!("ignoring an unreadable index of a build context");
            }
            decoded
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(TICK);
        let started = (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos());
        Self { earlier: earlier.unwrap_or_default(), fresh: Mutex::default(), started }
    }

    /// What is known of this version.
    pub(super) fn get(&self, identity: &Identity) -> Option<Known> {
        self.get_near(identity, &mut 0)
    }

    /// What is known of this version. `near` is for a walk to keep: files that were made one after the other mostly
    /// have records one after the other.
    pub(super) fn get_near(&self, identity: &Identity, near: &mut usize) -> Option<Known> {
        let identity = &key(identity);
        if let Some(known) = self.earlier.get(identity, near) {
            return Some(known);
        }
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).get(identity).copied()
    }

    /// Remembers what was read of this version.
    pub(super) fn insert(&self, identity: &Identity, known: Known) {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(key(identity), known);
    }

    /// The index for the next build; `None` if it would be the same.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let mut learnt: Vec<_> = fresh.iter().filter(|(identity, _)| identity.ctime < self.started).collect();
        let earlier = self.earlier.seen.len();
        let seen = self.earlier.seen.iter().filter(|seen| seen.load(Ordering::Relaxed)).count();
        let keep_unseen = earlier + fresh.len() <= (seen + fresh.len()) * 2 + UNSEEN;
        if learnt.is_empty() && (keep_unseen || seen == earlier) {
            return None;
        }
        // Of one file, the latest version.
        learnt.sort_unstable_by_key(|(identity, _)| (identity.device, identity.inode, Reverse(identity.ctime)));
        learnt.dedup_by_key(|(identity, _)| (identity.device, identity.inode));
        let mut bytes = Vec::with_capacity(MAGIC.len() + (earlier + learnt.len()) * RECORD + 32);
        bytes.extend_from_slice(MAGIC);
        let mut learnt = learnt.into_iter().peekable();
        for (record, seen) in self.earlier.records().iter().zip(&self.earlier.seen) {
            let place = place_of(record);
            while let Some((identity, known)) = learnt.next_if(|(next, _)| (next.device, next.inode) < place) {
                append(&mut bytes, identity, known);
            }
            match learnt.next_if(|(next, _)| (next.device, next.inode) == place) {
                Some((identity, known)) => append(&mut bytes, identity, known),
                None if keep_unseen || seen.load(Ordering::Relaxed) => bytes.extend_from_slice(record),
                None => {}
            }
        }
        learnt.for_each(|(identity, known)| append(&mut bytes, identity, known));
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Some(bytes)
    }
}

impl Earlier {
    /// `None` if the bytes are damaged.
    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body).as_bytes() != digest {
            return None;
        }
        let (records, rest) = body.strip_prefix(MAGIC)?.as_chunks::<RECORD>();
        if !rest.is_empty() {
            return None;
        }
        let seen = records.iter().map(|_| AtomicBool::new(false)).collect();
        Some(Self { bytes, seen })
    }

    fn records(&self) -> &[[u8; RECORD]] {
        let records = self.bytes.get(MAGIC.len()..).unwrap_or_default().as_chunks().0;
        // The digest at the end is shorter than a record.
        &records[..self.seen.len()]
    }

    fn get(&self, identity: &Identity, near: &mut usize) -> Option<Known> {
        let records = self.records();
        // There is at most one record of a file.
        let wanted = (identity.device, identity.inode);
        let place = match records.get(*near + 1) {
            Some(next) if place_of(next) == wanted => *near + 1,
            _ => records.binary_search_by(|record| place_of(record).cmp(&wanted)).ok()?,
        };
        *near = place;
        let (found, known) = record_of(&records[place]);
        (found == *identity).then(|| {
            self.seen[place].store(true, Ordering::Relaxed);
            known
        })
    }
}

/// The number of links does not count: that it changed shows in the change time too.
fn key(identity: &Identity) -> Identity {
    Identity { links: 0, ..*identity }
}

const RECORD: usize = 8 * 3 + 12 * 2 + 1 + 32;

fn append(bytes: &mut Vec<u8>, identity: &Identity, known: &Known) {
    for number in [identity.device, identity.inode, identity.size] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for (seconds, nanoseconds) in [identity.mtime, identity.ctime] {
        bytes.extend_from_slice(&seconds.to_le_bytes());
        bytes.extend_from_slice(&nanoseconds.to_le_bytes());
    }
    bytes.push(known.has_xattrs.into());
    bytes.extend_from_slice(known.digest.as_bytes());
}

/// Device and inode of a record, by which they are ordered.
fn place_of(record: &[u8; RECORD]) -> (u64, u64) {
    let mut rest = record.as_slice();
    (u64::from_le_bytes(take(&mut rest)), u64::from_le_bytes(take(&mut rest)))
}

fn record_of(record: &[u8; RECORD]) -> (Identity, Known) {
    let mut rest = record.as_slice();
    let time = |rest: &mut &[u8]| (i64::from_le_bytes(take(rest)), u32::from_le_bytes(take(rest)));
    let identity = Identity {
        device: u64::from_le_bytes(take(&mut rest)),
        inode: u64::from_le_bytes(take(&mut rest)),
        links: 0,
        size: u64::from_le_bytes(take(&mut rest)),
        mtime: time(&mut rest),
        ctime: time(&mut rest),
    };
    let [flags] = take(&mut rest);
    let digest = blake3::Hash::from_bytes(take(&mut rest)).into();
    (identity, Known { digest, has_xattrs: flags != 0 })
}

/// The next bytes of a record, which is as long as all its fields.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().expect("a record holds all fields");
    *rest = after;
    *taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: u64, ctime: i64) -> Identity {
        Identity { device: 1, inode, links: 1, size: 10, mtime: (5, 6), ctime: (ctime, 7) }
    }

    fn known(text: &str) -> Known {
        Known { digest: Digest::of(text.as_bytes()), has_xattrs: text.len() > 1 }
    }

    #[test]
    fn what_was_learnt_is_known_to_the_next_build_and_replaces_older_versions() {
        let index = Index::new(None);
        assert_eq!(index.to_bytes(), None);
        index.insert(&identity(2, 100), known("b"));
        index.insert(&identity(1, 100), known("ab"));
        assert_eq!(index.get(&identity(1, 100)), Some(known("ab")));
        let bytes = index.to_bytes().unwrap();
        let next = Index::new(Some(bytes));
        assert_eq!(next.get(&identity(1, 100)), Some(known("ab")));
        assert_eq!(next.get(&identity(2, 100)), Some(known("b")));
        assert_eq!(next.get(&identity(2, 101)), None);
        assert_eq!(next.to_bytes(), None, "nothing new");
        next.insert(&identity(2, 101), known("c"));
        let last = Index::new(next.to_bytes());
        assert_eq!(last.get(&identity(2, 100)), None);
        assert_eq!(last.get(&identity(2, 101)), Some(known("c")));
        assert_eq!(last.earlier.seen.len(), 2);
        // Wherever they belong among the others.
        for inode in [9, 0, 3] {
            last.insert(&identity(inode, 100), known("d"));
        }
        let after = Index::new(last.to_bytes());
        for inode in [0, 1, 3, 9] {
            assert!(after.get(&identity(inode, 100)).is_some(), "{inode}");
        }
        assert_eq!(after.get(&identity(2, 101)), Some(known("c")));
        assert_eq!(after.get(&identity(4, 100)), None);
    }

    #[test]
    fn what_changed_just_before_is_known_in_this_build_only() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let index = Index::new(None);
        for (inode, age, remembered) in [(1, 0, false), (2, 5, false), (3, 100, true), (4, -50, false)] {
            let changed = if age < 0 {
                now + Duration::from_millis(u64::try_from(-age).unwrap())
            } else {
                now - Duration::from_millis(u64::try_from(age).unwrap())
            };
            let ctime = (i64::try_from(changed.as_secs()).unwrap(), changed.subsec_nanos());
            let identity = Identity { ctime, ..identity(inode, 0) };
            index.insert(&identity, known("a"));
            assert!(index.get(&identity).is_some());
            let next = Index::new(index.to_bytes());
            assert_eq!(next.get(&identity).is_some(), remembered, "{age} ms old");
        }
    }

    #[test]
    fn damaged_index_is_empty() {
        let index = Index::new(None);
        index.insert(&identity(1, 100), known("a"));
        let bytes = index.to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Earlier::decode(damaged).is_none(), "altered at {at}");
            assert!(Earlier::decode(bytes[..at].to_vec()).is_none(), "cut to {at}");
        }
    }
}
