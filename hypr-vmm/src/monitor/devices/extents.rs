//! What a disk shows: parts of files at places of the disk, and zeros in between.

use std::{io, os::fd::AsFd, os::fd::OwnedFd};

use super::guest_io::{self, Buffer};
use crate::{
    monitor::{failure::Failure, memory::Memory},
    wire,
};

/// Parts of files, ordered by their places on the disk.
#[derive(Debug, Default)]
pub struct Extents {
    files: Vec<OwnedFd>,
    extents: Vec<wire::Extent>,
}

impl Extents {
    /// Checks that `extents` lie on a disk of `capacity` bytes without touching each other, in any order.
    pub(crate) fn new(mut extents: Vec<wire::Extent>, files: Vec<OwnedFd>, capacity: u64) -> Result<Self, Failure> {
        let refused = |reason: &str| Err(Failure::new("lay out a disk", reason));
        extents.sort_by_key(|extent| extent.start);
        let mut end = 0;
        for extent in &extents {
            let last = extent.start.checked_add(extent.length).zip(extent.offset.checked_add(extent.length));
            match last {
                Some((last, _)) if extent.length > 0 && extent.start >= end && last <= capacity => end = last,
                _ => return refused("its extents overlap, are empty or are not on it"),
            }
            if extent.file >= files.len() {
                return refused("an extent names a file that was not passed");
            }
        }
        Ok(Self { files, extents })
    }

    /// The first `capacity` bytes of `file`, and nothing else.
    pub fn of_file(file: OwnedFd, capacity: u64) -> Self {
        Self { files: vec![file], extents: vec![wire::Extent { start: 0, length: capacity, file: 0, offset: 0 }] }
    }

    /// Zeros alone.
    pub(crate) const fn none() -> Self {
        Self { files: Vec::new(), extents: Vec::new() }
    }

    /// Fills `buffers` with what is at byte `start` of the disk.
    pub(crate) fn read(&self, start: u64, memory: &Memory, buffers: Vec<Buffer>) -> io::Result<()> {
        self.walk(start, buffers, |extent, offset, part| {
            let Some(extent) = extent else { return clear(memory, &part) };
            let file = self.files[extent.file].as_fd();
            let mut rest = part.clone();
            let count = guest_io::read_at(file, offset, memory, part)?;
            // What lies behind the end of the file is not there.
            guest_io::split_off_front(&mut rest, count);
            clear(memory, &rest)
        })
    }

    /// Writes `buffers` to byte `start` of the disk, all of which has to be bound.
    pub(crate) fn write(&self, start: u64, memory: &Memory, buffers: Vec<Buffer>) -> io::Result<()> {
        self.walk(start, buffers, |extent, offset, part| {
            let extent = extent.ok_or(io::ErrorKind::InvalidInput)?;
            let length = guest_io::total(&part);
            match guest_io::write_at(self.files[extent.file].as_fd(), offset, memory, part)? {
                count if count == length => Ok(()),
                _ => Err(io::ErrorKind::WriteZero.into()),
            }
        })
    }

    /// Calls `act` for each part of `buffers` that one extent has, or none, with the offset in its file.
    fn walk(
        &self,
        mut start: u64,
        mut buffers: Vec<Buffer>,
        mut act: impl FnMut(Option<&wire::Extent>, u64, Vec<Buffer>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut number = self.extents.partition_point(|extent| extent.start + extent.length <= start);
        while !buffers.is_empty() {
            let left = guest_io::total(&buffers) as u64;
            let (extent, available) = match self.extents.get(number) {
                Some(extent) if extent.start <= start => (Some(extent), extent.start + extent.length - start),
                Some(next) => (None, next.start - start),
                None => (None, left),
            };
            let count = left.min(available);
            let part = usize::try_from(count).ok().and_then(|count| guest_io::split_off_front(&mut buffers, count));
            let part = part.ok_or(io::ErrorKind::InvalidInput)?;
            let offset = extent.map_or(0, |extent| extent.offset + (start - extent.start));
            act(extent, offset, part)?;
            start += count;
            number += usize::from(extent.is_some() && count == available);
        }
        Ok(())
    }
}

fn clear(memory: &Memory, buffers: &[Buffer]) -> io::Result<()> {
    guest_io::clear(memory, buffers).map_err(|_| io::ErrorKind::InvalidInput.into())
}
