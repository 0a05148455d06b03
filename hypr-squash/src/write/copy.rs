//! Threads that read and hash long stretches of another image, for one that writes them.

use std::thread;

use blake3::hazmat::ChainingValue;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::hash::{GROUP, hash_group};
use crate::{Error, Reader};

/// Groups that a thread may be ahead of the one that writes.
const AHEAD: usize = 3;

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

type Group = (Vec<u8>, ChainingValue);

impl Copiers<'_> {
    /// Calls `write` with every group in order.
    pub(super) fn run(&self, mut write: impl FnMut(&[u8], ChainingValue) -> Result<(), Error>) -> Result<(), Error> {
        thread::scope(|scope| {
            // Each thread takes every so-manieth group, so that nothing has to be put in order.
            let mut copiers = Vec::with_capacity(self.threads);
            for first in (0..self.groups).take(self.threads) {
                let (give, take) = bounded::<Result<Group, Error>>(AHEAD);
                let (give_back, take_back) = bounded(AHEAD);
                let name = thread::Builder::new().name("squashfs-copy".to_owned());
                name.spawn_scoped(scope, move || self.copy(first, &give, &take_back))
                    .map_err(Error::io("start a thread"))?;
                copiers.push((take, give_back));
            }
            for ((take, give_back), _) in copiers.iter().cycle().zip(0..self.groups) {
                let lost =
                    || Error::Io { action: "read the image", source: std::io::Error::other("a thread was lost") };
                let (bytes, group) = take.recv().map_err(|_| lost())??;
                write(&bytes, group)?;
                // A thread that is done takes none back.
                let _ = give_back.try_send(bytes);
            }
            Ok(())
        })
    }

    fn copy(&self, first: u64, give: &Sender<Result<Group, Error>>, take_back: &Receiver<Vec<u8>>) {
        for number in (first..self.groups).step_by(self.threads) {
            let mut bytes = take_back.try_recv().unwrap_or_default();
            bytes.resize(GROUP, 0);
            let at = number * GROUP as u64;
            let read = self.source.read_raw(self.offset + at, &mut bytes);
            let group = read.map(|()| (hash_group(self.target + at, &bytes), bytes)).map(|(hash, bytes)| (bytes, hash));
            if give.send(group).is_err() {
                return;
            }
        }
    }
}
