//! Where the data of a file is.

use std::{io, os::fd::BorrowedFd};

use crate::{
    sys::fs::{self, Stat},
    tar::write::Segment,
};

/// Holes shorter than this are sent as zeroes: a map of many small segments costs more than it saves.
const SMALLEST_HOLE: u64 = 64 * 1024;

/// Segments that a map may have. A file with more has its smaller holes sent as zeroes.
const MAX_SEGMENTS: usize = 4096;

/// The segments of data in a file with holes worth leaving out; `None` for a file that is better sent whole.
pub(crate) fn segments(file: BorrowedFd<'_>, stat: &Stat) -> io::Result<Option<Vec<Segment>>> {
    // A file that takes the blocks of its size has no holes, and most files are such: nothing to ask for.
    if stat.blocks.saturating_mul(512) >= stat.size || stat.size < SMALLEST_HOLE {
        return Ok(None);
    }
    let mut smallest = SMALLEST_HOLE;
    let mut segments: Vec<Segment> = Vec::new();
    let mut offset = 0;
    while offset < stat.size {
        let Some(start) = fs::seek_data(file, offset)?.filter(|&start| start < stat.size) else { break };
        let end = fs::seek_hole(file, start)?.min(stat.size);
        if end <= start {
            return Err(io::Error::other("the file's holes move"));
        }
        push(&mut segments, Segment { offset: start, length: end - start }, smallest);
        if segments.len() > MAX_SEGMENTS {
            while segments.len() > MAX_SEGMENTS / 2 {
                smallest = smallest.saturating_mul(2);
                let finer = std::mem::take(&mut segments);
                for segment in finer {
                    push(&mut segments, segment, smallest);
                }
            }
        }
        offset = end;
    }
    // A segment of no length at the end tells how long the file is after its last data.
    if segments.last().map_or(0, |last| last.offset + last.length) < stat.size {
        segments.push(Segment { offset: stat.size, length: 0 });
    }
    let whole = matches!(*segments, [Segment { offset: 0, length }] if length == stat.size);
    Ok(if whole { None } else { Some(segments) })
}

/// Adds a segment, together with the hole before it where that is shorter than `smallest`.
fn push(segments: &mut Vec<Segment>, next: Segment, smallest: u64) {
    let end = segments.last().map_or(0, |last| last.offset + last.length);
    if next.offset - end >= smallest {
        segments.push(next);
        return;
    }
    match segments.last_mut() {
        Some(last) => last.length = next.offset + next.length - last.offset,
        None => segments.push(Segment { offset: 0, length: next.offset + next.length }),
    }
}
