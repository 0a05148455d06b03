//! What an inode carries beside its content: permissions, owner, time, extended attributes.

use std::collections::BTreeMap;

/// Extended attributes by their full name (`security.capability`, `user.mime`), in bytewise order.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

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
