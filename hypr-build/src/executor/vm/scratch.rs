//! The disk that a step writes to: a sparse file with an empty ext4 file system.
//!
//! No program makes it: of an empty file system nothing but the superblock, the group descriptors, one group's bitmaps
//! and three inodes differ from zero (ext4 disk layout, kernel documentation "ext4"), so these are written, some ten
//! KiB however large it is. The kernel makes the bitmaps of other groups when it first uses them
//! (`BLOCK_UNINIT`, `INODE_UNINIT`). There is no journal: the disk does not outlive its machine.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Blocks that one block of bitmap covers.
const GROUP_BLOCKS: u64 = 8 * BLOCK;
/// Inodes of a group: one for 4 KiB, so that small files run out of blocks before they run out of inodes.
const GROUP_INODES: u64 = 32768;
const INODE_SIZE: u64 = 256;
/// Blocks of a group's inode table.
const TABLE_BLOCKS: u64 = GROUP_INODES * INODE_SIZE / BLOCK;
/// Bytes of a group descriptor.
const DESCRIPTOR: u64 = 32;
/// The first inode that is not reserved, which is that of `lost+found`.
const FIRST_INODE: u64 = 11;

/// The fewest blocks that a group is made of beside its bitmaps and inodes.
const MIN_ROOM: u64 = 1024;

/// The smallest file system.
pub(super) const MIN_SIZE: u64 = 16 << 20;
/// The largest, which 32-bit block numbers would allow 16 times over.
pub(super) const MAX_SIZE: u64 = 1 << 40;

/// Makes a file without a name in `directory` that holds an empty file system of at most `size` bytes, or less
/// by no more than 13 MiB.
///
/// # Errors
/// Fails when the file cannot be made.
pub(super) fn create(directory: &Path, size: u64) -> io::Result<File> {
    let file = anonymous_file(directory)?;
    let layout = Layout::new(size.clamp(MIN_SIZE, MAX_SIZE) / BLOCK);
    file.set_len(layout.blocks * BLOCK)?;
    // The superblock is at byte 1024, whatever the size of a block is.
    file.write_all_at(&layout.superblock(), 1024)?;
    file.write_all_at(&layout.descriptors(), BLOCK)?;
    for group in (0..layout.groups).filter(|group| layout.has_block_bitmap(*group)) {
        file.write_all_at(&layout.block_bitmap(group), layout.bitmaps_at(group) * BLOCK)?;
    }
    file.write_all_at(&inode_bitmap(), (layout.block_bitmap_at + 1) * BLOCK)?;
    let table = (layout.block_bitmap_at + 2) * BLOCK;
    let inode = |number: u64| table + (number - 1) * INODE_SIZE;
    file.write_all_at(&directory_inode(0o755, 3, layout.root_at), inode(2))?;
    file.write_all_at(&directory_inode(0o700, 2, layout.root_at + 1), inode(FIRST_INODE))?;
    file.write_all_at(&directory_block(2, 2, Some((FIRST_INODE, b"lost+found"))), layout.root_at * BLOCK)?;
    file.write_all_at(&directory_block(FIRST_INODE, 2, None), (layout.root_at + 1) * BLOCK)?;
    Ok(file)
}

