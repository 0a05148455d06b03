//! Random stacks of layers on few paths, so that layers often meet.

use std::sync::Arc;

use super::noise;
use crate::testing::{WHITEOUT, image, metadata, opaque};
use crate::{Reader, Special, Writer};

/// A small generator, so that a seed names a stack.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % limit
    }

    /// One to six layers.
    pub(super) fn stack(&mut self) -> Vec<Arc<Reader>> {
        (0..=self.below(6)).map(|_| self.layer()).collect()
    }

    fn layer(&mut self) -> Arc<Reader> {
        image(|writer| {
            writer.add_directory(b"", &metadata(0o755))?;
            for _ in 0..3 + self.below(12) {
                // Files on the way make some impossible.
                let _ = self.change(writer);
            }
            Ok(())
        })
    }

    fn change(&mut self, writer: &mut Writer) -> Result<(), crate::Error> {
        let path = self.path();
        let mut attributes = metadata(0o600 + u16::try_from(self.below(8)).unwrap());
        attributes.mtime = i64::try_from(self.below(1000)).unwrap();
        // Links and fifos have none of `user.`.
        if self.below(4) == 0 {
            attributes.xattrs.insert(b"trusted.note".to_vec(), vec![b'0' + u8::try_from(self.below(10)).unwrap(); 5]);
        }
        match self.below(14) {
            0..5 => {
                let size =
                    [0, 1, 10, 3000, 131_071, 131_072, 131_073, 300_000][usize::try_from(self.below(8)).unwrap()];
                let mut content = noise(self.below(6), size);
                if self.below(4) == 0 {
                    content.fill(0);
                }
                writer.add_file(&path, &attributes, &mut &content[..]).map(drop)
            }
            5..8 => writer.add_directory(&path, &attributes),
            8 => writer.add_directory(&path, &opaque(0o711)),
            9..12 => {
                // Overlayfs never has a whiteout and an entry of the same layer at one path.
                if writer.contains(&path) { Ok(()) } else { writer.add_special(&path, &attributes, WHITEOUT) }
            }
            12 => {
                // Programs that extract cannot give a link other permissions.
                attributes.mode = 0o777;
                writer.add_symlink(&path, &attributes, b"../a")
            }
            _ if self.below(2) == 0 => writer.add_special(&path, &attributes, Special::Fifo),
            _ => {
                let target = self.path();
                // A link to a whiteout would be a whiteout with a second name.
                writer.add_hard_link(&path, &target)
            }
        }
    }

    fn path(&mut self) -> Vec<u8> {
        let depth = 1 + self.below(3);
        let names = [&b"a"[..], b"b", b"c-", b"c"];
        let names: Vec<_> = (0..depth).map(|_| names[usize::try_from(self.below(4)).unwrap()]).collect();
        names.join(&b'/')
    }
}
