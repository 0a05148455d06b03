//! Threads that read and hash long stretches of another image, for one that writes them.

use std::thread;

use blake3::hazmat::ChainingValue;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::hash::{GROUP, hash_group};
use crate::{Error, Reader};

/// Groups that are handed over together, so that threads are not woken for little.
const TOGETHER: usize = 4;
/// So many times that a thread may be ahead of the one that writes.
const AHEAD: usize = 2;

/// A stretch of an image to be copied in whole groups.
#[derive(Debug)]
pub(super) struct Copiers<'a> {
    pub(super) source: &'a Reader,
    /// Where it begins in the image.
    pub(super) offset: u64,
    /// Where it begins in the file that is written: a multiple of [`GROUP`].
    pub(super) target: u64,
    pub(super) groups: u64,
    /// At least one.
    pub(super) threads: usize,
}

/// Bytes of some groups, and the hash of each.
type Groups = (Vec<u8>, Vec<ChainingValue>);

impl Copiers<'_> {
    /// Calls `write` with all bytes in order, and the hashes of the groups in them.
    pub(super) fn run(&self, mut write: impl FnMut(&[u8], &[ChainingValue]) -> Result<(), Error>) -> Result<(), Error> {
        let parts = self.groups.div_ceil(TOGETHER as u64);
        thread::scope(|scope| {
            // Each thread takes every so-manieth part, so that nothing has to be put in order.
            let mut copiers = Vec::with_capacity(self.threads);
            for first in (0..parts).take(self.threads) {
                let (give, take) = bounded::<Result<Groups, Error>>(AHEAD);
                let (give_back, take_back) = bounded(AHEAD + 1);
                let name = thread::Builder::new().name("squashfs-copy".to_owned());
                name.spawn_scoped(scope, move || self.copy(first, &give, &take_back))
                    .map_err(Error::io("start a thread"))?;
                copiers.push((take, give_back));
            }
            for ((take, give_back), _) in copiers.iter().cycle().zip(0..parts) {
                let lost =
                    || Error::Io { action: "read the image", source: std::io::Error::other("a thread was lost") };
                let (bytes, groups) = take.recv().map_err(|_| lost())??;
                write(&bytes, &groups)?;
                // A thread that is done takes none back.
                let _ = give_back.try_send(bytes);
            }
            Ok(())
        })
    }

    fn copy(&self, first: u64, give: &Sender<Result<Groups, Error>>, take_back: &Receiver<Vec<u8>>) {
        for from in (first * TOGETHER as u64..self.groups).step_by(self.threads * TOGETHER) {
            let groups = usize::try_from(self.groups - from).map_or(TOGETHER, |rest| rest.min(TOGETHER));
            let mut bytes = take_back.try_recv().unwrap_or_default();
            bytes.resize(groups * GROUP, 0);
            if give.send(self.read(from, &mut bytes).map(|groups| (bytes, groups))).is_err() {
                return;
            }
        }
    }

    /// Reads and hashes the groups from number `from` on; each while it is in a core's own cache.
    fn read(&self, from: u64, bytes: &mut [u8]) -> Result<Vec<ChainingValue>, Error> {
        let group = |(number, bytes): (u64, &mut [u8])| {
            let at = number * GROUP as u64;
            self.source.read_raw(self.offset + at, bytes)?;
            Ok(hash_group(self.target + at, bytes))
        };
        (from..).zip(bytes.chunks_exact_mut(GROUP)).map(group).collect()
    }
}