fn anonymous_file(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // Not all file systems have files without names.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("scratch-{}-{number}", std::process::id()));
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Where things are in the first group, and how many there are.
struct Layout {
    blocks: u64,
    groups: u64,
    block_bitmap_at: u64,
    /// The root directory's block; that of `lost+found` follows.
    root_at: u64,
}

impl Layout {
    /// The layout of at most `blocks`: a last group that would hold next to nothing is left out.
    fn new(blocks: u64) -> Self {
        let (whole, last) = (blocks / GROUP_BLOCKS, blocks % GROUP_BLOCKS);
        let has_last = whole == 0 || last >= 2 + TABLE_BLOCKS + MIN_ROOM;
        let (groups, blocks) =
            if has_last { (blocks.div_ceil(GROUP_BLOCKS), blocks) } else { (whole, whole * GROUP_BLOCKS) };
        let descriptor_blocks = (groups * DESCRIPTOR).div_ceil(BLOCK);
        let block_bitmap_at = 1 + descriptor_blocks;
        Self { blocks, groups, block_bitmap_at, root_at: block_bitmap_at + 2 + TABLE_BLOCKS }
    }

    /// Blocks of a group that are in use: in the first those up to `lost+found`'s, else its bitmaps and table.
    fn used(&self, group: u64) -> u64 {
        if group == 0 { self.root_at + 2 } else { 2 + TABLE_BLOCKS }
    }

    /// Blocks of a group, of which the last one may have fewer.
    fn blocks_of(&self, group: u64) -> u64 {
        (self.blocks - group * GROUP_BLOCKS).min(GROUP_BLOCKS)
    }

    /// Where a group's bitmaps and inodes begin.
    fn bitmaps_at(&self, group: u64) -> u64 {
        if group == 0 { self.block_bitmap_at } else { group * GROUP_BLOCKS }
    }

    /// Whether the blocks in use are not those that the kernel would guess: in the first group, and in one that is not
    /// whole.
    fn has_block_bitmap(&self, group: u64) -> bool {
        group == 0 || self.blocks_of(group) < GROUP_BLOCKS
    }

    fn free_blocks(&self) -> u64 {
        (0..self.groups).map(|group| self.blocks_of(group) - self.used(group)).sum()
    }

    fn superblock(&self) -> Vec<u8> {
        // The kernel compares some fields and hashes names with others; all the rest is zero.
        const HAS_XATTRS: u32 = 0x8;
        const INDEXES_DIRECTORIES: u32 = 0x20;
        const SPARSE_SUPERBLOCKS_2: u32 = 0x200;
        const FILE_TYPES: u32 = 0x2;
        const EXTENTS: u32 = 0x40;
        const XATTRS_IN_INODES: u32 = 0x400;
        const LARGE_FILES: u32 = 0x2;
        const HUGE_FILES: u32 = 0x8;
        const DESCRIPTOR_CHECKSUMS: u32 = 0x10;
        const MANY_LINKS: u32 = 0x20;
        const EXTRA_SIZE: u32 = 0x40;
        let mut block = Fields(vec![0; 1024]);
        block.u32(0x00, self.groups * GROUP_INODES);
        block.u32(0x04, self.blocks);
        block.u32(0x0c, self.free_blocks());
        block.u32(0x10, self.groups * GROUP_INODES - FIRST_INODE);
        // Blocks and clusters of 2^(10 + 2) bytes.
        block.u32(0x18, 2);
        block.u32(0x1c, 2);
        block.u32(0x20, GROUP_BLOCKS);
        block.u32(0x24, GROUP_BLOCKS);
        block.u32(0x28, GROUP_INODES);
        block.u16(0x36, 0xffff);
        block.u16(0x38, 0xef53);
        // Clean; go on after errors; dynamic inodes.
        block.u16(0x3a, 1);
        block.u16(0x3c, 1);
        block.u32(0x4c, 1);
        block.u32(0x54, FIRST_INODE);
        block.u16(0x58, INODE_SIZE);
        block.u32(0x5c, u64::from(HAS_XATTRS | INDEXES_DIRECTORIES | SPARSE_SUPERBLOCKS_2));
        block.u32(0x60, u64::from(FILE_TYPES | EXTENTS | XATTRS_IN_INODES));
        let compatible = LARGE_FILES | HUGE_FILES | DESCRIPTOR_CHECKSUMS | MANY_LINKS | EXTRA_SIZE;
        block.u32(0x64, u64::from(compatible));
        block.0[0x68..0x78].copy_from_slice(&UUID);
        block.0[0x78..0x84].copy_from_slice(b"hypr-scratch");
        // Names are hashed by half MD4, from this seed.
        block.0[0xec..0xfc].copy_from_slice(&UUID);
        block.0[0xfc] = 1;
        // Bytes of each inode beyond the first 128 that are in use.
        block.u16(0x15c, 32);
        block.u16(0x15e, 32);
        // Characters in names are signed.
        block.u32(0x160, 1);
        block.0
    }

    fn descriptors(&self) -> Vec<u8> {
        const INODES_UNUSED: u64 = 1;
        const BLOCKS_UNUSED: u64 = 2;
        const TABLE_ZEROED: u64 = 4;
        let mut all = Vec::new();
        for group in 0..self.groups {
            let bitmap = self.bitmaps_at(group);
            let (taken, directories) = if group == 0 { (FIRST_INODE, 2) } else { (0, 0) };
            let mut descriptor = Fields(vec![0; 32]);
            descriptor.u32(0x00, bitmap);
            descriptor.u32(0x04, bitmap + 1);
            descriptor.u32(0x08, bitmap + 2);
            descriptor.u16(0x0c, self.blocks_of(group) - self.used(group));
            descriptor.u16(0x0e, GROUP_INODES - taken);
            descriptor.u16(0x10, directories);
            let unused_inodes = if group == 0 { 0 } else { INODES_UNUSED };
            let unused_blocks = if self.has_block_bitmap(group) { 0 } else { BLOCKS_UNUSED };
            descriptor.u16(0x12, unused_inodes | unused_blocks | TABLE_ZEROED);
            descriptor.u16(0x1c, GROUP_INODES - taken);
            let number = u32::try_from(group).unwrap_or(u32::MAX).to_le_bytes();
            let checksum = crc16(crc16(crc16(0xffff, &UUID), &number), &descriptor.0[..0x1e]);
            descriptor.u16(0x1e, checksum.into());
            all.extend(descriptor.0);
        }
        all
    }

    fn block_bitmap(&self, group: u64) -> Vec<u8> {
        bitmap(self.used(group), self.blocks_of(group))
    }
}

/// The same for every file system: nobody tells two of them apart.
const UUID: [u8; 16] = *b"hypr scratch fs!";

fn inode_bitmap() -> Vec<u8> {
    bitmap(FIRST_INODE, GROUP_INODES)
}

/// A block with bits for the first `used` of `count` things, and for those that there are not.
fn bitmap(used: u64, count: u64) -> Vec<u8> {
    let byte = |first: u64| {
        (0..8).filter(|bit| first + bit < used || first + bit >= count).fold(0, |byte: u8, bit| byte | 1 << bit)
    };
    (0..BLOCK).map(|number| byte(number * 8)).collect()
}

/// The inode of a directory of one block.
fn directory_inode(mode: u64, links: u64, block: u64) -> Vec<u8> {
    const DIRECTORY: u64 = 0o040_000;
    const USES_EXTENTS: u64 = 0x8_0000;
    let mut inode = Fields(vec![0; 256]);
    inode.u16(0x00, DIRECTORY | mode);
    inode.u32(0x04, BLOCK);
    inode.u16(0x1a, links);
    inode.u32(0x1c, BLOCK / 512);
    inode.u32(0x20, USES_EXTENTS);
    // An extent header with one entry of four, and the entry: one block from the file's block 0 on.
    inode.u16(0x28, 0xf30a);
    inode.u16(0x2a, 1);
    inode.u16(0x2c, 4);
    inode.u16(0x38, 1);
    inode.u32(0x3c, block);
    inode.u16(0x80, 32);
    inode.0
}

/// A block of directory entries, the last of which reaches to its end.
fn directory_block(own: u64, parent: u64, child: Option<(u64, &[u8])>) -> Vec<u8> {
    let mut entries = vec![(own, &b"."[..]), (parent, b"..")];
    entries.extend(child);
    let mut block = Fields(vec![0; usize::try_from(BLOCK).unwrap_or(4096)]);
    let mut at = 0;
    for (number, (inode, name)) in entries.iter().enumerate() {
        let length =
            if number + 1 == entries.len() { block.0.len() - at } else { (8 + name.len()).next_multiple_of(4) };
        block.u32(at, *inode);
        block.u16(at + 4, length as u64);
        block.0[at + 6] = u8::try_from(name.len()).unwrap_or(u8::MAX);
        // A directory.
        block.0[at + 7] = 2;
        block.0[at + 8..at + 8 + name.len()].copy_from_slice(name);
        at += length;
    }
    block.0
}

/// Little-endian fields by their offsets.
struct Fields(Vec<u8>);

impl Fields {
    /// The values that are written here are bounded by the sizes above.
    fn u16(&mut self, at: usize, value: u64) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes()[..2]);
    }

    fn u32(&mut self, at: usize, value: u64) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes()[..4]);
    }
}

/// CRC-16 with the reflected polynomial 0xa001, as group descriptors have it.
fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_file_systems_own_checker_finds_nothing_to_mend() {
        let directory = tempfile::tempdir().unwrap();
        for size in [0, MIN_SIZE, MIN_SIZE + 5, 64 << 20, 1 << 27, 137 << 20, 200 << 20, 1 << 30, 20 << 30, MAX_SIZE] {
            let file = create(directory.path(), size).unwrap();
            let allocated = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512;
            assert!(allocated < 512 << 10, "{allocated} bytes for {size}");
            let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&file));
            let check = Command::new("/sbin/e2fsck").args(["-f", "-n", &path]).output().unwrap();
            let said = String::from_utf8_lossy(&check.stdout);
            assert!(check.status.success(), "{size}: {said}{}", String::from_utf8_lossy(&check.stderr));
        }
    }

    #[test]
    fn nothing_is_left_in_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let _file = create(directory.path(), 1 << 30).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
